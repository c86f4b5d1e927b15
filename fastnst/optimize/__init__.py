"""The method of 2016 that everything came from: a picture, or each frame of a video, is optimised by itself.

`objective` is what is minimised, `picture` does it for one picture, `video` for the frames of a clip in order, and
`__main__` is the command. It is hundreds of times slower than a trained net, and a reference for it. May import the
root of the package and `video`.
"""
