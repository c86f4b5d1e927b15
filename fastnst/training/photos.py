"""Content for training: any folder of photos, COCO's download, or the photos that come with pip packages."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import gaussian_blur
from tqdm import tqdm

from fastnst.errors import ConfigError, EnvironmentFault, InputError, OutputError
from fastnst.files import PICTURES
from fastnst.images import MAX_PIXELS, load_image, open_picture, to_tensor
from fastnst.training.pairs import NextFrame

SMALLEST = 32  # photos with a shorter side say nothing about content
ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what the last bytes of a whole file hold
BLUR, BLUR_KERNEL = (0.5, 6.0), [25, 25]  # deviations of the Gaussian that puts a crop out of focus, pixels
SKIMAGE_PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "rocket.jpg", "brick.png", "camera.png", "grass.png", "gravel.png",
)  # fmt: skip
COCO = "http://images.cocodataset.org/zips/train2017.zip"  # 18 GB, 118,287 photos, Flickr licences


class Photos(Dataset):
    """Square crops of the photos below a folder. An item is asked for as (photo, key), and the key decides the crop.

    A photo that cannot be read is replaced by the next one, and named in the item.

    Args:
        items: the photos.
        image_size: side of the crops, pixels.
        augment: whether crops are drawn; or the middle is taken.
        soft: share of the drawn crops that are out of focus. Instance norm amplifies the noise of frames that have
            little texture, flat walls and skies; sharp photos alone do not teach a net to leave it alone.
    """

    def __init__(self, items: list[Path], image_size: int, augment: bool = True, soft: float = 0.0) -> None:
        self.items, self.image_size, self.augment, self.soft = items, image_size, augment, soft

    def __getitem__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
        """Returns `{"content": (3, size, size) in [0, 1], "seed": int, "unreadable": [names]}`."""
        photo, key = item
        random = np.random.default_rng(key)
        unreadable = []
        for offset in range(len(self.items)):
            path = self.items[(photo + offset) % len(self.items)]
            try:
                image = load_image(path)
            except InputError:
                unreadable.append(path.name)
                continue
            box, mirrored = random_box(image.size, random) if self.augment else centre_box(image.size)
            content = cropped(image, self.image_size, box, mirrored)
            if self.augment and self.soft and random.random() < self.soft:
                content = gaussian_blur(content, BLUR_KERNEL, [random.uniform(*BLUR)] * 2)
            return {"content": content, "seed": int(random.integers(2**62)), "unreadable": unreadable}
        raise InputError(f"none of the {len(self.items)} photos can be read any more")

    def __len__(self) -> int:
        """Returns the number of photos."""
        return len(self.items)


Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels


def random_box(size: tuple[int, int], random: np.random.Generator) -> tuple[Box, bool]:
    """Returns a square of half to all of the shorter side, anywhere, and whether to mirror it."""
    side = min(size) * random.uniform(0.5, 1)
    left, top = random.uniform(0, size[0] - side), random.uniform(0, size[1] - side)
    return (left, top, left + side, top + side), bool(random.random() < 0.5)


def centre_box(size: tuple[int, int]) -> tuple[Box, bool]:
    """Returns the square in the middle, not mirrored."""
    left, top = (size[0] - min(size)) / 2, (size[1] - min(size)) / 2
    return (left, top, left + min(size), top + min(size)), False


def cropped(image: Image.Image, size: int, box: Box, mirrored: bool) -> Float[Tensor, "3 size size"]:
    """Returns the part of a photo in the box, scaled to `size`, in [0, 1]."""
    content = to_tensor(image.resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=3))
    return content.flip(2) if mirrored else content


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns `{"content": (B, 3, H, W), "seed": B ints, "unreadable": [names]}`, and "filmed" if the items have it."""
    batch = {
        "content": torch.stack([item["content"] for item in items]),
        "seed": [item["seed"] for item in items],
        "unreadable": [name for item in items for name in item["unreadable"]],
    }
    if "filmed" in items[0]:
        batch["filmed"] = NextFrame(
            *(torch.stack(part) for part in zip(*(item["filmed"] for item in items), strict=True))
        )
    return batch


