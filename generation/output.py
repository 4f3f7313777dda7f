"""Checks of the files that commands write, before anything is computed."""

import os
from collections.abc import Sequence
from pathlib import Path

from dnnlib.errors import UserError


def check_output(path: Path, suffixes: Sequence[str], overwrite: bool) -> None:
    """Raise UserError unless `path` ends in one of `suffixes` (empty = none) and is free, or may be overwritten."""
    if path.suffix.lower() not in suffixes:
        known = ", ".join(suffix or "no suffix (a folder)" for suffix in suffixes)
        raise UserError(f"--output {path}: expected a name that ends in one of {known}")

    # A folder is never overwritten: it may hold other things.
    if os.path.lexists(path) and (path.is_dir() or not overwrite):
        advice = "" if path.is_dir() else ", or --overwrite"
        raise UserError(f"--output {path}: exists already, expected a new name{advice}")


def check_fps(fps: float) -> None:
    """Raise UserError unless a film can have this many frames per second."""
    if not 0 < fps <= 240:
        raise UserError(f"--fps {fps}: expected more than 0, at most 240")
