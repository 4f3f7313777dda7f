"""Datasets being written, in each form: TFRecords, a folder of PNGs, a zip of PNGs.

Images of more than four channels, which PNG cannot hold, are arrays [C,H,W] (.npy) in folders and zips.

A writer creates the folder or file that it is given, takes packed images one after another, and completes the dataset
in `finish`.
"""

import io
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from dnnlib.files import make_dir
from dnnlib.images import ARRAY, encode, to_pil
from training.data.decode import NPY
from training.data.labels import LabelTable, json_labels, write_labels
from training.data.records import encode_example, frame
from training.data.tfrecord import halvings

Form = Literal["tfrecords", "folder", "zip"]
Packed = list[bytes]  # an image as a writer takes it: the records of all resolutions, largest first, or one file


def pack(image: np.ndarray, form: Form, compress: bool = True) -> Packed:
    """Return an image uint8 [C,H,W] as the writer of `form` takes it; PNGs are compressed or not."""
    if form == "tfrecords":
        return [frame(encode_example(smaller)) for smaller in halvings(image)]

    # Neither has a loss, so that the pixels are the same in every form.
    if len(image) > 4:
        return [encode(image, ARRAY)]
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG", **({} if compress else {"compress_level": 0}))
    return [buffer.getvalue()]


class Writer(Protocol):
    """A dataset being written."""

    def add(self, i: int, packed: Packed) -> None:
        """Append image number i; the images come in their order."""

    def finish(self, facts: dict[str, Any], labels: LabelTable) -> None:
        """Write the labels of all images, and dataset.json with `facts`; `close` is still to be called."""

    def close(self) -> None:
        """Close all files, of a finished dataset or of one that is given up."""


class TFRecordFiles:
    """Writes NAME-r02.tfrecords (the smallest level, 4x4 of squares of 2^k pixels) and so on.

    With `shard_mb` a resolution becomes several files of at most that many megabytes (10^6 bytes), e.g.
    NAME-r06-00000-of-00003.tfrecords, unless one is enough.
    """

    def __init__(self, folder: Path, name: str, shard_mb: int | None = None) -> None:
        self.folder = make_dir(folder)
        self.name = name
        self.shard_bytes = shard_mb and shard_mb * 10**6
        self._shards: list[list[BinaryIO]] = []  # files of each resolution, largest first

    def add(self, i: int, packed: Packed) -> None:
        # The first image tells how many resolutions there are.
        if not self._shards:
            self._shards = [[] for _ in packed]

        for halving, (record, shards) in enumerate(zip(packed, self._shards, strict=True)):
            # Begin a new shard where the record has no room in the last one.
            full = shards and self.shard_bytes and shards[-1].tell() + len(record) > self.shard_bytes
            if full:
                shards[-1].close()
            if full or not shards:
                shards.append(open(self.folder / f"{halving}-{len(shards)}", "wb"))  # noqa: SIM115

            shards[-1].write(record)

    def finish(self, facts: dict[str, Any], labels: LabelTable) -> None:
        # The names of shards tell how many there are, which is known only now.
        for halving, shards in enumerate(self._shards):
            stem = f"{self.name}-r{len(self._shards) + 1 - halving:02d}"
            for k, shard in enumerate(shards):
                part = f"-{k:05d}-of-{len(shards):05d}" if len(shards) > 1 else ""
                os.rename(shard.name, self.folder / f"{stem}{part}.tfrecords")

        # The original's tools know the labels by this name; dataset.json is ours.
        if labels.shape[1]:
            write_labels(self.folder / f"{self.name}-rxx.labels", labels)
        (self.folder / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def close(self) -> None:
        for shard in itertools.chain(*self._shards):
            shard.close()


class ImageFolder:
    """Writes img00000000.png and so on, as the original's `extract` did."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_dir(folder)
        self._suffix = ".png"

    def _name(self, i: int) -> str:
        return f"img{i:08d}{self._suffix}"

    def add(self, i: int, packed: Packed) -> None:
        self._suffix = _suffix(packed)
        (self.folder / self._name(i)).write_bytes(packed[0])

    def finish(self, facts: dict[str, Any], labels: LabelTable) -> None:
        with open(self.folder / "dataset.json", "w", encoding="utf-8") as f:
            f.writelines(_json(facts, labels, self._name))

    def close(self) -> None:
        """Do nothing: no file stays open."""


class ImageZip:
    """Writes 00000/img00000000.png and so on, a thousand to a folder, not compressed, as StyleGAN2/3 have it.

    The same images give the same bytes, at any time.
    """

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w")
        self._suffix = ".png"

    def _name(self, i: int) -> str:
        return f"{i // 1000:05d}/img{i:08d}{self._suffix}"

    def add(self, i: int, packed: Packed) -> None:
        self._suffix = _suffix(packed)
        # A new ZipInfo carries the date 1980-01-01, not the current one.
        self._zip.writestr(zipfile.ZipInfo(self._name(i)), packed[0])

    def finish(self, facts: dict[str, Any], labels: LabelTable) -> None:
        # It is written in pieces, so its size is not known in advance and may exceed 4 GiB.
        with self._zip.open(zipfile.ZipInfo("dataset.json"), "w", force_zip64=True) as f:
            for piece in _json(facts, labels, self._name):
                f.write(piece.encode())

    def close(self) -> None:
        self._zip.close()


def _suffix(packed: Packed) -> str:
    """Return the suffix of an image's file."""
    return ARRAY if packed[0].startswith(NPY) else ".png"


def _json(facts: dict[str, Any], labels: LabelTable, name: Callable[[int], str]) -> Iterator[str]:
    """Yield a dataset.json of StyleGAN2's form, with the facts beside the labels, in small pieces."""
    yield "{" + "".join(f"{json.dumps(k)}: {json.dumps(v)},\n " for k, v in facts.items()) + '"labels": '
    if not labels.shape[1]:
        yield "null}\n"
        return

    # One line for each image.
    for i, label in enumerate(json_labels(labels)):
        yield (",\n" if i else "[") + json.dumps([name(i), label])
    yield "]}\n"


def new_writer(form: Form, path: Path, name: str, shard_mb: int | None) -> Writer:
    """Return a writer that creates the folder or file `path`; `name` is the dataset's."""
    if form == "tfrecords":
        return TFRecordFiles(path, name, shard_mb)

    return ImageFolder(path) if form == "folder" else ImageZip(path)
