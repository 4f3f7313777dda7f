"""Where commands write: checks before anything is computed, and files that are written beside the computation."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.pool import cpu_count, ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_PIXELS = 8192  # height and width of a film
TURN = 64  # items that threads work on at a time where they take turns with what makes the items

Format = Literal["png", "jpg", "webp"]
"""Kinds of single files that a command offers."""


def check_output(path: Path, suffixes: Sequence[str], overwrite: bool, option: str = "--output") -> None:
    """Raise UserError unless `path` ends in one of `suffixes` (empty = none) and is free, or may be overwritten."""
    if path.suffix.lower() not in suffixes:
        known = ", ".join(filter(None, suffixes))
        folder = ", or a name without a suffix (a folder)" if "" in suffixes else ""
        raise UserError(f"{option} {path}: expected a name that ends in one of {known}{folder}")

    # A folder is never overwritten: it may hold other things.
    if os.path.lexists(path) and (path.is_dir() or not overwrite):
        advice = "" if path.is_dir() else ", or add --overwrite"
        raise UserError(f"{option} {path}: exists already, choose another name{advice}")
    _check_folder(option, path, path.parent)


def check_outdir(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """Raise UserError if `folder` is none, or holds a file of one of these names that may not be overwritten."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--outdir {folder}: a file, expected a folder")
    _check_folder("--outdir", folder, folder)

    # One look at the folder, which may hold a million files.
    existing = set(os.listdir(folder)) if folder.exists() and not overwrite else set()
    for name in names:
        if name in existing:
            raise UserError(f"--outdir {folder}: {name} exists already, choose another folder, or add --overwrite")


def _check_folder(option: str, value: Path, folder: Path) -> None:
    """Raise UserError if files cannot be written into a folder, or if it is not there and cannot be made."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise UserError(f"{option} {value}: {existing} is a file, expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{option} {value}: {existing} cannot be written to")


def check_fps(fps: float, output: Path) -> None:
    """Raise UserError unless a film of this name can have this many frames per second."""
    most = 50 if output.suffix.lower() == ".gif" else 240  # viewers slow faster GIFs down
    if not 0.1 <= fps <= most:
        raise UserError(f"--fps {fps:g}: expected 0.1 to {most}{' in a .gif' if most == 50 else ''}")


def check_range(option: str, value: int, least: int, most: int) -> None:
    """Raise UserError unless the value of an option is within its range."""
    if not least <= value <= most:
        raise UserError(f"{option} {value}: expected {least} to {most}")


def check_frame(width: int, height: int, advice: str) -> None:
    """Raise UserError unless a film can have frames of this size; `advice` names the options that decide it."""
    if max(width, height) > MOST_PIXELS:
        raise UserError(f"{advice}: frames of {width}x{height} pixels, expected at most {MOST_PIXELS} either way")


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; unlike `dnnlib.files.atomic`, without waiting for the disk.

    Raises UserError if that fails.
    """
    # The name changes once the content is complete.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(e, OSError):
            raise os_error(e, path, "write") from e
        raise


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], beside: bool
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in order, computed by several threads.

    beside: whether they work while the next items are made, which is best if a GPU makes them. On a CPU they would take
    its cores from the network, whose threads wait for the slowest one; there, both take turns. Close the generator to
    end early.
    """
    threads = cpu_count()
    if beside:
        yield from ordered_map(function, items, 0, ahead=4 * threads, threads=threads)
        return

    # A list is made before the threads begin, and done before the next one is made.
    remaining = iter(items)
    while turn := list(islice(remaining, TURN)):
        yield from ordered_map(function, turn, 0, ahead=TURN, threads=threads)


def add_to_zip(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Append a file to a zip, uncompressed, dated like all others: the same files make the same zip."""
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
