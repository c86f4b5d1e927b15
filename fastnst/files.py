"""Writing files so that the target is always whole: the old one, or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastnst.errors import OutputError


@contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yields the path of an empty file beside `path`; it takes the place of `path` when the block ends without error.

    On any error the new file is removed and `path` is as it was. The file keeps the ending of `path`.

    Raises:
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    part = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".fastnst-", suffix=path.suffix)
        part = Path(name)
        os.close(handle)
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)  # mkstemp makes private files; a shared folder expects the usual mode
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
