"""TFRecord datasets of several resolutions, read and written without TensorFlow.

NAME/NAME-r02.tfrecords (4x4) ... NAME-r06.tfrecords (64x64), NAME-rxx.labels. A resolution may be in shards instead,
e.g. NAME-r06-00000-of-00003.tfrecords. A file is a sequence of records: uint64 length, masked crc32c of the length,
payload, masked crc32c of the payload. A payload is a `tf.train.Example` with `shape` (int64 [C,H,W]) and `data` (raw
uint8), in either order.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c
import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import os_error
from training.data.labels import LabelTable, label_bytes, no_labels, read_labels
from training.spec import ImageSpec, is_power_of_two

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def masked_crc(data: Any) -> int:
    """Return the checksum of a TFRecord field: crc32c rotated right by 15 bits plus a constant."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return a record: header, payload, footer."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _FOOTER.pack(masked_crc(length)), payload, _FOOTER.pack(masked_crc(payload))))


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _field(number: int, body: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def encode_example(image: np.ndarray) -> bytes:
    """Encode uint8 [C,H,W] as a tf.train.Example, byte for byte as in the original's files."""
    data = _field(1, image.tobytes())  # BytesList
    shape = _field(1, b"".join(_varint(n) for n in image.shape))  # Int64List, packed
    entries = ((b"data", _field(1, data)), (b"shape", _field(3, shape)))
    return _field(1, b"".join(_field(1, _field(1, key) + _field(2, feature)) for key, feature in entries))


def _read_varint(buf: memoryview, pos: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buf[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > 63:
            raise ValueError("varint of more than 64 bits")


def _fields(buf: memoryview, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, end) of each field in buf[pos:end]; a varint field has end = -1 and its value as start."""
    while pos < end:
        tag, pos = _read_varint(buf, pos)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, pos = _read_varint(buf, pos)
            yield number, value, -1
        elif wire == 2:
            size, pos = _read_varint(buf, pos)
            if pos + size > end:
                raise ValueError("field runs past its message")
            yield number, pos, pos + size
            pos += size
        elif wire in (1, 5):
            pos += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def parse_example(payload: memoryview) -> tuple[tuple[int, ...], int, int]:
    """Return the shape, and start and end of the raw data within a payload; raise ValueError if it has none."""
    shape: list[int] | None = None
    start = end = -1
    try:
        for _, a, b in _fields(payload, 0, len(payload)):  # Example.features
            for _, a1, b1 in _fields(payload, a, b):  # Features.feature, map entries
                parts = {n: (x, y) for n, x, y in _fields(payload, a1, b1)}
                key = bytes(payload[slice(*parts[1])])
                ((_, a2, b2),) = _fields(payload, *parts[2])  # the Feature's only list
                values = list(_fields(payload, a2, b2))
                if key == b"data":
                    ((_, start, end),) = values
                elif key == b"shape":
                    shape = []
                    for _, x, y in values:
                        while y >= 0 and x < y:  # packed
                            n, x = _read_varint(payload, x)
                            shape.append(n)
                        if y < 0:
                            shape.append(x)
    except (IndexError, KeyError, TypeError) as e:
        raise ValueError("malformed protobuf") from e
    if shape is None or end < 0:
        raise ValueError("no `shape` or no `data`")
    if len(shape) != 3 or end - start != np.prod(shape, dtype=object):
        raise ValueError(f"shape {shape} and {end - start} bytes of data")
    return tuple(shape), start, end


class RecordFile:
    """One memory-mapped .tfrecords file of images of equal shape. `file[i]` is a view, uint8 [C,H,W], of the mapping.

    The framing of all records is checked on opening, the payload's checksum by `verify` or, if `checksums`, when a
    record is first read. Survives pickling (spawn) and fork: the mapping is shared, read-only.
    """

    def __init__(self, path: Path, checksums: bool = False) -> None:
        self.path, self.checksums = path, checksums
        self._step = 0  # bytes of a record if all have as many
        self._map()
        self.offsets = self._index()  # int64 [n+1], the start of each record and the end of the file
        first = self._payload(0)
        try:
            self.shape, self._data_start, self._data_end = parse_example(first)
        except ValueError as e:
            raise self._error(0, f"not an image ({e}), expected a tf.train.Example with shape and data") from e
        self._prefix = bytes(first[: self._data_start])
        self._known = np.zeros(len(self), bool)  # checked, and laid out as the first one
        self._lay_out()

    def _map(self) -> None:
        try:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        except ValueError as e:  # an empty file cannot be mapped
            raise UserError(f"{self.path}: empty file, expected TFRecords") from e
        except OSError as e:
            raise os_error(e, self.path, "read") from e

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_bytes", "_images", "_items")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()
        self._lay_out()

    def _lay_out(self) -> None:
        """Prepare views of the images of all records, as if each were laid out as the first one."""
        start, size = _HEADER.size + self._data_start, self._data_end - self._data_start
        if self._step >= start + size:
            _, h, w = self.shape
            strides = (self._step, h * w, w, 1)
            self._images = np.ndarray((len(self), *self.shape), np.uint8, self._bytes, start, strides)
            self._items = np.ndarray((len(self),), np.dtype((np.void, size)), self._bytes, start, (self._step,))

    def _error(self, record: int, what: str) -> UserError:
        return UserError(f"{self.path}: record {record}: {what}")

    def _index(self) -> np.ndarray:
        """Return the offsets of the records; check their lengths and the checksums of these."""
        size = len(self._bytes)

        # Records of images of equal shape usually have one length: one comparison of all headers is enough.
        if size >= _HEADER.size:
            length, crc = _HEADER.unpack(self._bytes[: _HEADER.size].tobytes())
            step = length + _HEADER.size + _FOOTER.size
            if masked_crc(self._bytes[:8].tobytes()) == crc and size % step == 0:
                headers = self._bytes.reshape(-1, step)[:, : _HEADER.size]
                if (headers == headers[0]).all():
                    self._step = step
                    return np.arange(0, size + 1, step, dtype=np.int64)

        # Otherwise go from header to header.
        offsets = [0]
        while offsets[-1] < size:
            record = len(offsets) - 1
            offsets.append(self._end(record, offsets[-1]))
        return np.array(offsets, np.int64)

    def _end(self, record: int, start: int) -> int:
        """Return where the record that begins at byte `start` ends, after checking its header."""
        remaining = len(self._bytes) - start
        if remaining < _HEADER.size:
            raise self._error(record, f"truncated: {remaining} bytes left, expected a header of {_HEADER.size}")

        length, crc = _HEADER.unpack(self._bytes[start : start + _HEADER.size].tobytes())
        actual = masked_crc(self._bytes[start : start + 8].tobytes())
        if actual != crc:
            raise self._error(record, f"damaged: length checksum {actual:08x}, expected {crc:08x}")

        record_size = _HEADER.size + length + _FOOTER.size
        if record_size > remaining:
            raise self._error(record, f"truncated: {remaining} bytes left, expected {record_size}")
        return start + int(record_size)

    def _payload(self, i: int) -> memoryview:
        start, end = int(self.offsets[i]), int(self.offsets[i + 1])
        payload = self._bytes[start + _HEADER.size : end - _FOOTER.size]
        if self.checksums:
            expected = _FOOTER.unpack(self._bytes[end - _FOOTER.size : end].tobytes())[0]
            found = masked_crc(payload)
            if found != expected:
                raise self._error(i, f"damaged: data checksum {found:08x}, expected {expected:08x}")
        return payload.data

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self._images[i] if self._known[i] else self._read(i)

    def _read(self, i: int) -> np.ndarray:
        payload = self._payload(i)
        start = self._data_start
        end = self._data_end

        if payload[:start] != self._prefix:  # another order or size: parse it
            try:
                shape, start, end = parse_example(payload)
            except ValueError as e:
                raise self._error(i, f"not an image ({e}), expected a tf.train.Example with shape and data") from e
            if shape != self.shape:
                raise self._error(i, f"shape {shape}, expected {self.shape} as in record 0")
        elif len(payload) < end:
            raise self._error(i, f"{len(payload)} bytes, expected {end}")
        else:
            self._known[i] = self._step > 0

        return np.frombuffer(payload[start:end], np.uint8).reshape(self.shape)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return the images [n,C,H,W] of these indices, copied."""
        if not self._known[indices].all():
            return np.stack([self[i] for i in indices.tolist()])
        return self._items[indices].view(np.uint8).reshape(-1, *self.shape)

    def stored_checksums(self) -> bytes:
        """Return the checksums of the payloads, four bytes a record."""
        ends = self.offsets[1:, None] + np.arange(-_FOOTER.size, 0)
        return self._bytes[ends].tobytes()

    def verify(self) -> None:
        """Check the checksum and form of every record."""
        checksums, self.checksums = self.checksums, True
        try:
            for i in range(len(self)):
                self._read(i)
        finally:
            self.checksums = checksums


class ShardedImages:
    """All images of one size, in one file or several shards, by index."""

    def __init__(self, files: list[RecordFile]) -> None:
        self.files, self.shape, self.path = files, files[0].shape, files[0].path
        self._starts = np.cumsum([0, *map(len, files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def locate(self, i: int) -> tuple[RecordFile, int]:
        """Return the file of image i, and its place there."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        k = int(np.searchsorted(self._starts, i, "right")) - 1
        return self.files[k], i - int(self._starts[k])

    def __getitem__(self, i: int) -> np.ndarray:
        if len(self.files) == 1:
            return self.files[0][i]
        file, k = self.locate(i)
        return file[k]

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Images [n,C,H,W] of these indices."""
        if len(self.files) == 1:
            return self.files[0].batch(indices)

        images = np.empty((len(indices), *self.shape), np.uint8)
        shard = np.searchsorted(self._starts, indices, "right") - 1
        for k in np.unique(shard):
            images[shard == k] = self.files[k].batch(indices[shard == k] - self._starts[k])
        return images

    def verify(self) -> None:
        """Check the checksum and form of every record."""
        for file in self.files:
            file.verify()


class TFRecordDataset:
    """Images uint8 [C,H,W] and labels float32 [c_dim] of a dataset folder, by index.

    resolution: which of its resolutions to read; None = the largest. Every file is opened, so that a damaged or
    incomplete dataset is reported at the start. checksums: verify each record when it is first read.
    """

    decodes = False

    def __init__(
        self, path: Path, resolution: int | None = None, use_labels: bool = True, checksums: bool = True
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            what = "found a file" if self.path.exists() else "no such folder"
            raise UserError(f"{self.path}: {what}, expected a dataset folder made by dataset_tool.py")
        self.files_by_resolution = open_resolutions(self.path, checksums)

        # All resolutions must hold the same images.
        largest = self.files_by_resolution[max(self.files_by_resolution)]
        for images in self.files_by_resolution.values():
            for what, found, expected in (
                ("images", len(images), len(largest)),
                ("channels", images.shape[0], largest.shape[0]),
            ):
                if found != expected:
                    raise UserError(f"{images.path}: {found} {what}, expected {expected} as in {largest.path.name}")

        if resolution is not None and resolution not in self.files_by_resolution:
            raise UserError(
                f"{self.path}: no images of {resolution}x{resolution}, found {sorted(self.files_by_resolution)}; "
                f"choose another --resolution or build the dataset with it"
            )
        self.images = self.files_by_resolution[resolution or max(self.files_by_resolution)]
        c, h, _ = self.images.shape
        if h < 8:
            raise UserError(f"{self.path}: images of {h}x{h}, expected at least 8x8")

        self._use_labels = use_labels
        self.labels = self._read_labels()
        self.spec = ImageSpec(resolution=h, channels=c, c_dim=self.labels.shape[1])

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "labels"}  # a mapping would be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.labels = self._read_labels()

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def _read_labels(self) -> LabelTable:
        names = sorted(self.path.glob("*.labels")) if self._use_labels else []
        return read_labels(names[0], len(self)) if names else no_labels(len(self))

    def verify(self, limit: int) -> None:
        """Check all checksums of the resolution in use, if its files have at most `limit` bytes."""
        if sum(file.path.stat().st_size for file in self.images.files) <= limit:
            self.images.verify()

    def fingerprint(self) -> str:
        """Changes if an image or label does: a hash of the checksums that the records carry, and of the labels."""
        h = hashlib.sha256(str(self.spec).encode())
        for file in self.images.files:
            h.update(file.stored_checksums())
        h.update(label_bytes(self.labels))
        return h.hexdigest()[:32]

    def where(self, i: int) -> str:
        """Which file and record image i is in."""
        file, k = self.images.locate(i)
        return f"{file.path}: record {k}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[i], self.labels[i]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images [n,C,R,R] and labels [n,c_dim] of these indices."""
        return self.images.batch(indices), np.asarray(self.labels[indices])


def shards(folder: Path) -> list[list[Path]]:
    """Return the *.tfrecords of a folder, shards of one resolution together. Raises UserError if shards are missing."""
    names = sorted(folder.glob("*.tfrecords"))
    if not names:
        raise UserError(f"{folder}: no *.tfrecords in it, expected a dataset folder made by dataset_tool.py")

    # Collect the shards in their order, which is that of their names.
    groups: dict[str, list[Path]] = {}
    for name in names:
        part = re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})\.tfrecords", name.name)
        group = groups.setdefault(f"{part[1]} {part[3]}" if part else name.name, [])
        if part and int(part[2]) != len(group):
            raise UserError(f"{folder}: shard {len(group):05d} of {part[1]} is missing, found {name.name}")
        group.append(name)

    # A shard may also be missing at the end.
    for key, group in groups.items():
        _, _, n = key.rpartition(" ")
        if key != group[0].name and len(group) != int(n):
            raise UserError(f"{folder}: {len(group)} shards of {group[0].name}, expected {int(n)}")
    return list(groups.values())


def open_resolutions(folder: Path, checksums: bool) -> dict[int, ShardedImages]:
    """Open every resolution of a dataset folder; return its images by their height and width."""
    by_resolution: dict[int, ShardedImages] = {}
    for paths in shards(folder):
        images = ShardedImages([RecordFile(path, checksums) for path in paths])
        for file in images.files:
            if file.shape != images.shape:
                raise UserError(f"{file.path}: images {file.shape}, expected {images.shape} as in {images.path.name}")

        _, height, width = images.shape
        if height != width or not is_power_of_two(height):
            raise UserError(f"{images.path}: images of {height}x{width}, expected squares with a power of two as side")
        if height in by_resolution:
            other = by_resolution[height].path.name
            raise UserError(f"{images.path}: a second file of {height}x{width} images besides {other}")
        by_resolution[height] = images

    return by_resolution


def halvings(image: np.ndarray) -> list[np.ndarray]:
    """Return uint8 [C,R,R] and its halvings down to 4x4, largest first."""
    out = [image]
    x = image.astype(np.float32)
    while x.shape[1] > 4:
        x = (x[:, 0::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 0::2] + x[:, 1::2, 1::2]) * np.float32(0.25)
        out.append(np.rint(x).clip(0, 255).astype(np.uint8))
    return out