class StepSampler:
    """The photos of every training step, for ever: a pure function of (seed, step, rank), which a resume needs.

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

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        """Yields lists of (photo, key)."""
        for step in itertools.count(self.first_step()):
            batch = []
            for place in range(self.rank, self.batch_size, self.ranks):
                epoch, position = divmod(step * self.batch_size + place, self.photos)
                batch.append((int(self.order(epoch)[position]), (self.seed, step, place)))
            yield batch


class ContentPhotos(pl.LightningDataModule):
    """Training crops without end, and a few fixed ones for validation that training never sees.

    Args:
        items: the photos, or the shots of clips.
        image_size: side of the square crops, pixels.
        batch_size: crops per step, over all devices together.
        workers: processes that read; -1 for one per CPU core but one, 8 at most.
        validation: how many items are set aside, evenly spread.
        seed: decides order and crops.
        kind: what makes crops of the items: `Photos` or `Clips`.
    """

    def __init__(
        self,
        items: list[Any],
        image_size: int,
        batch_size: int,
        workers: int,
        validation: int,
        seed: int,
        kind: Callable[..., Dataset] | None = None,
    ) -> None:
        super().__init__()
        if len(items) < 2:
            raise ConfigError(
                f"{len(items)} photo is too few: training needs two at least, one of them to validate with"
            )
        validation = max(1, min(validation, len(items) // 2))
        aside = {len(items) * place // validation for place in range(validation)}
        self.validation_items = [items[place] for place in sorted(aside)]
        self.items = [item for place, item in enumerate(items) if place not in aside]
        self.image_size, self.batch_size, self.seed, self.kind = image_size, batch_size, seed, kind or Photos
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers < 0 else workers

    def train_dataloader(self) -> DataLoader:
        """Returns the crops, from the step that the trainer is at."""
        trainer = self.trainer
        assert trainer is not None
        if self.batch_size % trainer.world_size:
            raise ConfigError(
                f"trainer.batch_size={self.batch_size} must be a multiple of {trainer.world_size} devices"
            )
        sampler = StepSampler(
            len(self.items),
            self.batch_size,
            self.seed,
            lambda: trainer.global_step,
            trainer.global_rank,
            trainer.world_size,
        )
        return DataLoader(
            self.kind(self.items, self.image_size),
            batch_sampler=sampler,  # pyright: ignore[reportArgumentType]
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader:
        """Returns the crops set aside, one batch, always the same."""
        crops = self.kind(self.validation_items, self.image_size, augment=False)
        keys = [(place, (0, place)) for place in range(len(self.validation_items))]
        return DataLoader(crops, batch_sampler=[keys], collate_fn=collate)  # pyright: ignore[reportArgumentType]

    def validation(self) -> Float[Tensor, "batch 3 size size"]:
        """Returns the pictures set aside, in [0, 1]."""
        return next(iter(self.val_dataloader()))["content"]


def find_photos(root: str | Path) -> tuple[list[Path], dict[str, str]]:
    """Returns the photos below a folder, sorted, and the unusable files with the reason for each.

    Only the first and last bytes are read, all of them where the last ones are amiss. A file that turns out to be
    damaged later on is replaced when it is met.

    Raises:
        ConfigError: there is no such folder, or no usable photo in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ConfigError(f"no folder '{root}'; data.root=FOLDER names one with photos, data=sample needs none")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own on large pictures and odd metadata
        reasons = list(pool.map(unusable, found))
    bad = {str(path.relative_to(root)): reason for path, reason in zip(found, reasons, strict=True) if reason}
    photos = [path for path, reason in zip(found, reasons, strict=True) if not reason]
    if not photos:
        detail = f"; {len(bad)} unusable, first: {next(iter(bad.items()))}" if bad else ""
        raise ConfigError(f"no photos in '{root}' (looked for {', '.join(sorted(PICTURES))}){detail}")
    return photos, bad


