"""Folders and files of object stores (s3://, gs://, hf:// and whatever else fsspec knows), with several tries."""

import contextlib
import hashlib
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, TypeVar

from dnnlib.errors import UserError
from dnnlib.extras import import_extra
from dnnlib.files import PARTIAL, atomic, lock, make_dir

T = TypeVar("T")

# Seconds before each further try, up to as much again by chance, so that a thousand processes do not come back at once.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
THREADS = 8  # files that are downloaded at once
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError)  # trying again does not help


def is_remote(place: str | PurePath) -> bool:
    """Return whether a place is in an object store: a URL, but not one of the web."""
    # A Path makes one slash of two, or on Windows a backslash.
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", place if isinstance(place, str) else place.as_posix())
    return scheme is not None and scheme[1] not in ("http", "https", "file")


def local_copy(place: Path) -> Path:
    """Return a path as it is, or the local copy of what it names in an object store."""
    return fetch(url_of(place), "datasets") if is_remote(place) else place


def url_of(place: PurePath) -> str:
    """Return the URL that was made a path, in which two slashes became one."""
    return re.sub(":/+", "://", place.as_posix(), count=1)


def content_marks(files: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the names of files, and of each what changes when its content does, as `ObjectStore.files` gives it."""
    marks = ("size", "ETag", "etag", "md5Hash", "mtime", "LastModified", "blob_id")
    return sorted((name, *(str(entry.get(mark)) for mark in marks)) for name, entry in files.items())


class ObjectStore:
    """A folder of an object store. Methods raise UserError if something fails, also in several tries.

    Credentials and addresses are those of the store's own tools (e.g. AWS_PROFILE, AWS_ENDPOINT_URL, `hf auth login`).
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        fsspec = import_extra("fsspec", url)
        try:
            # Other machines write as well, so what was listed once may be out of date.
            options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}

            # Tries are made by `_try` alone: s3fs and botocore would make as many for each of them.
            if self.url.startswith("s3"):
                options["config_kwargs"] = {"retries": {"max_attempts": 0}}
            self.fs, root = fsspec.core.url_to_fs(self.url, **options)
            self.fs.retries = 1
        except ImportError as e:
            raise UserError(f"{url}: {e}: pip install 'msg-gan[cloud]'") from e
        except ValueError as e:
            raise UserError(f"{url}: {e}, expected e.g. s3://BUCKET/FOLDER, gs:// or hf://") from e
        self.root: str = root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""
        try:
            content: bytes = self._try(lambda: self.fs.cat_file(self._path(name)), name, "read")
            return content
        except FileNotFoundError:
            return None

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return bytes start ... stop-1 of a file."""

        def read() -> bytes:
            if self.fs.async_impl:
                content: bytes = self.fs.cat_file(self._path(name), start=start, end=stop)
            else:  # whose files would read ahead
                with self.fs.open(self._path(name), "rb", cache_type="none") as file:
                    file.seek(start)
                    content = file.read(stop - start)

            # A connection that broke off counts as a failure.
            if len(content) != stop - start:
                raise OSError(f"{len(content)} bytes, expected {stop - start}")
            return content

        try:
            return self._try(read, name, "read")
        except FileNotFoundError as e:
            raise UserError(f"{self.url}/{name}: no such file") from e

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        self._try(lambda: self.fs.pipe_file(self._path(name), content), name, "write")

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file, whole or not at all."""
        self._try(lambda: self.fs.put_file(str(path), self._path(name)), name, "write")

    def download(self, name: str, path: Path, sha256: str | None = None) -> None:
        """Copy a file to a local one, whole or not at all; compare its hash, if it is known."""
        make_dir(path.parent)
        with atomic(path) as temporary:
            try:
                self._try(lambda: self.fs.get_file(self._path(name), str(temporary)), name, "read")
            except FileNotFoundError as e:
                raise UserError(f"{self.url}/{name}: no such file") from e
            if sha256 is not None and (actual := file_hash(temporary)) != sha256:
                raise UserError(f"{self.url}/{name}: damaged: sha256 {actual}, expected {sha256}")

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._try(lambda: self.fs.rm_file(self._path(name)), name, "delete")

    def folders(self) -> list[str]:
        """Return the names of the folders directly inside."""
        try:
            entries: list[dict[str, Any]] = self._try(lambda: self.fs.ls(self.root, detail=True), "", "list")
        except FileNotFoundError:
            return []
        return [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]

    def files(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each file inside, at any depth, by its relative name; "" is the place itself."""
        found: dict[str, dict[str, Any]] = self._try(lambda: self.fs.find(self.root, detail=True), "", "list")
        start = self.root.strip("/")
        return {name.strip("/").removeprefix(start).lstrip("/"): entry for name, entry in found.items()}

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _try(self, act: Callable[[], T], name: str, doing: str) -> T:
        """Do something, if need be in several tries."""
        where = f"{self.url}/{name}".rstrip("/")
        for wait in (*WAITS, None):
            try:
                return act()
            except FINAL as e:
                if isinstance(e, FileNotFoundError) and doing != "write":
                    raise
                raise UserError(f"{where}: cannot {doing}: {e or type(e).__name__}") from e
            except Exception as e:  # every store has errors of its own
                reason = str(e) or type(e).__name__
                if wait is None:
                    raise UserError(f"{where}: cannot {doing}, tried {len(WAITS) + 1} times: {reason}") from e
            time.sleep(wait * (1 + random.random()))
        raise AssertionError


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder(kind: str) -> Path:
    """Return the folder of this user for copies of a kind."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msg-gan" / kind


def fetch(url: str, kind: str = "objects") -> Path:
    """Return the local copy of a file or folder of an object store, made once and again when something changes there.

    Raise UserError if there is nothing, or if it cannot be read.
    """
    store = ObjectStore(url)
    try:
        files = store.files()
    except FileNotFoundError:
        files = {}
    if not files:
        raise UserError(f"{url}: no such file or folder")

    # Names, sizes and what the store tells of their content give the copy its place.
    key = hashlib.sha256(f"{store.url} {content_marks(files)}".encode()).hexdigest()[:16]
    folder = make_dir(cache_folder(kind) / key)
    copy = folder / (store.root.rpartition("/")[2] or "root")

    # Of several processes one downloads, and the others wait.
    with open(folder / ".lock", "w") as file:
        while not lock(file):
            time.sleep(0.2)
        for rest in folder.glob(f".*{PARTIAL}"):  # of a process that was killed
            shutil.rmtree(rest, ignore_errors=True) if rest.is_dir() else rest.unlink(missing_ok=True)
        if not copy.exists():
            size = sum(entry["size"] or 0 for entry in files.values())
            print(f"{url}: downloading {size / 2**20:.0f} MiB to {copy}, once", file=sys.stderr)
            _download_all(store, files, copy)
    return copy


def _download_all(store: ObjectStore, files: dict[str, dict[str, Any]], copy: Path) -> None:
    """Download a file, or a folder with everything in it."""
    if list(files) == [""]:
        return store.download("", copy)

    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise UserError(f"{store.url}: {name}: leads out of the folder")
    with atomic(copy) as temporary, ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda name: store.download(name, temporary / name), files):
            pass
