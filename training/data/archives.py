"""Named files in a folder or in a zip archive, in the order of their names."""

import bz2
import lzma
import os
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection
from functools import cached_property
from operator import attrgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import Unchanged, os_error

LARGEST = 2**28  # bytes of one image file
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, lengths of the name and extra field after it


class FolderFiles:
    """The files of a folder and the folders in it. Links to files are followed, links to folders are not.

    names: paths relative to the folder, with `/`, sorted. refused: what was left out and why, one line each.
    """

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
                        elif entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path):
                            self.names.append(f"{inside}{entry.name}")
                        else:
                            self.refused.append(f"{entry.path}: neither a file nor a folder, or a link to none")
            except OSError as e:
                self.refused.append(f"{path / inside}: {(e.strerror or str(e)).lower()}")
        self.names.sort()

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise UserError if it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError as e:
            raise os_error(e, self.path / name, "read") from e

    def stamp(self, names: list[str]) -> bytes:
        """Return the sizes and times of these files: bytes that change if one of them does."""
        stats = [os.stat(self.path / name) for name in names]
        return np.array([(s.st_size, s.st_mtime_ns) for s in stats], np.int64).tobytes()


class ZipFiles:
    """The files of a zip archive, compressed or not, read from a memory map; nothing is unpacked to disk.

    names: paths in the archive, sorted. refused: what was left out and why, one line each. Takes some hundred bytes a
    file, and can be sent to worker processes, which map the archive themselves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[str] = []

        # The directory of the archive tells which files are in it.
        members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._unchanged = Unchanged(path)
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if reason := _refusal(info):
                        self.refused.append(f"{path}: {info.filename}: {reason}")
                    elif not info.is_dir():
                        # Some programs of Windows write backslashes. Of files of one name the later one counts.
                        members[info.filename.replace("\\", "/")] = info

            # An array is a tenth of the size of zipfile's own index.
            self.names = sorted(members)
            fields = attrgetter("header_offset", "compress_size", "file_size", "CRC", "compress_type")
            self._index = np.array([fields(members[name]) for name in self.names], np.uint64).reshape(-1, 5)
        except OSError as e:
            raise os_error(e, path, "read") from e
        except Exception as e:  # zipfile raises whatever a damaged archive leads it to
            raise UserError(f"{path}: not a whole zip archive: {e}") from e

    # Mapped by each process when it first reads.
    @cached_property
    def _bytes(self) -> np.ndarray:
        return np.asarray(np.memmap(self.path, np.uint8, "r"))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_bytes"}

    def read(self, name: str) -> bytes:
        """Return the content of a file; raise UserError if it is damaged or larger than LARGEST."""
        offset, packed, size, crc, method = self._index[bisect_left(self.names, name)].tolist()

        self._unchanged.check()

        # No image needs that much memory; a hostile file might ask for it.
        if max(size, packed) > LARGEST:
            raise UserError(f"{self.path}: {name}: more than {LARGEST} bytes")

        try:
            # The local header repeats the name, and may have another extra field than the directory.
            start = offset + _LOCAL_HEADER.size
            header = self._bytes[offset:start].tobytes()
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            if signature != b"PK\x03\x04":
                raise ValueError("no file where the directory says")

            # The content, never more of it than the directory promises.
            start += name_length + extra_length
            data = self._bytes[start : start + packed].tobytes()
            if method != zipfile.ZIP_STORED:
                data = _decompress(data, method, size + 1)

            # An error in the middle of an archive shows here.
            actual = zlib.crc32(data)
            if len(data) != size or actual != crc:
                raise ValueError(f"{len(data)} bytes, checksum {actual:08x}, expected {size}, {crc:08x}")
        except (ValueError, OverflowError, OSError, EOFError, struct.error, zlib.error, lzma.LZMAError) as e:
            raise UserError(f"{self.path}: {name}: damaged: {e}") from e
        return data

    def stamp(self, names: list[str]) -> bytes:
        """Return the sizes and checksums of these files: bytes that change if one of them does."""
        rows = [bisect_left(self.names, name) for name in names]
        return self._index[rows][:, 2:4].tobytes()


Files = FolderFiles | ZipFiles


def _decompress(data: bytes, method: int, most: int) -> bytes:
    """Return at most `most` bytes of a compressed file; raise an error of its library if it is damaged."""
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, most)
    if method == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor().decompress(data, most)

    # LZMA: two bytes of version, the length of the properties, the properties, and a raw stream.
    _, length, packed, dict_size = struct.unpack_from("<HHBI", data)
    if length != 5 or packed >= 9 * 5 * 5 or dict_size > LARGEST:
        raise ValueError("unknown properties of LZMA")
    lc, lp, pb = packed % 9, packed // 9 % 5, packed // 45
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dict_size, "lc": lc, "lp": lp, "pb": pb}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data[9:], most)


def _refusal(info: zipfile.ZipInfo) -> str | None:
    """Return why a member of an archive is not read, None if it is."""
    # A link would be read as the text of its target.
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    if info.flag_bits & 1:
        return "encrypted"

    if info.compress_type not in METHODS:
        return f"compression method {info.compress_type}, expected stored, deflated, bzip2 or LZMA"

    return outside(info.filename.replace("\\", "/"))


def outside(name: str) -> str | None:
    """Return why a name in an archive may not be trusted, None if it may."""
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or "\\" in name or "\0" in name:
        return "an absolute or foreign path"
    return "leads out of the archive" if ".." in name.split("/") else None


def image_names(files: Files, more: Collection[str] = ()) -> list[str]:
    """Return the names of images, by their suffix; hidden files and those of other programs are left out.

    more: suffixes of images that Pillow does not know by itself.
    """
    # Pillow lists the suffixes of its formats once these are loaded.
    Image.init()
    known = {*Image.EXTENSION, *more}
    return [name for name in files.names if os.path.splitext(name)[1].lower() in known and _wanted(name)]


def label_file(files: Files, names: list[str]) -> tuple[str, str] | None:
    """Return the name of the dataset.json of these images and the folder that its paths are relative to, if any.

    It is at the top, or in a folder that holds everything.
    """
    existing = set(files.names)
    folders = names[0].split("/")[:-1] if names else []
    for depth in range(len(folders) + 1):
        folder = "".join(f"{part}/" for part in folders[:depth])
        if not all(name.startswith(folder) for name in names):
            return None
        if f"{folder}dataset.json" in existing:
            return f"{folder}dataset.json", folder
    return None


def other_files(files: Files, more: Collection[str] = ()) -> list[str]:
    """Return the names of the user's files that are not images; a dataset.json belongs to the images."""
    Image.init()
    known = {*Image.EXTENSION, *more, ".json"}
    return [name for name in files.names if os.path.splitext(name)[1].lower() not in known and _wanted(name)]


def by_suffix(names: Collection[str]) -> str:
    """Return how many files there are of each suffix, e.g. `3 .txt, 1 .mp4`; "" if there are none."""
    counts = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in names)
    others = counts.most_common()
    rest = sum(n for _, n in others[12:])
    return ", ".join([*(f"{n} {suffix}" for suffix, n in others[:12]), *([f"{rest} others"] if rest else [])])


def _wanted(name: str) -> bool:
    """Return whether a file is the user's own: not hidden, and not made by macOS when it packs an archive."""
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
