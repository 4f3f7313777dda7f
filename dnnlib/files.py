"""Files that are either whole or absent."""

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dnnlib.errors import UserError

PARTIAL = ".partial"  # suffix of files and folders that are still being written


def os_error(e: OSError, path: Path, doing: str) -> UserError:
    """Return an OSError on `path` as a one-line UserError."""
    reason = "no space left on the device" if e.errno == errno.ENOSPC else (e.strerror or str(e)).lower()
    return UserError(f"{path}: cannot {doing}: {reason}")


def fsync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write a file or folder to.

    It takes the place of `path` when the block ends, and vanishes if the block raises. An existing file or empty folder
    is replaced; any other folder is an error. Raises UserError if writing fails, e.g. on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        # A killed process may have had the same number, as the first one of a container does.
        _remove(temporary)
        yield temporary

        # Everything is on the disk before the name changes, and the new name afterwards.
        if temporary.is_dir():
            os.sync()  # one call for all files of the folder, which may be a million
        else:
            fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except BaseException as e:
        _remove(temporary)
        if isinstance(e, OSError):
            raise os_error(e, path, "write") from e
        raise


def _remove(path: Path) -> None:
    """Delete a file or folder, if it exists and can be deleted."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_partial(folder: Path) -> None:
    """Delete files that interrupted writers left in `folder` and its folders, by the names that `atomic` gives them."""
    for path in (*folder.glob(f".*{PARTIAL}"), *folder.glob(f"*/.*{PARTIAL}")):
        if re.fullmatch(rf"\..+\.\d+{re.escape(PARTIAL)}", path.name) and path.is_file():
            path.unlink(missing_ok=True)


def lock(file: IO[Any]) -> bool:
    """Take an open file for this process until it is closed; return False if another process has it.

    Where there are no locks, as on some network file systems, return True.
    """
    if sys.platform == "win32":  # advisory locks are a thing of POSIX
        return True

    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def make_dir(path: Path) -> Path:
    """Create a folder and its parents, and return it; raise UserError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return path
    except OSError as e:
        raise os_error(e, path, "create the folder") from e
