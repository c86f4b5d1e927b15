"""What a run trains on: which photos and clips there are, which of them validate, and which come at which step."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fastnst.errors import ConfigError
from fastnst.samples import sample_photos
from fastnst.settings import DataSettings
from fastnst.training.clips import Clips, FramePair, find_frame_pairs, split_frame_pairs
from fastnst.training.download import download
from fastnst.training.pairs import NextFrame
from fastnst.training.photos import Photos, find_photos

Key = tuple[int, ...]
NAMED = 10  # unusable files that a message names


@dataclass(frozen=True)
class Items:
    """What there is to train on.

    Attributes:
        training: photos, or pairs of frames of clips.
        validation: those set aside, which training never sees.
        beside: pairs of frames that are trained on beside photos.
    """

    training: Sequence[Path | FramePair]
    validation: Sequence[Path | FramePair]
    beside: Sequence[FramePair] = ()

    def fingerprint(self) -> str:
        """Returns a short hash of the files' names and sizes; of the pairs of a clip each counts."""
        digest = hashlib.sha256()
        for item in (*self.training, *self.validation, *self.beside):
            path = item.path if isinstance(item, FramePair) else item
            digest.update(f"{path.name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def crops(self, image_size: int, flat: float) -> tuple[Dataset, Dataset]:
        """Returns the crops to train on and those to validate with.

        Args:
            image_size: side of the crops, pixels.
            flat: share of the photos' crops that are made like flat footage.
        """
        if isinstance(self.training[0], FramePair):
            training, validation = cast(tuple[list[FramePair], ...], (self.training, self.validation))
            return Clips(training, image_size), Clips(validation, image_size, augment=False)
        photos, aside = cast(tuple[list[Path], ...], (self.training, self.validation))
        beside = Clips(self.beside, image_size) if self.beside else None
        crops = Photos(photos, image_size, flat=flat)
        return PhotosAndClips(crops, beside) if beside is not None else crops, Photos(aside, image_size, augment=False)


def find_items(data: DataSettings, first: bool = True) -> Items:
    """Returns the photos, or the pairs of frames of clips, to train on.

    Args:
        data: what the user asked for.
        first: whether this process is the one that names unusable files; further devices run it too.

    Raises:
        ConfigError: there is nothing to train on, or more than a share of `max_bad` of the files is unusable.
    """
    beside = usable("data.clips", data.clips, data.max_bad, first, find_frame_pairs) if data.clips else []
    if data.source == "sample":
        return Items(*split_photos(sample_photos(), data.validation), beside)
    assert data.root is not None  # the settings see to that
    if data.source == "clips":
        return Items(
            *split_frame_pairs(usable("data.root", data.root, data.max_bad, first, find_frame_pairs), data.validation)
        )
    if data.download:
        download(data.url, Path(data.root).expanduser())
    photos = usable("data.root", data.root, data.max_bad, first, find_photos)
    return Items(*split_photos(photos, data.validation), beside)


def usable(
    setting: str, folder: str, max_bad: float, first: bool, find: Callable[[Path], tuple[list[Any], dict[str, str]]]
) -> list[Any]:
    """Returns what `find` finds in the folder that a setting names, unless too many files there are unusable."""
    root = Path(folder).expanduser()
    items, bad = find(root)
    named = ", ".join(f"{file} ({reason})" for file, reason in list(bad.items())[:NAMED])
    named += " ..." if len(bad) > NAMED else ""
    files = len(bad) + len({getattr(item, "path", item) for item in items})  # several pairs are of one clip
    if len(bad) > max_bad * files:
        share = math.ceil(100 * len(bad) / files) / 100
        raise ConfigError(
            f"{len(bad)} of {files} files in {setting}='{root}' are unusable: {named}; "
            f"remove them, or give data.max_bad={share}"
        )
    if bad and first:
        print(f"skipped {len(bad)} files in '{root}': {named}", file=sys.stderr)
    return items


def split_photos(photos: Sequence[Path], validation: int) -> tuple[list[Path], list[Path]]:
    """Returns the photos to train on, and so many others, evenly spread, to validate with.

    Raises:
        ConfigError: there are too few photos.
    """
    if len(photos) < 2:
        raise ConfigError(f"{len(photos)} photo is too few: training needs two at least, one of them to validate with")
    if validation > len(photos) // 2:
        raise ConfigError(
            f"data.validation={validation} is over half of the {len(photos)} photos; "
            f"give at most data.validation={len(photos) // 2}"
        )
    aside = {len(photos) * place // validation for place in range(validation)}
    training = [photo for place, photo in enumerate(photos) if place not in aside]
    return training, [photos[place] for place in sorted(aside)]


class PhotosAndClips(Dataset):
    """Crops of photos and of clips, half of each. An item is asked for as (photo, key); the key decides which it is."""

    def __init__(self, photos: Photos, clips: Clips) -> None:
        self.photos, self.clips = photos, clips

    def __getitem__(self, item: tuple[int, Key]) -> dict[str, Any]:
        """Returns what `Photos` or `Clips` returns."""
        photo, key = item
        random = np.random.default_rng((*key, 1))  # not the numbers that place the crop
        if random.random() < 0.5:
            return self.photos[(photo, key)]
        return self.clips[(int(random.integers(len(self.clips))), key)]

    def __len__(self) -> int:
        """Returns the number of photos."""
        return len(self.photos)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the items of a step as one batch, in NumPy arrays.

    Worker processes send arrays through a pipe; tensors would need shared memory, of which containers have little.

    Returns:
        `{"content": (B, 3, H, W), "seed": B ints, "unreadable": [names], "filmed": B next frames, None for photos}`.
    """

    def array(tensor: Tensor | None) -> np.ndarray | None:
        return None if tensor is None else tensor.numpy()

    filmed = [item.get("filmed") for item in items]
    return {
        "content": np.stack([item["content"].numpy() for item in items]),
        "seed": [item["seed"] for item in items],
        "unreadable": [name for item in items for name in item["unreadable"]],
        "filmed": [after and NextFrame(*map(array, after)) for after in filmed],  # pyright: ignore[reportArgumentType]
    }


def in_tensors(batch: Any) -> Any:
    """Returns a batch of `collate` with tensors for arrays."""
    return apply_to_collection(batch, np.ndarray, torch.from_numpy)


class StepSampler:
    """The photos of every training step, without end: a pure function of (seed, step, rank), which a resume needs.

    Every photo comes once before any comes again. A step's photos are shared out among the ranks, so that the global
    batch is the same on one device as on several.

    Args:
        photos: how many there are.
        batch_size: photos per step, over all ranks together.
        seed: decides order and crops.
        first_step: returns the step to begin at; asked when the iteration begins.
        rank: this process.
        ranks: the number of processes.
    """

    def __init__(
        self, photos: int, batch_size: int, seed: int, first_step: Callable[[], int], rank: int = 0, ranks: int = 1
    ) -> None:
        self.photos, self.batch_size, self.seed, self.first_step = photos, batch_size, seed, first_step
        self.rank, self.ranks = rank, ranks
        self.order = lru_cache(maxsize=2)(lambda epoch: np.random.default_rng((seed, epoch)).permutation(photos))

    def __iter__(self) -> Iterator[list[tuple[int, Key]]]:
        """Yields lists of (photo, key)."""
        for step in itertools.count(self.first_step()):
            batch = []
            for place in range(self.rank, self.batch_size, self.ranks):
                epoch, position = divmod(step * self.batch_size + place, self.photos)
                batch.append((int(self.order(epoch)[position]), (self.seed, step, place)))
            yield batch


class Content(pl.LightningDataModule):
    """Training crops without end, and a few fixed ones for validation that training never sees.

    Args:
        training: crops to train on, asked for as (number, key).
        validation: crops to validate with.
        batch_size: crops per step, over all devices together.
        workers: processes that read; -1 for one per CPU core but one, 8 at most.
        seed: decides order and crops.
    """

    def __init__(self, training: Dataset, validation: Dataset, batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        self.training, self.aside, self.batch_size, self.seed = training, validation, batch_size, seed
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers < 0 else workers

    def train_dataloader(self) -> DataLoader:
        """Returns the crops, from the step that the trainer is at."""
        trainer = self.trainer
        assert trainer is not None
        sampler = StepSampler(
            len(self.training),  # pyright: ignore[reportArgumentType]
            self.batch_size,
            self.seed,
            lambda: trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
        )
        return DataLoader(
            self.training,
            batch_sampler=sampler,  # pyright: ignore[reportArgumentType]
            num_workers=self.workers,
            collate_fn=collate,
        )

    def val_dataloader(self) -> DataLoader:
        """Returns the crops set aside, one batch, always the same."""
        keys = [(place, (0, place)) for place in range(len(self.aside))]  # pyright: ignore[reportArgumentType]
        return DataLoader(self.aside, batch_sampler=[keys], collate_fn=collate)  # pyright: ignore[reportArgumentType]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Returns the batch in tensors."""
        return in_tensors(batch)

    def validation_pictures(self) -> Float[Tensor, "batch 3 size size"]:
        """Returns the pictures set aside, in [0, 1]."""
        return in_tensors(next(iter(self.val_dataloader())))["content"]
