"""What visitors type and upload, read and named; messages to them."""

import re

from dnnlib.errors import UserError
from generation.latent_files import StoredLatents
from sharing.demo.studio import file_name


def without_folders(text: str) -> str:
    """Return a message with the names of files in place of their absolute paths."""
    return re.sub(r"(?<![\w:/.])/(?:[^\s/:]+/)*(?=[^\s/])", "", text)


def parse_seed(value: float | None, name: str) -> int:
    """Return a seed that a visitor typed; raise UserError if it is none."""
    if value is None or not 0 <= value < 2**32:
        raise UserError(f"{name} {'is empty' if value is None else f'{value:.0f}'}: expected 0 to {2**32 - 1}")
    return int(value)


def layer_range(first: float, last: float) -> tuple[int, int]:
    """Return a range of layers, whose ends may be given in any order."""
    return int(min(first, last)), int(max(first, last))


def row_names(stored: StoredLatents) -> list[str]:
    """Return a name for each of the stored latents, all different."""
    return [f"{i}: {file_name(name)}" for i, name in enumerate(stored.names)]
