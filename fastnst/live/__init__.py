"""A stream: a camera, an address or a pipe, stylized as it comes, and sent to a window, a virtual camera or a pipe.

`feeds` is where frames come from, `styles` what is made of them, `sinks` where they go, `__main__` the loop between.
May import the root of the package and `video`.
"""
