"""Named files, in a folder or in a zip archive, in the order of their names."""

import os
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import os_error

LARGEST = 2**28  # bytes of one image file
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member; the lengths of what follows it


class Files(Protocol):
    """Named files. `names` are relative, with `/`; `refused` says what was left out, and why."""

    path: Path
    names: list[str]
    refused: list[str]

    def read(self, name: str) -> bytes: ...

    def stamp(self, names: list[str]) -> bytes:
        """Changes if one of these files does."""


class FolderFiles:
    """The files of a folder and below, by their relative paths. Links to files are followed, links to folders not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.refused: list[str] = []

        # Walk without recursion: folders may be nested deeply.
        folders = [""]
        while folders:
            inside = folders.pop()
            try:
                with os.scandir(os.path.join(path, inside)) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(f"{inside}{entry.name}/")
                        elif _is_file(entry):
                            self.names.append(f"{inside}{entry.name}")
                        else:
                            self.refused.append(f"{entry.path}: neither a file nor a folder, or a link to none")
            except OSError as e:
                self.refused.append(f"{path / inside}: {(e.strerror or str(e)).lower()}")
        self.names.sort()

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as e:
            raise os_error(e, self.path / name, "read") from e

    def stamp(self, names: list[str]) -> bytes:
        stats = [os.stat(self.path / name) for name in names]
        return np.array([(s.st_size, s.st_mtime_ns) for s in stats], np.int64).tobytes()


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file, or a link to one that can be followed."""
    try:
        return entry.is_file()
    except OSError:  # a link in a circle, or into a folder that may not be read
        return False


class ZipFiles:
    """The files of a zip archive, stored or deflated; nothing is unpacked to disk. The archive is memory-mapped by each
    process that reads it, its index takes some hundred bytes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[str] = []
        members: list[zipfile.ZipInfo] = []
        try:
            with zipfile.ZipFile(path) as z:
                for info in sorted(z.infolist(), key=lambda i: i.filename):
                    if reason := _refusal(info):
                        self.refused.append(f"{path}: {info.filename}: {reason}")
                    elif members and members[-1].filename == info.filename:  # added again: the later one counts
                        members[-1] = info
                    elif not info.is_dir():
                        members.append(info)

            # The index, as an array, is small enough to be copied into each worker process.
            self.names = [i.filename for i in members]
            fields = ("header_offset", "compress_size", "file_size", "CRC", "compress_type")
            columns = [np.fromiter((getattr(i, f) for i in members), np.uint64, len(members)) for f in fields]
            self._index = np.stack(columns, 1)
        except OSError as e:
            raise os_error(e, path, "read") from e
        except Exception as e:  # zipfile raises whatever a damaged archive leads it to
            raise UserError(f"{path}: not a whole zip archive: {e}") from e
        self._map()

    def _map(self) -> None:
        try:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        except OSError as e:
            raise os_error(e, self.path, "read") from e

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_bytes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def read(self, name: str) -> bytes:
        """Return the content of a file after comparing its checksum."""
        offset, packed, size, crc, method = self._index[bisect_left(self.names, name)].tolist()
        if max(size, packed) > LARGEST:
            raise UserError(f"{self.path}: {name}: more than {LARGEST} bytes")

        try:
            # The local header, whose name and extra field have lengths of their own.
            start = offset + _LOCAL_HEADER.size
            magic, n, m = _LOCAL_HEADER.unpack(self._bytes[offset:start].tobytes())
            if magic != b"PK\x03\x04":
                raise ValueError("no file where the directory says")

            # The content, never more of it than the directory promises.
            data = self._bytes[start + n + m : start + n + m + packed].tobytes()
            if method == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            if len(data) != size or zlib.crc32(data) != crc:
                raise ValueError(f"{len(data)} bytes, checksum {zlib.crc32(data):08x}, expected {size}, {crc:08x}")
        except (ValueError, OverflowError, IndexError, struct.error, zlib.error) as e:
            raise UserError(f"{self.path}: {name}: damaged: {e}") from e
        return data

    def stamp(self, names: list[str]) -> bytes:
        rows = [bisect_left(self.names, name) for name in names]
        return self._index[rows][:, 2:4].tobytes()  # sizes and checksums


def _refusal(info: zipfile.ZipInfo) -> str | None:
    """Return why a member of an archive is not read, None if it is."""
    if reason := outside(info.filename):
        return reason
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {info.compress_type}, expected stored or deflated"
    return None


def outside(name: str) -> str | None:
    """Return why a name in an archive may not be trusted, None if it may."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name or "\0" in name:
        return "an absolute or foreign path"
    return "leads out of the archive" if ".." in name.split("/") else None


def image_names(files: Files) -> list[str]:
    """Return the names of images, by their suffix; hidden files and those of other programs are left out."""
    Image.init()
    return [n for n in files.names if os.path.splitext(n)[1].lower() in Image.EXTENSION and _wanted(n)]


def other_suffixes(files: Files) -> str:
    """Return what else is there, e.g. `3 .txt, 1 .mp4`; empty if nothing is."""
    found = Counter(os.path.splitext(n)[1].lower() or "without suffix" for n in files.names if _wanted(n))
    others = [(s, n) for s, n in found.most_common() if s not in Image.EXTENSION and s != ".json"]
    return ", ".join(f"{n} {s}" for s, n in others[:5])


def _wanted(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
