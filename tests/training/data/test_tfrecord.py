import contextlib
import pickle
import shutil
import struct

import crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from training.data.tfrecord import (
    RecordFile,
    TFRecordDataset,
    encode_example,
    frame,
    masked_crc,
    parse_example,
)

NAME = "tfrecords_rgb32"


@pytest.fixture(scope="module")
def source():
    with np.load(GOLDEN / f"{NAME}_source.npz") as f:
        return {k: f[k] for k in f.files}


@pytest.fixture
def dataset(tmp_path):
    """A small valid dataset folder: 5 images of 16x16, 3 classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    return write_dataset(tmp_path / "set", images, np.eye(3)[[0, 1, 2, 0, 1]])


def test_reads_the_golden_files(source):
    for r in (4, 8, 16, 32):
        data = TFRecordDataset(GOLDEN / NAME, None if r == 32 else max(r, 8)) if r > 4 else None
        file = data.images if data else RecordFile(GOLDEN / NAME / f"{NAME}-r02.tfrecords", checksums=True)
        np.testing.assert_array_equal(
            np.stack([file[i] for i in range(24)]), source[f"record_r{r.bit_length() - 1:02d}"]
        )
    data = TFRecordDataset(GOLDEN / NAME)
    assert (data.spec.resolution, data.spec.channels, data.spec.c_dim) == (32, 3, 3)
    np.testing.assert_array_equal(data.labels, source["labels"][source["order"]])
    np.testing.assert_array_equal(data[7][0], source["images"][source["order"][7]])


def test_writes_the_golden_files_byte_for_byte(source, tmp_path):
    n = source["order"]
    write_dataset(tmp_path / NAME, source["images"][n], source["labels"][n])
    for golden in sorted((GOLDEN / NAME).iterdir()):
        assert (tmp_path / NAME / golden.name).read_bytes() == golden.read_bytes(), golden.name


def test_views_are_of_the_mapping_and_survive_pickling(dataset):
    (file,) = TFRecordDataset(dataset).images.files
    assert np.shares_memory(file[2], file._bytes)
    again = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(again[2], file[2])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_framing_round_trip_with_records_of_any_length(tmp_path_factory, extras, r):
    """Unknown features of varying length make every record of another size: still found and read."""
    folder = tmp_path_factory.mktemp("framing")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, 2**r, 2**r), dtype=np.uint8) for _ in extras]
    from training.data.tfrecord import _field  # the encoder's own building block

    path = folder / "x-r04.tfrecords"
    path.write_bytes(
        b"".join(
            frame(_field(1, _field(1, _field(1, b"other") + _field(2, _field(1, _field(1, e))))) + encode_example(x))
            for e, x in zip(extras, images, strict=True)
        )
    )
    file = RecordFile(path, checksums=True)
    assert len(file) == len(images)
    for i, x in enumerate(images):
        np.testing.assert_array_equal(file[i], x)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_parser_raises_only_value_errors(payload):
    with contextlib.suppress(ValueError):
        parse_example(memoryview(payload))


def test_unpacked_shape_and_other_order_are_read():
    from training.data.tfrecord import _field, _varint

    shape = b"".join(_varint(1 << 3) + _varint(n) for n in (1, 2, 2))
    entries = [(b"shape", _field(3, shape)), (b"data", _field(1, _field(1, b"abcd")))]
    payload = _field(1, b"".join(_field(1, _field(1, k) + _field(2, f)) for k, f in entries))
    dims, start, end = parse_example(memoryview(payload))
    assert dims == (1, 2, 2) and payload[start:end] == b"abcd"


def test_masked_crc_by_definition():
    crc = crc32c.crc32c(b"123456789")
    assert crc == 0xE3069283  # the check value of CRC-32C
    assert masked_crc(b"123456789") == (((crc >> 15) | ((crc & 0x7FFF) << 17)) + 0xA282EAD8) % 2**32


def _damage(path, change):
    raw = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(raw)))


def _flip(position):
    def change(raw):
        raw[position] ^= 0x10
        return raw

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-7], "truncated"),
        (lambda raw: raw[: len(raw) // 5 * 2], "5 images, expected 2"),
        (lambda raw: raw[:5], "truncated"),
        (lambda raw: b"", "empty file"),
        (_flip(0), "length checksum"),
        (_flip(9), "length checksum"),
        (_flip(2000), "data checksum"),
        (lambda raw: b"<html>" + raw, "length checksum"),
        (lambda raw: frame(b"nonsense"), "not an image"),
    ],
)
def test_damaged_file_is_told(dataset, change, message):
    path = dataset / "set-r04.tfrecords"
    _damage(path, change)
    with pytest.raises(UserError, match=message) as e:
        TFRecordDataset(dataset).images.verify()
    assert "set-r04.tfrecords" in str(e.value)


def test_huge_length_field_is_refused_without_allocation(dataset):
    length = struct.pack("<Q", 2**62)
    (dataset / "set-r04.tfrecords").write_bytes(length + struct.pack("<I", masked_crc(length)) + b"x" * 50)
    with pytest.raises(UserError, match="truncated"):
        TFRecordDataset(dataset)


def _shorten(folder):
    path = folder / "set-r03.tfrecords"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 5 * 4])


def _labels(folder, array):
    with open(folder / "set-rxx.labels", "wb") as f:
        np.save(f, array, allow_pickle=True)


def _second(folder):
    shutil.copy(folder / "set-r04.tfrecords", folder / "other-r04.tfrecords")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_shorten, "4 images, expected 5 as in set-r04.tfrecords"),
        (_second, "a second file"),
        (lambda f: _labels(f, np.zeros((4, 3))), r"labels float64 \[4, 3\], expected"),
        (lambda f: (f / "set-rxx.labels").write_bytes(b"junk"), "not a readable array"),
        (lambda f: _labels(f, np.array([{}] * 5)), "not a readable"),
        (lambda f: [p.unlink() for p in f.glob("*.tfrecords")], r"no \*\.tfrecords"),
        (lambda f: _labels(f, np.full((5, 3), np.nan)), "label 0 is not finite"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_bad_folder_is_told(dataset, change, message):
    change(dataset)
    with pytest.raises(UserError, match=message):
        TFRecordDataset(dataset)


def test_missing_level_is_told(dataset):
    with pytest.raises(UserError, match=r"no images of 32x32, found \[4, 8, 16\]"):
        TFRecordDataset(dataset, 32)
