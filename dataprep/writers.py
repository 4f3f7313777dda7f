"""Datasets being written, in each form: TFRecords, a folder of PNGs, a zip of PNGs.

A writer works in a hidden folder. `position` puts what was added on the disk and returns where the files end; `restore`
continues from such a position and drops whatever came after it; `finish` returns the finished dataset, to be moved to
its place.
"""

import io
import json
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from dnnlib.files import fsync
from dnnlib.images import to_pil
from training.data.labels import Label, LabelSummary, for_json, write_labels
from training.data.tfrecord import encode_example, frame, halvings

_LOCAL_HEADER = struct.Struct("<4s10x3I2H")  # of a zip member; checksum, sizes, lengths of what follows it

Form = Literal["tfrecords", "folder", "zip"]
State = dict[str, Any]
Packed = list[bytes]  # an image as a writer takes it: the records of all resolutions, or a PNG


def pack(image: np.ndarray, form: Form) -> Packed:
    """Return an image uint8 [C,R,R] as the writer of `form` takes it."""
    if form == "tfrecords":
        return [frame(encode_example(smaller)) for smaller in halvings(image)]
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    return [buffer.getvalue()]


class Writer(Protocol):
    """A dataset being written."""

    count: int

    def add(self, packed: Packed) -> None:
        """Append an image."""

    def position(self) -> State: ...

    def restore(self, state: State) -> None: ...

    def finish(self, facts: dict[str, Any], labels: Iterable[Label], summary: LabelSummary) -> Path: ...

    def close(self) -> None: ...


class TFRecordFiles:
    """NAME-r02.tfrecords (4x4) and so on; with `shard_bytes` a resolution becomes several files,
    NAME-r06-00000-of-00003.tfrecords, of about so many bytes."""

    def __init__(self, work: Path, name: str, shard_bytes: int | None = None) -> None:
        self.name = name
        self.shard_bytes = shard_bytes
        self.count = 0
        self.folder = work / "records"
        self._files: list[BinaryIO] = []  # the last shard of each resolution, largest first
        self._sizes: list[list[int]] = []  # bytes of each shard of each resolution

    def _shard(self, halving: int, shard: int) -> Path:
        return self.folder / f"{halving:02d}-{shard:05d}"

    def add(self, packed: Packed) -> None:
        if not self._files:
            self.folder.mkdir()
            self._sizes = [[0] for _ in packed]
            self._files = [open(self._shard(i, 0), "wb") for i in range(len(packed))]  # noqa: SIM115

        for i, record in enumerate(packed):
            sizes = self._sizes[i]
            if self.shard_bytes and sizes[-1] and sizes[-1] + len(record) > self.shard_bytes:
                self._close(i)
                sizes.append(0)
                self._files[i] = open(self._shard(i, len(sizes) - 1), "wb")  # noqa: SIM115
            self._files[i].write(record)
            sizes[-1] += len(record)

        self.count += 1

    def _close(self, halving: int) -> None:
        file = self._files[halving]
        file.flush()
        os.fsync(file.fileno())
        file.close()

    def position(self) -> State:
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        return {"count": self.count, "sizes": self._sizes}

    def restore(self, state: State) -> None:
        self.count = state["count"]
        self._sizes = state["sizes"]

        kept = set()
        for i, sizes in enumerate(self._sizes):
            for k, size in enumerate(sizes):
                path = self._shard(i, k)
                if self._final(i, k).exists():  # it was being finished
                    self._final(i, k).rename(path)
                if path.stat().st_size < size:
                    raise OSError(f"{path} is shorter than it was")
                kept.add(path)

            # Go on writing at the end of the last shard.
            file = open(path, "r+b")  # noqa: SIM115
            file.truncate(size)
            file.seek(size)
            self._files.append(file)

        # Shards that were begun after the position.
        for left in self.folder.iterdir():
            if left not in kept:
                left.unlink()

    def _final(self, halving: int, shard: int) -> Path:
        """The name of a shard in the finished dataset."""
        n = len(self._sizes[halving])
        part = f"-{shard:05d}-of-{n:05d}" if n > 1 else ""
        return self.folder / f"{self.name}-r{len(self._sizes) + 1 - halving:02d}{part}.tfrecords"

    def finish(self, facts: dict[str, Any], labels: Iterable[Label], summary: LabelSummary) -> Path:
        self.position()
        self.close()
        if summary.c_dim:
            write_labels(self.folder / f"{self.name}-rxx.labels", labels, (self.count, summary.c_dim))
        (self.folder / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for i, sizes in enumerate(self._sizes):
            for k in range(len(sizes)):
                self._shard(i, k).rename(self._final(i, k))
        return self.folder

    def close(self) -> None:
        for file in self._files:
            file.close()


class ImageFolder:
    """img00000000.png ..., as the original's `extract` wrote it, and dataset.json."""

    def __init__(self, work: Path) -> None:
        self.count, self.folder = 0, work / "images"

    def add(self, packed: Packed) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / self._name(self.count)).write_bytes(packed[0])
        self.count += 1

    @staticmethod
    def _name(i: int) -> str:
        return f"img{i:08d}.png"

    def position(self) -> State:
        if hasattr(os, "sync"):
            os.sync()  # one call instead of one a file
        return {"count": self.count}

    def restore(self, state: State) -> None:
        self.count = state["count"]
        if self.count and not (self.folder / self._name(self.count - 1)).is_file():
            raise OSError(f"{self.folder / self._name(self.count - 1)} is not there")
        for left in self.folder.glob("img*.png"):
            if left.name >= self._name(self.count):
                left.unlink()

    def finish(self, facts: dict[str, Any], labels: Iterable[Label], summary: LabelSummary) -> Path:
        self.position()
        with open(self.folder / "dataset.json", "w", encoding="utf-8") as f:
            f.writelines(_json(facts, labels, summary, self._name))
        fsync(self.folder / "dataset.json")
        return self.folder

    def close(self) -> None:
        pass


