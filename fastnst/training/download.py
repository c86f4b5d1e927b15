"""Fetches a zip of photos, such as COCO's, and unpacks it."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tqdm import tqdm

from fastnst.errors import EnvironmentFault, OutputError


def download(url: str, root: Path) -> None:
    """Fetches a zip of photos into `root` and unpacks it there; an interrupted download is continued.

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
            f"cannot download {url}: {error}; run again to continue, or give data.root=FOLDER"
        ) from error
    except zipfile.BadZipFile as error:
        archive.unlink(missing_ok=True)
        raise EnvironmentFault(f"{url} did not give a whole zip file; run again to fetch it once more") from error
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
