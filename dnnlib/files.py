"""Files that are either whole or absent."""

import contextlib
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import randbelow
from typing import IO, Any

from dnnlib.errors import UserError

PARTIAL = ".partial"  # suffix of files and folders that are still being written


def os_error(e: OSError, path: Path, doing: str) -> UserError:
    """Return an OSError on `path` as a one-line UserError."""
    reason = "no space left on the device" if e.errno == errno.ENOSPC else (e.strerror or str(e)).lower()
    return UserError(f"{path}: cannot {doing}: {reason}")


def fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    # Windows flushes what is open for writing, and has no way to flush a folder.
    if sys.platform == "win32" and path.is_dir():
        return
    fd = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_all(folder: Path) -> None:
    """Flush everything in a folder to the disk."""
    # One call for all files, which may be a million; elsewhere, file by file.
    if sys.platform != "win32":
        os.sync()
        return
    for path in folder.rglob("*"):
        if path.is_file():
            fsync(path)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write a file or folder to.

    It takes the place of `path` when the block ends, and vanishes if the block raises. An existing file or empty folder
    is replaced; any other folder is an error. Raises UserError if writing fails, e.g. on a full disk.
    """
    # The number is random: process numbers repeat, in containers above all.
    temporary = path.with_name(f".{path.name}.{randbelow(10**9)}{PARTIAL}")

    try:
        yield temporary

        # Everything is on the disk before the name changes, and the new name afterwards.
        if temporary.is_dir():
            fsync_all(temporary)
        else:
            fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except BaseException as e:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        if isinstance(e, OSError):
            raise os_error(e, path, "write") from e
        raise


def remove_partial(folder: Path) -> None:
    """Delete files that killed writers left in `folder` and its folders; `atomic` gives them names of their own."""
    # A folder with such a name may be a dataset that is being made, and stays.
    for path in (*folder.glob(f".*{PARTIAL}"), *folder.glob(f"*/.*{PARTIAL}")):
        if re.fullmatch(rf"\..+\.\d+{re.escape(PARTIAL)}", path.name) and path.is_file():
            path.unlink(missing_ok=True)


class Unchanged:
    """A file that is mapped to memory, as it was when this was made.

    A file that is deleted or replaced stays as it was for those who have it open. One that is truncated would end the
    process when it is read past its end, without a word; one that is overwritten would give other content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity, self.content = self._look()

    def check(self) -> None:
        """Raise UserError if the file has been truncated or overwritten."""
        try:
            identity, content = self._look()
        except FileNotFoundError:
            return
        if identity == self.identity and content != self.content:
            raise UserError(f"{self.path}: was changed while it was in use")

    def _look(self) -> tuple[int, tuple[int, int]]:
        """Return which file is at the path, and its size and the time of its last change."""
        status = os.stat(self.path)
        return status.st_ino, (status.st_size, status.st_mtime_ns)


def lock(file: IO[Any]) -> bool:
    """Take an open file for this process until it is closed; return False if another process has it.

    Where there are no locks, as on some network file systems, return True.
    """
    # Windows locks a range of bytes, here the first one.
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False

    import fcntl

    # The lock is given up when the process ends, however it ends.
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


def read_json(path: Path, expected: str) -> Any:
    """Return the content of a JSON file; raise UserError, which says what was `expected`, if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise os_error(e, path, "read") from e

    # Not text, not JSON, or nested too deeply.
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: not JSON: {e}, expected {expected}") from e