class ImageZip:
    """00000/img00000000.png ..., a thousand to a folder, stored, and dataset.json, as StyleGAN2/3 have it. The same
    images give the same bytes."""

    def __init__(self, work: Path) -> None:
        self.count = 0
        self.path = work / "images.zip"
        self._file: BinaryIO | None = None
        self._zip: Any = None

    def _open(self, size: int) -> BinaryIO:
        self._file = open(self.path, "r+b" if size else "w+b")  # noqa: SIM115
        self._file.truncate(size)
        self._file.seek(size)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        return self._file

    @staticmethod
    def _name(i: int) -> str:
        return f"{i // 1000:05d}/img{i:08d}.png"

    def add(self, packed: Packed) -> None:
        if self._file is None:
            self._open(0)
        info = zipfile.ZipInfo(self._name(self.count))
        self._zip.writestr(info, packed[0])
        self.count += 1

    def position(self) -> State:
        file = self._file or self._open(0)
        file.flush()
        os.fsync(file.fileno())
        return {"count": self.count, "size": file.tell()}

    def restore(self, state: State) -> None:
        if self.path.stat().st_size < state["size"]:
            raise OSError(f"{self.path} is shorter than it was")
        members = list(self._stored(state["size"]))

        self._open(state["size"])
        for info in members:
            self._zip.infolist().append(info)
            self._zip.NameToInfo[info.filename] = info
        self.count = state["count"]

    def _stored(self, size: int) -> Iterator[zipfile.ZipInfo]:
        """Yield the members in the first `size` bytes, by their local headers: the directory is not written yet."""
        with open(self.path, "rb") as file:
            offset = 0
            while offset < size:
                file.seek(offset)
                header = file.read(_LOCAL_HEADER.size)
                if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
                    raise OSError(f"{self.path} has no member at byte {offset}")
                _, crc, packed_size, file_size, name_size, extra_size = _LOCAL_HEADER.unpack(header)

                info = zipfile.ZipInfo(file.read(name_size).decode())
                info.header_offset = offset
                info.CRC = crc
                info.compress_size = packed_size
                info.file_size = file_size
                info.external_attr = 0o600 << 16  # as `writestr` sets it
                yield info
                offset += _LOCAL_HEADER.size + name_size + extra_size + packed_size

    def finish(self, facts: dict[str, Any], labels: Iterable[Label], summary: LabelSummary) -> Path:
        with self._zip.open(zipfile.ZipInfo("dataset.json"), "w", force_zip64=True) as f:
            for piece in _json(facts, labels, summary, self._name):
                f.write(piece.encode())
        self._zip.close()
        self.position()
        self.close()
        return self.path

    def close(self) -> None:
        if self._file is not None:
            self._zip.fp = None  # if it is unfinished, it stays so
            self._file.close()


def _json(facts: dict[str, Any], labels: Iterable[Label], summary: LabelSummary, name: Any) -> Iterator[str]:
    """dataset.json of StyleGAN2's form, with how it was made beside the labels, in pieces."""
    yield "{" + "".join(f"{json.dumps(k)}: {json.dumps(v)},\n " for k, v in facts.items()) + '"labels": '
    if summary.c_dim:
        for i, label in enumerate(labels):
            yield (",\n" if i else "[") + json.dumps([name(i), for_json(label, summary.as_numbers, summary.c_dim)])
        yield "]}\n"
    else:
        yield "null}\n"


def writer(work: Path, form: Form, name: str, shard_bytes: int | None) -> Writer:
    """A writer of the given form."""
    if form == "tfrecords":
        return TFRecordFiles(work, name, shard_bytes)
    return ImageFolder(work) if form == "folder" else ImageZip(work)
