"""WebDataset collections: tar shards in which consecutive files of one key are one sample (`0001.jpg`, `0001.cls`)."""

import gzip
import io
import json
import math
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tyro
from PIL import Image

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import PLAIN, Pictures, Refused
from dataprep.sources.source import Entry, digest, stamp
from dnnlib.errors import UserError
from dnnlib.files import os_error
from training.data.archives import LARGEST, outside
from training.data.labels import Label

SUFFIXES = (".tar", ".tar.gz", ".tgz")
Sample = dict[str, tarfile.TarInfo]  # member of each extension


class WebDataset:
    """The samples of tar shards, packed by gzip or not, in the order of the shards (those of a folder by name).

    label: extension of the member that has the label, e.g. `cls` (a class number as text), `npy` (a vector), `json:KEY`
    (a field of a .json member: a number or a list); `auto` = `cls` if the first sample has it; `none`.
    """

    class_names: list[str] | None = None
    classes = 0

    def __init__(self, paths: Sequence[Path], label: str = "auto") -> None:
        Image.init()
        self.refused: list[str] = []
        if not paths:
            raise UserError("no shards named, expected tar files or folders of them")
        self.shards = [shard for path in paths for shard in _shards(path)]
        self._counts: list[int] = []
        first: Sample | None = None
        for shard in self.shards:
            n = 0
            for _, sample, _ in self._samples(shard, self.refused):
                first = first or sample
                n += 1
            self._counts.append(n)
        self.label = label if label != "auto" else "cls" if first and "cls" in first else "none"
        if not sum(self._counts):
            raise UserError(f"{self.shards[0]}: no image in {len(self.shards)} shards, expected files such as 0001.jpg")

    def __len__(self) -> int:
        return sum(self._counts)

    def fingerprint(self) -> str:
        return digest([*map(stamp, self.shards), self.label])

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        start = 0
        for shard, count in zip(self.shards, self._counts, strict=True):
            wanted = indices[(indices >= start) & (indices < start + count)] - start
            if len(wanted):
                yield from self._entries(shard, iter(map(int, wanted)))
            start += count

    def _entries(self, shard: Path, wanted: Iterator[int]) -> Iterator[Entry]:
        want: int | None = next(wanted)
        for i, (key, sample, read) in enumerate(self._samples(shard, [])):
            if i != want:
                continue
            image = next(m for ext, m in sample.items() if _is_image(ext))
            label = self._read_label(shard, key, sample, read)
            data = read(image) if image.size <= LARGEST else Refused(f"more than {LARGEST} bytes")
            yield Entry(f"{shard}: {image.name}", data, label)
            want = next(wanted, None)
            if want is None:
                return
        raise UserError(f"{shard}: fewer samples than at first; did it change?")

    def _samples(
        self, shard: Path, refused: list[str]
    ) -> Iterator[tuple[str, Sample, Callable[[tarfile.TarInfo], bytes]]]:
        """Key, members and their reader of each sample with an image, as far as the shard can be read."""
        found = 0
        try:
            with _open(shard) as tar:
                key, sample = "", Sample()

                def read(member: tarfile.TarInfo) -> bytes:
                    file = tar.extractfile(member)
                    return file.read() if file else b""

                while member := tar.next():
                    vars(tar)["members"].clear()  # it would keep them all
                    reason = outside(member.name) or (None if member.isfile() or member.isdir() else "a link or device")
                    if reason:
                        refused.append(f"{shard}: {member.name}: {reason}")
                    if reason or not member.isfile():
                        continue
                    folder, _, base = member.name.rpartition("/")
                    stem, _, extension = base.partition(".")
                    if not stem:  # hidden
                        continue
                    if f"{folder}/{stem}" != key:
                        if any(map(_is_image, sample)):
                            found += 1
                            yield key, sample, read
                        key, sample = f"{folder}/{stem}", {}
                    sample[extension.lower()] = member
                _check_end(tar)
                if any(map(_is_image, sample)):
                    yield key, sample, read
        except UserError:
            raise
        except OSError as e:
            raise os_error(e, shard, "read") from e
        except Exception as e:  # tarfile and gzip raise whatever a damaged archive leads them to
            if not found:
                raise UserError(f"{shard}: not a whole tar archive: {e!r:.200}") from e
            refused.append(f"{shard}: damaged after {found} samples, the rest of it is left out: {e!r:.200}")

    def _read_label(self, shard: Path, key: str, sample: Sample, read: Callable[[tarfile.TarInfo], bytes]) -> Label:
        if self.label == "none":
            return None
        extension, _, field = self.label.partition(":")
        member = sample.get(extension)
        if member is None or member.size > 2**24:
            raise UserError(
                f"{shard}: {key.lstrip('/')}: no .{extension} beside it, expected its label; or --label none"
            )
        try:
            return _parse_label(read(member), extension, field)
        except Exception as e:  # of json, numpy and tarfile
            raise UserError(f"{shard}: {member.name}: not a label ({e!r:.100}), expected a number or a list") from e


def _check_end(tar: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end: is this the end?"""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _parse_label(data: bytes, extension: str, field: str) -> Label:
    value: Any
    if extension == "npy":
        file = io.BytesIO(data)
        old = np.lib.format.read_magic(file) == (1, 0)
        shape, _, dtype = getattr(np.lib.format, f"read_array_header_{'1' if old else '2'}_0")(file)
        if math.prod(shape) * dtype.itemsize > len(data) or dtype.hasobject:
            raise ValueError(f"{dtype} {shape} in {len(data)} bytes")
        value = np.load(io.BytesIO(data), allow_pickle=False).tolist()
    elif field:
        value = json.loads(data)[field]
    else:
        value = int(data)
    if isinstance(value, float):
        return (value,)
    if type(value) is int:
        return value
    if not isinstance(value, list) or not all(isinstance(x, (int, float)) for x in value):
        raise TypeError(f"{value!r:.40}")
    return tuple(map(float, value))


def _is_image(extension: str) -> bool:
    return "." + extension.rpartition(".")[2] in Image.EXTENSION


def _shards(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES))
        if not found:
            raise UserError(f"{path}: no *.tar in it, expected the shards of a WebDataset")
        return found
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder, expected tar shards")
    return [path]


class _Limited:
    """A file for tarfile, which reads as much at once as a header tells it to."""

    def __init__(self, file: gzip.GzipFile | BinaryIO) -> None:
        self.file, self.seek, self.tell, self.close = file, file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)


def _open(shard: Path) -> tarfile.TarFile:
    with open(shard, "rb") as f:
        packed = f.read(2) == b"\x1f\x8b"
    file = gzip.open(shard) if packed else open(shard, "rb")  # noqa: SIM115
    try:
        return tarfile.open(fileobj=_Limited(file), mode="r:")  # type: ignore[call-overload,no-any-return]
    except BaseException:
        file.close()
        raise


def create_from_webdataset(
    dataset_dir: tyro.conf.Positional[Path],
    shards: tyro.conf.Positional[tuple[Path, ...]],
    *,
    label: str = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from the tar shards of a WebDataset, in their order.

    Args:
        dataset_dir: New folder for the dataset.
        shards: Shards (.tar, .tar.gz), or folders of them.
        label: What of a sample has its label: cls (a class number as text), npy (a vector), json:KEY (a field of the
            .json: a number or a list); auto = cls if there is one; none.
    """
    source = WebDataset(shards, label)
    facts = {"command": "create_from_webdataset", "source": " ".join(map(str, shards)), **picture.facts()}
    build(dataset_dir, source, picture, output, {**facts, "label": source.label})
