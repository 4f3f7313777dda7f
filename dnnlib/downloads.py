"""Files from the web, kept in a cache."""

import hashlib
import urllib.error
from pathlib import Path
from urllib.parse import urlparse

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir


def is_url(path: str) -> bool:
    return urlparse(path).scheme in ("http", "https")


def fetch(url: str) -> Path:
    """The cached copy of `url`, downloaded first if there is none: `<torch.hub dir>/msg-gan/<hash>-<name>`. Whole or
    absent; UserError if it cannot be had."""
    name = Path(urlparse(url).path).name or "file"
    path = Path(torch.hub.get_dir()) / "msg-gan" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if not path.exists():
        make_dir(path.parent)
        with atomic(path) as temporary:
            try:
                torch.hub.download_url_to_file(url, str(temporary))
            except urllib.error.URLError as e:
                raise UserError(f"{url}: cannot download: {e.reason}") from e
    return path
