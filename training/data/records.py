"""Files of TFRecords that hold one image each, read and written without TensorFlow.

A file is a sequence of records: uint64 length, masked crc32c of the length, payload, masked crc32c of the payload. A
payload is a `tf.train.Example` with `shape` (int64 [C,H,W]) and `data` (raw uint8), in either order.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crc32c
import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import Unchanged, os_error

_HEADER = struct.Struct("<QI")  # length of the payload, checksum of the length
GZIP = b"\x1f\x8b"
_FOOTER = struct.Struct("<I")  # checksum of the payload
HEADER_BYTES, FOOTER_BYTES = _HEADER.size, _FOOTER.size

# Wire types of protobuf: how the value of a field is encoded.
_VARINT = 0
_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}  # wire type -> bytes


def masked_crc(data: Any) -> int:
    """Return the checksum of a part of a record: crc32c rotated right by 15 bits, plus a constant."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return a record: header, payload, footer."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _FOOTER.pack(masked_crc(length)), payload, _FOOTER.pack(masked_crc(payload))))


def record_size(header: bytes) -> int:
    """Return the number of bytes of the record that begins with this header; raise ValueError if it is damaged."""
    length, expected = _HEADER.unpack(header)
    if (actual := masked_crc(header[:8])) != expected:
        raise ValueError(f"damaged: length checksum {actual:08x}, expected {expected:08x}")
    return int(_HEADER.size + length + _FOOTER.size)


def _varint(n: int) -> bytes:
    """Encode a number in groups of seven bits, the lowest first; all bytes but the last have their high bit set."""
    return bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80]) + _varint(n >> 7)


