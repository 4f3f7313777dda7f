"""Opening a network file of any format, which its first bytes tell, whatever its name."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dnnlib.downloads import fetch, is_url
from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.hub import fetch_from_hub, is_hub
from dnnlib.object_store import fetch as fetch_object
from dnnlib.object_store import is_remote
from dnnlib.privacy import without_secrets
from pretrained.bmsg_gan import load_bmsg_gan
from pretrained.native import load_snapshot
from pretrained.network_file import NetworkFile, join
from pretrained.tf_networks import load_tf

WEB_PAGE = "web page"

# What a repository of the Hub names its network, and the suffixes of network files.
HUB_NAME = "network.safetensors"
SUFFIXES = (".safetensors", ".pkl", ".pth")


class Format(NamedTuple):
    """A format of network files."""

    begins: bytes
    """Regular expression of a file's first bytes."""
    load: Callable[[Path], NetworkFile]
    """Opens a file of this format."""


def _refuse_html(path: Path) -> NetworkFile:
    raise UserError(
        f"{path}: a web page, not a network file: the download was answered with an error or a sign-in page"
    )


FORMATS = {
    # The length of the header, below 2^27, in 8 bytes, and its JSON.
    "snapshot of train.py (safetensors)": Format(rb"...[\x00-\x07]\x00{4}\{.", load_snapshot),
    "PyTorch file (zip)": Format(rb"PK\x03\x04", load_bmsg_gan),
    # A pickle of torch's magic number.
    "PyTorch file (before 1.6)": Format(rb"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", load_bmsg_gan),
    # Any other pickle of protocol 2 to 5.
    "TensorFlow 1 pickle": Format(rb"\x80[\x02-\x05]", load_tf),
    # After a byte-order mark and white space.
    WEB_PAGE: Format(rb"(\xef\xbb\xbf|\s)*<(?i:!doctype html|html|head|\?xml)", _refuse_html),
}


def format_of(path: Path) -> str:
    """Return the key of FORMATS that a file belongs to; raise UserError if there is none."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, expected a network file, or a run dir with network-snapshot-*.safetensors")
    try:
        with open(path, "rb") as f:
            head = f.read(512)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected a network file") from None
    except OSError as e:
        raise os_error(e, path, "read") from e

    # The first format that fits.
    for name, known in FORMATS.items():
        if re.match(known.begins, head, re.DOTALL):
            return name

    content = f"begins with {head[:8]!r}" if head else "an empty file"
    raise UserError(
        f"{path}: not a network file ({content}), expected a snapshot of train.py, a TF1 pickle or a BMSG-GAN .pth"
    )


def load_network(path: str | Path, *others: str | Path) -> NetworkFile:
    """Open a network file of any known format, recognised by its content, whatever its name.

    `path` is a file; a URL, whose copy is kept in torch.hub's cache (`#sha256=...` at its end is checked); or a
    repository of the Hugging Face Hub, or a file in one: hf://user/repo, hf://user/repo@revision/file. `others` are
    more files that belong to it, since BMSG-GAN writes one file per network. Networks are read when they are first
    used, and no code of a file is ever run. Raise UserError if a file is unknown or not whole.
    """
    files = [_local(str(p)) for p in (path, *others)]
    return join([FORMATS[format_of(f)].load(f) for f in files])


def _local(path: str) -> Path:
    """Return the file of a path or address, and delete a web page that was sent in place of a file."""
    if is_hub(path):
        return fetch_from_hub(path, HUB_NAME, SUFFIXES)
    if is_remote(path):
        return fetch_object(path, "networks")
    if not is_url(path):
        return Path(path)

    # The next attempt downloads it again.
    file = fetch(path)
    if format_of(file) == WEB_PAGE:
        file.unlink(missing_ok=True)
        _refuse_html(Path(without_secrets(path)))
    return file
