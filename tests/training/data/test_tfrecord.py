"""A folder of TFRecord files as a dataset."""

import pickle
import shutil

import numpy as np
import pytest

from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from training.data.records import RecordFile, encode_example, frame
from training.data.tfrecord import TFRecordDataset, halvings, shard_groups

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
    data = TFRecordDataset(dataset, 8, use_labels=False)
    (file,) = data.images.files
    assert np.shares_memory(file[2], file._bytes)
    sent = pickle.dumps(data)
    again = pickle.loads(sent)
    assert len(sent) < 1000 and again.spec == data.spec
    np.testing.assert_array_equal(again[2][0], file[2])
    assert np.shares_memory(again[2][0], again.images.files[0]._bytes)


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
def test_damaged_file_is_reported(dataset, change, message):
    path = dataset / "set-r04.tfrecords"
    _damage(path, change)
    with pytest.raises(UserError, match=message) as e:
        TFRecordDataset(dataset).images.verify()
    assert "set-r04.tfrecords" in str(e.value)


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
def test_bad_folder_is_reported(dataset, change, message):
    change(dataset)
    with pytest.raises(UserError, match=message):
        TFRecordDataset(dataset)


def test_missing_level_is_reported(dataset):
    with pytest.raises(UserError, match=r"no images of height 32, found \[4, 8, 16\]"):
        TFRecordDataset(dataset, 32)


def write_shards(folder, *groups):
    """One file for each group of images, named as shards of 16x16."""
    folder.mkdir()
    for k, images in enumerate(groups):
        path = folder / f"x-r04-{k:05d}-of-{len(groups):05d}.tfrecords"
        path.write_bytes(b"".join(frame(encode_example(x)) for x in images))
    return folder


def test_shards_are_one_sequence(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 16, 16), dtype=np.uint8)
    data = TFRecordDataset(write_shards(tmp_path / "x", images[:3], images[3:4], images[4:]))
    assert len(data) == 7 and data.labels.shape == (7, 0)
    np.testing.assert_array_equal(np.stack([data[i][0] for i in range(7)]), images)
    order = np.array([6, 0, 3, 4, 2, 6])
    batch, labels = data.batch(order)
    np.testing.assert_array_equal(batch, images[order])
    assert labels.shape == (6, 0) and batch.flags.writeable
    assert data.where(2).endswith("x-r04-00000-of-00003.tfrecords: record 2")
    assert data.where(5).endswith("x-r04-00002-of-00003.tfrecords: record 1")
    for outside in (-1, 7):
        with pytest.raises(IndexError):
            data[outside]


def test_a_hundred_thousand_shards_are_in_the_order_of_their_numbers():
    names = [f"x-r04-{k:05d}-of-100002.tfrecords" for k in range(100_002)]
    assert shard_groups([*reversed(names), "x-r03.tfrecords", "x-rxx.labels"], "x") == [["x-r03.tfrecords"], names]


@pytest.mark.parametrize(
    ("name", "new_name", "message"),
    [
        ("x-r04-00000-of-00003", "away", "shard 00000 of x-r04 is missing, found x-r04-00001-of-00003.tfrecords"),
        ("x-r04-00001-of-00003", "away", "shard 00001 of x-r04 is missing, found x-r04-00002-of-00003.tfrecords"),
        ("x-r04-00002-of-00003", "away", "2 shards of x-r04-00000-of-00003.tfrecords, expected 3"),
        ("x-r04-00002-of-00003", "x-r04-00004-of-00003.tfrecords", "shard 00002 of x-r04 is missing"),
    ],
)
def test_missing_shards_are_reported(tmp_path, name, new_name, message):
    folder = write_shards(tmp_path / "x", *np.zeros((3, 2, 1, 16, 16), np.uint8))
    (folder / f"{name}.tfrecords").rename(folder / new_name)
    with pytest.raises(UserError) as e:
        TFRecordDataset(folder)
    assert message in str(e.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([np.zeros((2, 1, 16, 16)), np.zeros((2, 3, 16, 16))], r"images \(3, 16, 16\), expected \(1, 16, 16\) as in"),
        ([np.zeros((2, 1, 100, 20))], "images: found 20x100, expected edges of at most 16 pixels after halving"),
        (
            [np.zeros((2, 1, 4, 4))],
            "images: found 4x4, expected even edges of at least 6 pixels, e.g. 6x6",
        ),
    ],
)
def test_impossible_sizes_are_reported(tmp_path, groups, message):
    folder = write_shards(tmp_path / "x", *[g.astype(np.uint8) for g in groups])
    with pytest.raises(UserError, match=message):
        TFRecordDataset(folder)


def test_all_resolutions_have_the_same_channels(dataset):
    payload = frame(encode_example(np.zeros((1, 8, 8), np.uint8)))
    (dataset / "set-r03.tfrecords").write_bytes(payload * 5)
    with pytest.raises(UserError, match=r"set-r03\.tfrecords: 1 channels, expected 3 as in set-r04\.tfrecords"):
        TFRecordDataset(dataset)


def test_fingerprint_tells_images_labels_and_resolutions_apart(dataset, tmp_path):
    def fingerprint(**options):
        return TFRecordDataset(dataset, **options).fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    assert len({first, fingerprint(resolution=8), fingerprint(use_labels=False)}) == 3
    _labels(dataset, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 2]])
    assert fingerprint() != first
    _labels(dataset, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]])
    assert fingerprint() == first

    raw = (dataset / "set-r04.tfrecords").read_bytes()
    image = RecordFile(dataset / "set-r04.tfrecords")[0]
    changed = frame(encode_example(image ^ 1))
    (dataset / "set-r04.tfrecords").write_bytes(changed + raw[len(changed) :])
    assert fingerprint() != first


def test_verify_skips_what_is_larger_than_the_limit(dataset):
    _damage(dataset / "set-r04.tfrecords", _flip(2000))
    data = TFRecordDataset(dataset, checksums=False)
    size = (dataset / "set-r04.tfrecords").stat().st_size
    data.verify(size - 1)
    with pytest.raises(UserError, match="data checksum"):
        data.verify(size)


def test_halvings_are_means_without_accumulated_rounding():
    image = np.random.default_rng(0).integers(0, 256, (2, 16, 16), dtype=np.uint8)
    levels = halvings(image)
    assert [x.shape for x in levels] == [(2, 16, 16), (2, 8, 8), (2, 4, 4)]
    for level in levels:
        side = 16 // level.shape[1]
        means = image.reshape(2, 16 // side, side, 16 // side, side).mean((2, 4))
        np.testing.assert_array_equal(level, np.rint(means))