def _field(number: int, body: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return _varint(number << 3 | _DELIMITED) + _varint(len(body)) + body


def encode_example(image: np.ndarray) -> bytes:
    """Encode uint8 [C,H,W] as a `tf.train.Example`, byte for byte as the files of StyleGAN have it."""
    data = _field(1, image.tobytes())  # BytesList
    shape = _field(1, b"".join(_varint(n) for n in image.shape))  # Int64List, packed

    # Each entry of the map is a message of a key and a Feature, in which a BytesList is field 1, an Int64List field 3.
    entries = ((b"data", _field(1, data)), (b"shape", _field(3, shape)))
    return _field(1, b"".join(_field(1, _field(1, key) + _field(2, feature)) for key, feature in entries))


def _read_varint(payload: memoryview, pos: int) -> tuple[int, int]:
    """Return the number encoded at `pos`, and the position after it."""
    value = 0

    # Ten bytes hold 64 bits.
    for shift in range(0, 64, 7):
        byte = payload[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
    raise ValueError("varint of more than 64 bits")


def _fields(payload: memoryview, message: slice) -> Iterator[tuple[int, slice]]:
    """Yield the number of each field of a message, and where its value is; both slices are of the payload."""
    pos = message.start
    while pos < message.stop:
        tag, pos = _read_varint(payload, pos)
        number, wire_type = divmod(tag, 8)
        if wire_type == _DELIMITED:
            size, pos = _read_varint(payload, pos)
            end = pos + size
        elif wire_type == _VARINT:
            _, end = _read_varint(payload, pos)
        else:
            end = pos + _FIXED_SIZES[wire_type]

        # A damaged size may lead anywhere.
        if end > message.stop:
            raise ValueError("field runs past its message")
        yield number, slice(pos, end)
        pos = end


def parse_example(payload: memoryview) -> tuple[tuple[int, ...], slice]:
    """Return the shape [C,H,W] of an image and where in the payload its pixels are; raise ValueError if it has none."""
    features: dict[bytes, list[slice]] = {}
    shape: list[int] = []
    try:
        # The messages Example, Features, one entry of its map for each feature, Feature, and a list of values.
        for _, message in _fields(payload, slice(0, len(payload))):
            for _, entry in _fields(payload, message):
                pair = dict(_fields(payload, entry))
                ((_, values),) = _fields(payload, pair[2])
                features[bytes(payload[pair[1]])] = [value for _, value in _fields(payload, values)]
        if not features.keys() >= {b"shape", b"data"}:
            raise ValueError("no `shape` or no `data`")

        # Each number of the shape may be a value of its own, or all are packed into one.
        for value in features[b"shape"]:
            pos = value.start
            while pos < value.stop:
                number, pos = _read_varint(payload, pos)
                shape.append(number)
    except LookupError as e:
        raise ValueError("malformed protobuf") from e

    # The pixels must be as many as the shape says.
    (pixels,) = features[b"data"]
    size = pixels.stop - pixels.start
    if len(shape) != 3 or not 0 < size == math.prod(shape):
        raise ValueError(f"shape {shape} and {size} bytes of data")
    return tuple(shape), pixels


class RecordFile:
    """A memory-mapped .tfrecords file of images of equal shape, by index.

    path: where it is. shape: (C, H, W) of each image. offsets: int64 [n+1], the bytes at which the records begin, and
    the size of the file.

    The framing of all records is checked on opening, the checksum of a payload by `verify` and, if `checksums`, when
    the record is first read. Raises UserError, naming the file and the record, if anything is damaged.
    """

    def __init__(self, path: Path, checksums: bool = False) -> None:
        self.path = path
        self.checksums = checksums
        try:
            self._unchanged = Unchanged(path)
            self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))
        except ValueError as e:  # an empty file cannot be mapped
            raise UserError(f"{path}: empty file, expected TFRecords") from e
        except OSError as e:
            raise os_error(e, path, "read") from e
        self.offsets = self._index()

        # All images have the shape of the first, and usually lie in their records as it does.
        self._first = self._payload(0, checksums)
        self.shape, self._pixels = self._parse(0, self._first)

        # The byte at which each image begins; 0 until its record is checked.
        self._starts = np.zeros(len(self), np.int64)

        # A view of the file as if an image began at every byte: reading is indexing it with the starts.
        self._images = np.lib.stride_tricks.sliding_window_view(self._bytes, math.prod(self.shape))

    def _error(self, i: int, message: str) -> UserError:
        return UserError(f"{self.path}: record {i}: {message}")

    def _index(self) -> np.ndarray:
        """Return the offsets of the records, after checking all headers."""
        size = len(self._bytes)
        step = self._end(0, 0)

        # Records of images of equal shape usually have one length: one comparison of all headers is enough.
        if size % step == 0:
            headers = self._bytes.reshape(-1, step)[:, : _HEADER.size]
            if (headers == headers[0]).all():
                return np.arange(0, size + 1, step, dtype=np.int64)

        # Otherwise go from header to header.
        offsets = [0, step]
        while offsets[-1] < size:
            offsets.append(self._end(len(offsets) - 1, offsets[-1]))
        return np.array(offsets, np.int64)

    def _end(self, i: int, start: int) -> int:
        """Return where record i, which begins at byte `start`, ends, after checking its header."""
        remaining = len(self._bytes) - start

        if remaining < _HEADER.size:
            raise self._error(i, f"truncated: {remaining} bytes left, expected a header of {_HEADER.size}")

        if not start and self._bytes[:2].tobytes() == GZIP:
            raise UserError(f"{self.path}: compressed by gzip, expected TFRecords that are not: gunzip it first")

        try:
            size = record_size(self._bytes[start : start + _HEADER.size].tobytes())
        except ValueError as e:
            raise self._error(i, str(e)) from e

        # The length is as it was written, so the rest is missing.
        if size > remaining:
            raise self._error(i, f"truncated: {remaining} bytes left, expected {size}")
        return start + size

    def _payload(self, i: int, checksum: bool) -> memoryview:
        """Return the payload of record i; compare its checksum if `checksum`."""
        start = self.offsets[i] + _HEADER.size
        end = self.offsets[i + 1] - _FOOTER.size
        payload = self._bytes[start:end].data

        # Damage to pixels shows nowhere else.
        if checksum:
            (expected,) = _FOOTER.unpack(self._bytes[end : end + _FOOTER.size].tobytes())
            actual = masked_crc(payload)
            if actual != expected:
                raise self._error(i, f"damaged: data checksum {actual:08x}, expected {expected:08x}")
        return payload

    def _parse(self, i: int, payload: memoryview) -> tuple[tuple[int, ...], slice]:
        """Parse the payload of record i as `parse_example` does; raise UserError if it holds no image."""
        try:
            return parse_example(payload)
        except ValueError as e:
            raise self._error(i, f"not an image ({e}), expected a tf.train.Example with shape and data") from e

    def _check(self, i: int, checksum: bool) -> None:
        """Check record i, and remember where its pixels begin.

        Raise UserError if it is damaged, or holds no image of the common shape.
        """
        payload = self._payload(i, checksum)
        first = self._first
        pixels = self._pixels

        # A record that equals the first one around the pixels need not be parsed.
        alike = payload[: pixels.start] == first[: pixels.start] and payload[pixels.stop :] == first[pixels.stop :]
        if not alike or len(payload) != len(first):
            shape, pixels = self._parse(i, payload)
            if shape != self.shape:
                raise self._error(i, f"shape {shape}, expected {self.shape} as in record 0")
        self._starts[i] = self.offsets[i] + _HEADER.size + pixels.start

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """Return image i, uint8 [C,H,W], a read-only view of the file; raise UserError if the file was changed."""
        self._unchanged.check()
        if not self._starts[i]:
            self._check(i, self.checksums)
        return self._images[self._starts[i]].reshape(self.shape)

    def batch(self, indices: np.ndarray) -> np.ndarray:
        """Return a copy of the images of these indices, uint8 [n,C,H,W]; raise UserError if the file was changed."""
        self._unchanged.check()

        # Most have been checked in an earlier epoch.
        for i in indices[self._starts[indices] == 0].tolist():
            self._check(i, self.checksums)
        return self._images[self._starts[indices]].reshape(-1, *self.shape)

    def stored_checksums(self) -> bytes:
        """Return the checksums of the payloads as they are in the file, four bytes a record: a quick fingerprint."""
        ends = self.offsets[1:, None] + np.arange(-_FOOTER.size, 0)
        return self._bytes[ends].tobytes()

    def verify(self) -> None:
        """Check every record and the checksum of its payload."""
        for i in range(len(self)):
            self._check(i, checksum=True)
