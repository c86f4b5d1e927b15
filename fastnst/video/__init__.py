"""A video file: opening, reader, encoders, writer, the parts of unfinished renders, tracks, colour, times.

May import `errors` and `files` of the package, and nothing else of it. Within, in this order: colour, animation and
times read no other room; opening; reader and parts; encoders; the writer reads all.
"""
