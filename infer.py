"""Stylizes videos and pictures, one or many: python infer.py video=in.mp4 ckpt=checkpoints/picasso.ckpt."""

from fastnst.inference import main

if __name__ == "__main__":
    main()
