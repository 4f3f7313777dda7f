"""Files of TFRecords: framing, checksums, the encoding of an image, and reading by index."""

import contextlib
import gzip
import struct

import crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib.errors import UserError
from tests.golden_data import GOLDEN
from training.data.records import RecordFile, _field, _varint, encode_example, frame, masked_crc, parse_example


def random_images(n, shape=(3, 8, 8)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def example(*features):
    """A tf.train.Example of these features, pairs of a key and an encoded Feature."""
    return _field(1, b"".join(_field(1, _field(1, key) + _field(2, feature)) for key, feature in features))


def write_records(folder, payloads):
    path = folder / "x-r03.tfrecords"
    path.write_bytes(b"".join(map(frame, payloads)))
    return path


def test_masked_crc_by_definition():
    crc = crc32c.crc32c(b"123456789")
    assert crc == 0xE3069283  # the check value of CRC-32C
    assert masked_crc(b"123456789") == (((crc >> 15) | ((crc & 0x7FFF) << 17)) + 0xA282EAD8) % 2**32


@given(st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 200)), st.integers(0, 2**32))
def test_an_encoded_image_is_parsed_back(shape, seed):
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    payload = memoryview(encode_example(image))
    parsed_shape, pixels = parse_example(payload)
    assert parsed_shape == shape and payload[pixels] == image.tobytes()


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_parser_raises_only_value_errors(payload):
    with contextlib.suppress(ValueError):
        parse_example(memoryview(payload))


@given(st.integers(0, 10**9), st.integers(1, 255))
def test_damage_of_a_payload_raises_only_value_errors(position, change):
    payload = bytearray(encode_example(np.zeros((1, 4, 4), np.uint8)))
    payload[position % len(payload)] ^= change
    with contextlib.suppress(ValueError):
        shape, pixels = parse_example(memoryview(payload))
        assert len(payload[pixels]) == np.prod(shape)


def test_unpacked_shape_and_other_order_are_read():
    shape = b"".join(_varint(1 << 3) + _varint(n) for n in (1, 2, 2))
    payload = example((b"shape", _field(3, shape)), (b"data", _field(1, _field(1, b"abcd"))))
    dims, pixels = parse_example(memoryview(payload))
    assert dims == (1, 2, 2) and payload[pixels] == b"abcd"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "no `shape` or no `data`"),
        (example((b"data", _field(1, _field(1, b"abcd")))), "no `shape` or no `data`"),
        (encode_example(np.zeros((4, 4), np.uint8)), "shape .4, 4. and 16 bytes"),
        (encode_example(np.zeros((1, 0, 4), np.uint8)), "and 0 bytes"),
        (encode_example(np.zeros((1, 4, 4), np.uint8)).replace(b"\x01\x04\x04", b"\x01\x04\x08"), "and 16 bytes"),
        (encode_example(np.zeros((1, 4, 4), np.uint8))[:-3], "runs past"),
        (b"\xff" * 11, "more than 64 bits"),
    ],
)
def test_what_is_no_image_is_refused(payload, message):
    with pytest.raises(ValueError, match=message):
        parse_example(memoryview(payload))


def test_reads_a_golden_file():
    name = "tfrecords_rgb32"
    file = RecordFile(GOLDEN / name / f"{name}-r02.tfrecords", checksums=True)
    with np.load(GOLDEN / f"{name}_source.npz") as source:
        np.testing.assert_array_equal(np.stack([file[i] for i in range(24)]), source["record_r02"])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_framing_round_trip_with_records_of_any_length(tmp_path_factory, extras, r):
    """Unknown features of varying length make every record of another size: still found and read."""
    folder = tmp_path_factory.mktemp("framing")
    images = random_images(len(extras), (1, 2**r, 2**r))
    others = [example((b"other", _field(1, _field(1, extra)))) for extra in extras]
    path = write_records(folder, [o + encode_example(x) for o, x in zip(others, images, strict=True)])
    file = RecordFile(path, checksums=True)
    assert len(file) == len(images)
    for i, x in enumerate(images):
        np.testing.assert_array_equal(file[i], x)
    np.testing.assert_array_equal(file.batch(np.arange(len(images))[::-1]), images[::-1])


