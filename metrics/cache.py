"""The files of the user's cache: arrays that take long to compute, kept from one call to the next."""

import contextlib
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir

LIMIT = 10 * 2**30  # bytes of all files together
T = TypeVar("T")


def default_folder() -> Path:
    """Return the folder of this user where statistics of reals are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "metrics"


def load(path: Path | None, read: Callable[[Path], T]) -> T | None:
    """Return `read(path)` and mark the file as used; return None if there is no file or if it is damaged."""
    if path is None or not path.is_file():
        return None

    # numpy raises all kinds of errors for a damaged file; what it held is then computed again.
    try:
        content = read(path)
    except Exception:
        return None

    # The time of the last use decides what is deleted first.
    with contextlib.suppress(OSError):
        os.utime(path)
    return content


def keep(path: Path | None, write: Callable[[IO[bytes]], None]) -> None:
    """Let `write` fill a file of the cache, on the main process only; a failure is a warning."""
    if path is None or not distributed.is_main():
        return

    try:
        make_dir(path.parent)
        with atomic(path) as temporary, open(temporary, "wb") as f:
            write(f)
    except UserError as e:
        warnings.warn(f"statistics of the reals are not kept: {e}", stacklevel=2)
    else:
        _evict(path.parent)


def _evict(folder: Path) -> None:
    """Delete the least recently used files until the rest fits into LIMIT; files of other names stay."""
    # Another process may delete the same files at the same time.
    with contextlib.suppress(OSError):
        cached = [path for path in folder.iterdir() if re.fullmatch(r"[a-z0-9]+-[0-9a-f]{32}\.np[yz]", path.name)]
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in cached)
        total = sum(size for _, size, _ in files)

        # The newest file has just been written and stays, however large it is.
        for _, size, path in files[:-1]:
            if total > LIMIT:
                path.unlink()
                total -= size