def unusable(path: Path) -> str:
    """Returns why a file cannot be trained on; an empty string if nothing speaks against it."""
    try:
        if path.stat().st_size == 0:
            return "empty file"
        with open_picture(path) as image:
            width, height = image.size
            ending = ENDINGS.get(image.format or "", b"")
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            whole = ending in file.read()
    except InputError as error:
        return str(error).partition("': ")[2]
    except Image.DecompressionBombError:
        return f"over {MAX_PIXELS // 1_000_000} million pixels"
    except Exception as error:  # Pillow's parsers raise errors of many kinds on damaged files
        return "not a picture" if isinstance(error, OSError) else f"damaged ({type(error).__name__})"
    if min(width, height) < SMALLEST:
        return f"only {width}x{height} pixels"
    if width * height > MAX_PIXELS:
        return f"over {MAX_PIXELS // 1_000_000} million pixels"
    if not whole:  # truncated; or phones have hung a film or a second picture on
        try:
            load_image(path)
        except InputError:
            return "truncated"
    return ""


def sample_photos() -> list[Path]:
    """Returns the photos that scikit-image's and scikit-learn's wheels carry, without importing either.

    Raises:
        EnvironmentFault: neither is installed.
    """
    paths = []
    for package, folder, names in (
        ("skimage", "data", SKIMAGE_PHOTOS),
        ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ):
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or []:
            paths += [Path(place) / folder / name for name in names if (Path(place) / folder / name).is_file()]
    if not paths:
        raise EnvironmentFault("data=sample takes its photos from pip packages: run `pip install 'fastnst[sample]'`")
    return paths


def fingerprint(items: list[Any]) -> str:
    """Returns a short hash of the files' names and sizes, for the recipe; of a clip's shots each counts."""
    digest = hashlib.sha256()
    for item in items:
        path = item if isinstance(item, Path) else item.path
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def download(url: str, root: Path) -> None:
    """Fetches a zip of photos into `root` and unpacks it there; goes on where an earlier download stopped.

    Raises:
        EnvironmentFault: the server cannot be reached.
        OutputError: the disk is full, or the folder cannot be written.
    """
    archive = root / (url.rsplit("/", 1)[-1] + ".part")
    done = root / ".complete"
    if done.exists():
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        fetch(url, archive)
        with zipfile.ZipFile(archive) as packed:
            for member in tqdm(packed.infolist(), desc="unpack", unit="file", disable=not sys.stderr.isatty()):
                target = root / member.filename
                if not target.is_file() or target.stat().st_size != member.file_size:
                    packed.extract(member, root)
        done.touch()
        archive.unlink()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise EnvironmentFault(
            f"cannot download {url}: {error}; run again to go on, or give data.root=FOLDER"
        ) from error
    except zipfile.BadZipFile as error:
        archive.unlink(missing_ok=True)
        raise EnvironmentFault(f"{url} did not give a whole zip file; run again to fetch it anew") from error
    except OSError as error:
        raise OutputError(f"cannot write to '{root}': {error.strerror or error}") from error


def fetch(url: str, path: Path) -> None:
    """Downloads `url` to `path`, from the byte at which `path` ends."""
    start = path.stat().st_size if path.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return
        raise
    with response:
        resumed = response.status == 206
        left = int(response.headers.get("Content-Length", 0))
        start = start if resumed else 0
        with (
            open(path, "ab" if resumed else "wb") as file,
            tqdm(total=start + left, initial=start, unit="B", unit_scale=True, desc=path.stem) as bar,
        ):
            while block := response.read(1 << 20):
                file.write(block)
                bar.update(len(block))
        if path.stat().st_size < start + left:
            raise ConnectionError("the connection ended early")