@given(st.integers(0, 10**9), st.integers(1, 255), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_damaged_byte_is_reported(tmp_path_factory, position, change, equal_lengths):
    folder = tmp_path_factory.mktemp("damage")
    payloads = [encode_example(x) for x in random_images(3)]
    if not equal_lengths:
        payloads[1] = example((b"other", _field(1, _field(1, b"x")))) + payloads[1]
    path = write_records(folder, payloads)
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= change
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"x-r03\.tfrecords: record \d: (damaged|truncated)"):
        RecordFile(path, checksums=True).batch(np.arange(3))


def test_images_are_views_and_batches_are_copies(tmp_path):
    images = random_images(4)
    file = RecordFile(write_records(tmp_path, map(encode_example, images)))
    assert np.shares_memory(file[2], file._bytes) and not file[2].flags.writeable
    batch = file.batch(np.array([3, 3, 0]))
    np.testing.assert_array_equal(batch, images[[3, 3, 0]])
    batch[:] = 0
    np.testing.assert_array_equal(file[3], images[3])
    with pytest.raises(IndexError):
        file[4]


def test_checksums_are_compared_when_asked_for(tmp_path):
    path = write_records(tmp_path, map(encode_example, random_images(3)))
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1  # a pixel of the last image
    path.write_bytes(raw)
    unchecked = RecordFile(path)
    unchecked.batch(np.arange(3))
    for read in (
        unchecked.verify,
        lambda: RecordFile(path, True)[2],
        lambda: RecordFile(path, True).batch(np.arange(3)),
    ):
        with pytest.raises(UserError, match="record 2: damaged: data checksum"):
            read()
    RecordFile(path, True).batch(np.arange(2))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (encode_example(np.zeros((3, 4, 16), np.uint8)), r"shape \(3, 4, 16\), expected \(3, 8, 8\) as in record 0"),
        (encode_example(np.zeros((1, 8, 8), np.uint8)), r"shape \(1, 8, 8\), expected \(3, 8, 8\) as in record 0"),
        (b"nonsense", "not an image .*, expected a tf.train.Example with shape and data"),
        (encode_example(np.zeros((3, 8, 8), np.uint8))[:-1], "not an image"),
    ],
)
def test_a_record_unlike_the_first_is_reported(tmp_path, second, message):
    file = RecordFile(write_records(tmp_path, [encode_example(random_images(1)[0]), second]))
    file[0]
    with pytest.raises(UserError, match=f"record 1: {message}"):
        file[1]


def test_pixels_that_end_too_early_are_not_those_of_the_next_record(tmp_path):
    """The pixels come last here, so nothing follows them that would differ."""
    pixels = random_images(1)[0].tobytes()
    shape = (b"shape", _field(3, _field(1, bytes([3, 8, 8]))))
    whole = example(shape, (b"data", _field(1, _field(1, pixels))))
    file = RecordFile(write_records(tmp_path, [whole, whole[:-1], whole]))
    for i in (0, 2):
        assert file[i].tobytes() == pixels
    with pytest.raises(UserError, match="record 1: not an image"):
        file[1]


def test_huge_length_field_is_refused_without_allocation(tmp_path):
    length = struct.pack("<Q", 2**62)
    path = tmp_path / "x-r03.tfrecords"
    path.write_bytes(length + struct.pack("<I", masked_crc(length)) + b"x" * 50)
    with pytest.raises(UserError, match="truncated"):
        RecordFile(path)


@pytest.mark.parametrize(("name", "message"), [("none", "cannot read: no such file"), (".", "cannot read")])
def test_what_cannot_be_opened_is_one_line(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        RecordFile(tmp_path / name)


def test_compressed_records_are_named_as_such(tmp_path):
    path = tmp_path / "x-r03.tfrecords"
    path.write_bytes(gzip.compress(frame(encode_example(np.zeros((3, 8, 8), np.uint8)))))
    with pytest.raises(UserError, match=r"x-r03\.tfrecords: compressed by gzip, expected TFRecords that are not"):
        RecordFile(path)
