"""One training run: photos, clips, frame pairs, module, validation, saving, dashboard.

May import the root of the package and `video`. It alone knows Lightning and W&B, and only `train.py` imports it.
"""
