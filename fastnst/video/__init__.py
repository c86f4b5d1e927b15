"""A video file: opening, reader, encoders, writer, the parts of unfinished renders, tracks, colour.

May import `errors` and `files` of the package, and nothing else of it. Within: `opening` knows no other room but
`colour`; the reader knows opening, parts know opening; encoders know reader and parts; the writer knows all.
"""
