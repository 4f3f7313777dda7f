"""Which format a file is, by its first bytes, whatever its name."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dnnlib.downloads import fetch, is_url
from dnnlib.errors import UserError
from dnnlib.files import os_error
from pretrained.bmsg_gan import load_bmsg_gan
from pretrained.native import load_snapshot
from pretrained.network_file import NetworkFile, join
from pretrained.tf_networks import load_tf

LEGACY_TORCH = bytes.fromhex("8002 8a0a 6cfc9c46f9206aa85019")  # pickle of torch's magic number, before 1.6
WEB_PAGE = "web page"


class Format(NamedTuple):
    """How to tell a format from a file's first 512 bytes, and who opens it."""

    is_it: Callable[[bytes], bool]
    load: Callable[[Path], NetworkFile]


def _is_safetensors(head: bytes) -> bool:
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27


def _is_html(head: bytes) -> bool:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))


def _refuse_html(path: Path) -> NetworkFile:
    raise UserError(
        f"{path}: a web page, not a network file: the download was answered with an error or a sign-in page"
    )


FORMATS = {
    "snapshot of train.py (safetensors)": Format(_is_safetensors, load_snapshot),
    "PyTorch file (zip)": Format(lambda head: head.startswith(b"PK\x03\x04"), load_bmsg_gan),
    "PyTorch file (before 1.6)": Format(lambda head: head.startswith(LEGACY_TORCH), load_bmsg_gan),
    "TensorFlow 1 pickle": Format(lambda head: head[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"), load_tf),
    WEB_PAGE: Format(_is_html, _refuse_html),
}


def format_of(path: Path) -> str:
    """Return the key of FORMATS that a file belongs to; raise UserError if there is none."""
    if path.is_dir():
        raise UserError(f"{path}: a folder, expected a network file such as network-snapshot-000020.safetensors")
    try:
        with open(path, "rb") as f:
            head = f.read(512)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected a network file") from None
    except OSError as e:
        raise os_error(e, path, "read") from e

    for name, known in FORMATS.items():
        if known.is_it(head):
            return name

    what = f"begins with {head[:8]!r}" if head else "an empty file"
    raise UserError(
        f"{path}: not a network file ({what}), expected a snapshot of train.py, a TF1 pickle or a BMSG-GAN .pth"
    )


def load_network(path: str | Path, *others: str | Path) -> NetworkFile:
    """Open a network file of any known format, recognised by its content, whatever its name.

    `path` is a file or a URL, whose copy is kept in torch.hub's cache (`#sha256=...` at its end is checked). `others`
    are more files that belong to it, since BMSG-GAN writes one file per network. Networks are read when they are first
    used, and no code of a file is ever run. Raise UserError if a file is unknown or not whole.
    """
    files = [_local(str(p)) for p in (path, *others)]
    return join([FORMATS[format_of(f)].load(f) for f in files])


def _local(path: str) -> Path:
    """Return the file of a path or URL, and delete a web page that was sent in place of a file."""
    if not is_url(path):
        return Path(path)

    file = fetch(path)
    if format_of(file) == WEB_PAGE:
        file.unlink(missing_ok=True)
        _refuse_html(Path(path))
    return file
