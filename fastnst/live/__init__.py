"""A stream: a camera, an address or a pipe, stylized as it comes.

May import the root of the package and `video`.
"""
