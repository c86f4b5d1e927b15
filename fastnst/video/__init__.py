"""A video file: opening, reading, encoding, writing, what an unfinished render leaves, tracks, colour.

May import `errors`, `files` and `images` of the package, and nothing else of it.
"""
