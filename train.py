"""Trains a stylization net: python train.py style=picasso; python train.py --help lists all settings."""

from fastnst.training.__main__ import main

if __name__ == "__main__":
    main()
