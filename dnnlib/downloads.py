"""Files from the web, kept in a cache."""

import hashlib
import http.client
import re
import urllib.error
from pathlib import Path
from urllib.parse import urlparse

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir


def is_url(path: str) -> bool:
    """Return whether `path` is to be fetched from the web."""
    return urlparse(path).scheme in ("http", "https")


def fetch(url: str, path: Path | None = None) -> Path:
    """Return the copy of `url` at `path`, downloaded first if there is none.

    path: default `<torch.hub dir>/msg-gan/<hash>-<name>`. The copy is whole or absent; `#sha256=<64 hex digits>` at the
    end of the url is checked. Raises UserError if the download fails.
    """
    # A checksum may follow the url.
    url, _, fragment = url.partition("#")
    expected = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if fragment and not expected:
        raise UserError(f"{url}#{fragment}: expected nothing after the url but #sha256= and 64 hex digits")

    # Where the copy is, or will be.
    name = Path(urlparse(url).path).name or "file"
    path = path or Path(torch.hub.get_dir()) / "msg-gan" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"

    if not path.exists():
        make_dir(path.parent)
        with atomic(path) as temporary:
            try:
                torch.hub.download_url_to_file(url, str(temporary))
            except (urllib.error.URLError, http.client.HTTPException) as e:
                raise UserError(f"{url}: cannot download: {getattr(e, 'reason', '') or repr(e)}") from e
            if expected:
                _check_hash(temporary, expected[1], url)
    elif expected:
        _check_hash(path, expected[1], f"{url}: cached as {path}")
    return path


def _check_hash(path: Path, expected: str, what: str) -> None:
    """Raise UserError, headed `what`, unless the sha256 of a file is the expected one."""
    with open(path, "rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != expected.lower():
        raise UserError(f"{what}: sha256 is {found}, expected {expected.lower()}")
