"""Multi-level TFRecord datasets, read and written without TensorFlow.

NAME/NAME-r02.tfrecords (4x4) ... NAME-r06.tfrecords (64x64), NAME-rxx.labels. A file is a sequence of records: uint64
length, masked crc32c of the length, payload, masked crc32c of the payload. A payload is a `tf.train.Example` with
`shape` (int64 [C,H,W]) and `data` (raw uint8), in either order.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c
import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic, os_error, remove_abandoned
from training.networks.config import ImageSpec, is_power_of_two

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def masked_crc(data: Any) -> int:
    """The checksum of a TFRecord field: crc32c rotated right by 15 bits plus a constant."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """A record: header, payload, footer."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _FOOTER.pack(masked_crc(length)), payload, _FOOTER.pack(masked_crc(payload))))


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def encode_example(image: np.ndarray) -> bytes:
    """uint8 [C,H,W] -> tf.train.Example, byte for byte as the original's files."""
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
    """(number, start, end) of each field in buf[pos:end]; a varint field has end = -1 and its value as start."""
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
    """Shape, and start and end of the raw data within a payload; ValueError if it is not such an Example."""
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

    The framing of all records is checked on opening, the payload's checksum by `verify` or on each read if `checksums`.
    Survives pickling (spawn) and fork: the mapping is shared, read-only.
    """

    def __init__(self, path: Path, checksums: bool = False) -> None:
        self.path, self.checksums = path, checksums
        self._map()
        self.offsets = self._index()  # int64 [n+1], the start of each record and the end of the file
        first = self._payload(0)
        try:
            self.shape, self._data_start, self._data_end = parse_example(first)
        except ValueError as e:
            raise self._error(0, f"not an image ({e}), expected a tf.train.Example with shape and data") from e
        self._prefix = bytes(first[: self._data_start])

    def _map(self) -> None:
        try:
            self._bytes = np.memmap(self.path, np.uint8, "r")
        except ValueError as e:  # an empty file cannot be mapped
            raise UserError(f"{self.path}: empty file, expected TFRecords") from e
        except OSError as e:
            raise os_error(e, self.path, "read") from e

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_bytes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def _error(self, record: int, what: str) -> UserError:
        return UserError(f"{self.path}: record {record}: {what}")

    def _index(self) -> np.ndarray:
        """Record offsets; checks lengths and their checksums."""
        size = len(self._bytes)
        if size >= _HEADER.size:
            length, crc = _HEADER.unpack(self._bytes[: _HEADER.size].tobytes())
            step = length + _HEADER.size + _FOOTER.size
            if masked_crc(self._bytes[:8].tobytes()) == crc and size % step == 0:  # all of the same length?
                headers = self._bytes.reshape(-1, step)[:, : _HEADER.size]
                if (headers == headers[0]).all():
                    return np.arange(0, size + 1, step, dtype=np.int64)
        offsets, pos = [0], 0
        while pos < size:
            i = len(offsets) - 1
            if size - pos < _HEADER.size:
                raise self._error(i, f"truncated: {size - pos} bytes left, expected a header of {_HEADER.size}")
            length, crc = _HEADER.unpack(self._bytes[pos : pos + _HEADER.size].tobytes())
            found = masked_crc(self._bytes[pos : pos + 8].tobytes())
            if found != crc:
                raise self._error(i, f"damaged: length checksum {found:08x}, expected {crc:08x}")
            end = pos + _HEADER.size + length + _FOOTER.size
            if end > size:
                raise self._error(i, f"truncated: {size - pos} bytes left, expected {end - pos}")
            offsets.append(end)
            pos = end
        return np.array(offsets, np.int64)

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
        payload = self._payload(i)
        start, end = self._data_start, self._data_end
        if payload[:start] != self._prefix:  # another order or size: parse it
            try:
                shape, start, end = parse_example(payload)
            except ValueError as e:
                raise self._error(i, f"not an image ({e}), expected a tf.train.Example with shape and data") from e
            if shape != self.shape:
                raise self._error(i, f"shape {shape}, expected {self.shape} as in record 0")
        elif len(payload) < end:
            raise self._error(i, f"{len(payload)} bytes, expected {end}")
        return np.frombuffer(payload[start:end], np.uint8).reshape(self.shape)

    def verify(self) -> None:
        """Check the checksum and form of every record."""
        checksums, self.checksums = self.checksums, True
        try:
            for i in range(len(self)):
                self[i]
        finally:
            self.checksums = checksums


class TFRecordDataset:
    """Images uint8 [C,H,W] and labels float32 [c_dim] of a dataset folder, by index.

    `resolution` picks a level (None = the largest). Every level is opened once, so that a damaged or incomplete dataset
    is told at the start. `checksums` verifies each record as it is read.
    """

    decodes = False

    def __init__(
        self, path: Path, resolution: int | None = None, use_labels: bool = True, checksums: bool = True
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            what = "found a file" if self.path.exists() else "no such folder"
            raise UserError(f"{self.path}: {what}, expected a dataset folder made by dataset_tool.py")
        names = sorted(self.path.glob("*.tfrecords"))
        if not names:
            raise UserError(f"{self.path}: no *.tfrecords in it, expected a dataset folder made by dataset_tool.py")
        self.files: dict[int, RecordFile] = {}
        for name in names:
            file = RecordFile(name, checksums)
            c, h, w = file.shape
            if h != w or not is_power_of_two(h):
                raise UserError(f"{name}: images of {h}x{w}, expected squares with a power of two as side")
            if h in self.files:
                raise UserError(f"{name}: a second file of {h}x{w} images besides {self.files[h].path.name}")
            self.files[h] = file
        largest = max(self.files)
        for file in self.files.values():
            if len(file) != len(self.files[largest]):
                raise UserError(
                    f"{file.path}: {len(file)} images, expected {len(self.files[largest])} as in "
                    f"{self.files[largest].path.name}"
                )
            if file.shape[0] != self.files[largest].shape[0]:
                raise UserError(
                    f"{file.path}: {file.shape[0]} channels, expected {self.files[largest].shape[0]} as in "
                    f"{self.files[largest].path.name}"
                )
        if resolution is not None and resolution not in self.files:
            raise UserError(
                f"{self.path}: no images of {resolution}x{resolution}, found {sorted(self.files)}; "
                f"choose another --resolution or build the dataset with it"
            )
        self.file = self.files[resolution or largest]
        self.labels = self._read_labels() if use_labels else np.zeros((len(self), 0), np.float32)
        c, h, _ = self.file.shape
        if h < 8:
            raise UserError(f"{self.path}: images of {h}x{h}, expected at least 8x8")
        self.spec = ImageSpec(resolution=h, channels=c, c_dim=self.labels.shape[1])

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def _read_labels(self) -> np.ndarray:
        names = sorted(self.path.glob("*.labels"))
        if not names:
            return np.zeros((len(self), 0), np.float32)
        try:
            labels = np.load(names[0], allow_pickle=False)
        except (ValueError, OSError, EOFError) as e:
            raise UserError(f"{names[0]}: not a readable array ({e}), expected float32 [{len(self)}, classes]") from e
        if labels.ndim != 2 or len(labels) != len(self) or labels.dtype.kind not in "fiub":
            raise UserError(
                f"{names[0]}: labels {labels.dtype} {list(labels.shape)}, expected float32 [{len(self)}, classes]"
            )
        if not np.isfinite(labels).all():
            raise UserError(f"{names[0]}: label {np.argwhere(~np.isfinite(labels))[0][0]} is not finite")
        return labels.astype(np.float32)

    def verify(self, limit: int) -> None:
        """Check all checksums of the level in use, if its file has at most `limit` bytes."""
        if self.file.path.stat().st_size <= limit:
            self.file.verify()

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.file[i], self.labels[i]


class TFRecordWriter:
    """Writes a dataset folder: `add` images uint8 [C,R,R] in order, then `labels`; used as a context manager. The
    folder appears when the block ends and not at all if it raises. Smaller levels are 2x2 means in float32 of the
    unrounded larger one, rounded half to even (SEMANTICS, tfrecords)."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path}: exists already, expected a new or empty folder")
        self.count = 0
        self._shape: tuple[int, ...] = ()
        self._files: list[Any] = []

    def __enter__(self) -> "TFRecordWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.path)
            self._atomic = atomic(self.path)
            self._folder = self._atomic.__enter__()
            self._folder.mkdir()
        except OSError as e:
            raise os_error(e, self.path, "create the folder") from e
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            for file in self._files:
                file.close()
        except OSError as e:
            kind, error, trace = type(e), e, e.__traceback__
        if kind is None and not self.count:
            error = UserError(f"{self.path}: no image to write")
            kind, trace = UserError, None
        if self._atomic.__exit__(kind, error, trace) is not True and error is not None:
            raise error

    def add(self, image: np.ndarray) -> None:
        """Append an image uint8 [C,R,R] to every level."""
        if not self._files:
            self._shape = image.shape
            for lod in range(image.shape[1].bit_length() - 2):
                r = (image.shape[1] >> lod).bit_length() - 1
                self._files.append(open(self._folder / f"{self.path.name}-r{r:02d}.tfrecords", "wb"))  # noqa: SIM115
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"image {image.dtype} {image.shape}, expected uint8 {self._shape}")
        for file, level in zip(self._files, levels(image), strict=True):
            file.write(frame(encode_example(level)))
        self.count += 1

    def labels(self, labels: np.ndarray) -> None:
        """Write labels float32 [N,c_dim] in the order of the images."""
        if len(labels) != self.count:
            raise ValueError(f"{len(labels)} labels, expected {self.count}")
        with open(self._folder / f"{self.path.name}-rxx.labels", "wb") as f:
            np.save(f, labels.astype(np.float32))

    def describe(self, facts: dict[str, Any]) -> None:
        """Write how the dataset was made, for people and tools: dataset.json."""
        (self._folder / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def levels(image: np.ndarray) -> list[np.ndarray]:
    """uint8 [C,R,R] and its halvings down to 4x4, largest first."""
    out, x = [image], image.astype(np.float32)
    while x.shape[1] > 4:
        x = (x[:, 0::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 0::2] + x[:, 1::2, 1::2]) * np.float32(0.25)
        out.append(np.rint(x).clip(0, 255).astype(np.uint8))
    return out
