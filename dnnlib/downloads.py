"""Files from the web, kept in a cache."""

import hashlib
import http.client
import re
import shutil
import urllib.error
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir


def is_url(path: str) -> bool:
    """Return whether `path` is to be fetched from the web."""
    return urlparse(path).scheme in ("http", "https")


def fetch(url: str, path: Path | None = None) -> Path:
    """Return the copy of `url` at `path`, downloaded first if there is none.

    path: default `<torch.hub dir>/msg-gan/<hash>-<name>`. The copy is whole or absent; `#sha256=<64 hex digits>` at the
    end of the url is checked. Raise UserError if the download fails or the checksum differs.
    """
    # A checksum may follow the url.
    url, _, fragment = url.partition("#")
    checksum = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if fragment and not checksum:
        raise UserError(f"{url}#{fragment}: expected nothing after the url but #sha256= and 64 hex digits")

    # The name in the cache begins with a hash, since files of different sites may have the same name.
    name = Path(urlparse(url).path).name or "file"
    path = path or Path(torch.hub.get_dir()) / "msg-gan" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"

    # A download with another checksum is not kept.
    if not path.exists():
        make_dir(path.parent)
        with atomic(path) as temporary:
            _download(url, temporary)
            if checksum:
                _check_hash(temporary, checksum[1], url)
    elif checksum:
        _check_hash(path, checksum[1], f"{url}: cached as {path}")
    return path


def _download(url: str, path: Path) -> None:
    """Write the answer of a server to a file, with a progress bar; raise UserError unless all of it arrives."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "msg-gan"})) as response, open(path, "wb") as file:
            with tqdm.wrapattr(response, "read", total=response.length) as stream:
                shutil.copyfileobj(stream, file)

            # Python takes a connection that closes early for the end of the file.
            if response.length:
                raise UserError(f"{url}: cannot download: the last {response.length:,} bytes did not arrive")
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        raise UserError(f"{url}: cannot download: {getattr(e, 'reason', '') or repr(e)}") from e


def _check_hash(path: Path, expected: str, where: str) -> None:
    """Raise UserError, headed `where`, unless the sha256 of a file is the expected one."""
    with open(path, "rb") as f:
        actual = hashlib.file_digest(f, "sha256").hexdigest()

    if actual != expected.lower():
        raise UserError(f"{where}: sha256 is {actual}, expected {expected.lower()}")
