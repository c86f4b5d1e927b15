"""One training run: photos, clips, frame pairs, module, validation, saving, folder, signals, progress, dashboard.

May import the root of the package and `video`. It alone knows Lightning and W&B. `run` goes from settings to a finished
net; the command is in `__main__`, which `train.py` and `fastnst train` call.
"""
