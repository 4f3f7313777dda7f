"""Files from the web, kept in a cache."""

import hashlib
import http.client
import ipaddress
import re
import shutil
import sys
import time
import urllib.error
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch
from tqdm import tqdm

from dnnlib.errors import UserError, printable
from dnnlib.files import atomic, make_dir
from dnnlib.privacy import without_secrets

# Seconds before each further try of a download that failed for a reason that may pass.
WAITS = (1.0, 4.0, 15.0)
SIGNS = "%/:=&?~#+!$,;'@()*[]"  # signs that urls may have, besides letters and digits
TIMEOUT = 60.0  # seconds without an answer

# Where Google Drive keeps files, and the largest page that it asks for a confirmation with.
DRIVE = "https://drive.usercontent.google.com/download"
PAGE_BYTES = 2**20


class _Incomplete(ConnectionError):
    """The end of a file did not arrive."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def is_url(path: str) -> bool:
    """Return whether `path` is to be fetched from the web."""
    return re.match("https?:", path, re.IGNORECASE) is not None


def fetch(url: str, path: Path | None = None) -> Path:
    """Return the copy of `url` at `path`, downloaded first if there is none.

    path: default `<torch.hub dir>/msg-gan/<hash>-<name>`. The copy is whole or absent; `#sha256=<64 hex digits>` at the
    end of the url is checked. Links to files on Google Drive are followed to the file. Raise UserError if the download
    fails, also in several tries, if the checksum differs, or if the url is not of https, except on this machine.

    Passwords and tokens in the url are neither part of the copy's name nor of messages.
    """
    # A checksum may follow the url. Signs that urls cannot have are quoted.
    url, _, fragment = quote(url, safe=SIGNS, errors="surrogateescape").partition("#")
    shown = without_secrets(url)
    _check_address(url)
    checksum = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if fragment and not checksum:
        raise UserError(f"{shown}#{fragment}: expected nothing after the url but #sha256= and 64 hex digits")

    # The name in the cache begins with a hash, since files of different sites may have the same name.
    name = (drive_id(url) or Path(urlparse(url).path).name or "file")[-100:]
    path = path or Path(torch.hub.get_dir()) / "msg-gan" / f"{hashlib.sha256(shown.encode()).hexdigest()[:16]}-{name}"

    # A download with another checksum is not kept.
    if not path.exists():
        make_dir(path.parent)
        with atomic(path) as temporary:
            _download(url, temporary)
            if checksum:
                _check_hash(temporary, checksum[1], shown)
    elif checksum:
        _check_hash(path, checksum[1], f"{shown}: cached as {path}")
    return path


def _check_address(url: str) -> None:
    """Raise UserError unless a url can be asked for safely: by https, or from this machine."""
    shown = without_secrets(url)
    try:
        parts = urlparse(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError unless it is a number
    except ValueError as e:
        raise UserError(f"{shown}: not an address: {e}") from e

    if "@" in parts.netloc:
        raise UserError(f"{shown}: a user name or password is not sent, expected an address without")
    if not re.fullmatch(r"[\w.:-]{1,253}", host, re.ASCII) or any(len(label) > 63 for label in host.split(".")):
        raise UserError(f"{shown}: not an address: its host is {host!r:.100}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise UserError(f"{shown}: expected https://, so that nobody on the way can read or replace the file")


def _is_this_machine(host: str) -> bool:
    """Return whether a host is the loopback interface, on which nobody else listens."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Redirects(HTTPRedirectHandler):
    """Follows servers to other addresses only if these may be asked for as well."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def drive_id(url: str) -> str | None:
    """Return the id of the file that a link to Google Drive leads to; None for other URLs."""
    parts = urlparse(url)
    if parts.hostname not in ("drive.google.com", "docs.google.com", "drive.usercontent.google.com"):
        return None

    # .../file/d/ID/view, or ...?id=ID.
    match = re.search(r"/d/([\w-]{10,})", parts.path)
    found = match[1] if match else parse_qs(parts.query).get("id", [""])[0]
    if not re.fullmatch(r"[\w-]{10,}", found):
        raise UserError(
            f"{url}: no file of Google Drive, expected a link such as https://drive.google.com/file/d/ID/view"
        )
    return found


def _download(url: str, path: Path) -> None:
    """Write the answer of a server to a file, if need be in several tries; raise UserError unless all of it arrives."""
    for wait in (*WAITS, None):
        try:
            return _try_download(url, path)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as e:
            reason = printable(without_secrets(str(getattr(e, "reason", "") or repr(e))))

            # A file that is not there will not be there in a moment, and a wrong address stays wrong.
            may_pass = not isinstance(e, urllib.error.HTTPError) or e.code in (408, 429) or e.code >= 500
            may_pass = may_pass and not isinstance(e, ValueError | http.client.InvalidURL)
            if wait is None or not may_pass:
                raise UserError(f"{without_secrets(url)}: cannot download: {reason}") from e
            print(f"{without_secrets(url)}: {reason}, another try in {wait:g} s", file=sys.stderr)
            time.sleep(wait)


def _try_download(url: str, path: Path) -> None:
    """Write the answer of a server to a file, with a progress bar."""
    file_id = drive_id(url)
    with _open_drive(file_id, url) if file_id else _open(url) as response, open(path, "wb") as file:
        with tqdm.wrapattr(response, "read", total=response.length, desc=_file_name(response)) as stream:
            shutil.copyfileobj(stream, file)

        # Python takes a connection that closes early for the end of the file.
        if response.length:
            raise _Incomplete(f"the last {response.length:,} bytes did not arrive")


def _open(url: str) -> Any:
    """Return the answer of a server."""
    request = Request(url, headers={"User-Agent": "msg-gan"})
    return build_opener(_Redirects).open(request, timeout=TIMEOUT)


def _open_drive(file_id: str, url: str) -> Any:
    """Return the answer that holds a file of Google Drive; raise UserError if it answers with a page.

    Large files come after a page that says that they were not scanned for viruses, with a form to be sent.
    """
    response = _open(f"{DRIVE}?{urlencode({'id': file_id, 'export': 'download'})}")
    if not _is_page(response):
        return response
    with response:
        page = _Page(response.read(PAGE_BYTES).decode(errors="replace"))

    # The form leads to the same server.
    if "id" in page.fields and urlparse(page.action)[:2] == urlparse(DRIVE)[:2]:
        response = _open(f"{page.action}?{urlencode(page.fields)}")
        if not _is_page(response):
            return response
        with response:
            page = _Page(response.read(PAGE_BYTES).decode(errors="replace"))
    raise UserError(f"{url}: Google Drive gives no file, but a page: {page.title or 'without a title'}")


class _Page(HTMLParser):
    """A page of Google Drive: its title, and the form for downloading all the same."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title, self.action = "", ""
        self.fields: dict[str, str] = {}
        self._in_title = self._in_form = False
        self.feed(html)
        self.title = printable(" ".join(self.title.split()))[:200]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_title = tag == "title"
        if tag == "form":
            self._in_form = values.get("id") == "download-form"
            if self._in_form:
                self.action = values.get("action", "")
        elif tag == "input" and self._in_form and values.get("type") == "hidden" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        self._in_form = self._in_form and tag != "form"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def _is_page(response: Any) -> bool:
    return bool(response.headers.get_content_type() == "text/html")


def _file_name(response: Any) -> str | None:
    """Return the name that a server gives to a file, if it does, as far as it can be shown."""
    name = response.headers.get_filename()
    return printable(name)[:60] if name else None


def _check_hash(path: Path, expected: str, where: str) -> None:
    """Raise UserError, headed `where`, unless the sha256 of a file is the expected one."""
    with open(path, "rb") as f:
        actual = hashlib.file_digest(f, "sha256").hexdigest()

    if actual != expected.lower():
        raise UserError(f"{where}: sha256 is {actual}, expected {expected.lower()}")
