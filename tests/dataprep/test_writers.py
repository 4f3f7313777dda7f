"""What the writers put on the disk, form by form."""

import json
import zipfile

import numpy as np
import pytest

from dataprep.compare import compare
from dataprep.writers import ImageFolder, ImageZip, TFRecordFiles, new_writer, pack
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.runs import script
from training.data.dataset import open_dataset
from training.data.labels import OneHot, no_labels
from training.data.tfrecord import TFRecordDataset


def numbers(n=40, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def write(form, path, images, labels=None, facts=None, shard_mb=None):
    """A dataset by the writer of a form alone."""
    writer = new_writer(form, path, "set", shard_mb)
    for i, image in enumerate(images):
        writer.add(i, pack(image, form))
    writer.finish(facts or {}, no_labels(len(images)) if labels is None else labels)
    writer.close()


@pytest.mark.parametrize("form", ["tfrecords", "folder", "zip"])
def test_every_form_gives_the_same_images_and_labels(form, tmp_path):
    images, labels = numbers(5), OneHot(np.array([0, 2, 1, 2, 0]), 3)
    write(form, tmp_path / "x", images, labels, {"command": "test"})
    data = open_dataset(tmp_path / "x")
    np.testing.assert_array_equal([data[i][0] for i in range(5)], images)
    np.testing.assert_array_equal(np.asarray(data.labels), labels[:])


def test_files_of_a_folder_of_tfrecords(tmp_path):
    """The names that the original's tools look for."""
    write("tfrecords", tmp_path / "x", numbers(3), OneHot(np.arange(3), 3), {"command": "test"})
    names = sorted(p.name for p in (tmp_path / "x").iterdir())
    assert names == ["dataset.json", "set-r02.tfrecords", "set-r03.tfrecords", "set-r04.tfrecords", "set-rxx.labels"]
    assert json.loads((tmp_path / "x" / "dataset.json").read_text()) == {"command": "test"}
    np.testing.assert_array_equal(np.load(tmp_path / "x" / "set-rxx.labels"), np.eye(3, dtype=np.float32))
    write("tfrecords", tmp_path / "y", numbers(3))
    assert not list((tmp_path / "y").glob("*.labels"))


def test_files_of_a_folder_and_a_zip_of_images(tmp_path):
    """The names that StyleGAN2/3 use, not compressed, and the same bytes at another time."""
    images = np.zeros((1002, 1, 8, 8), np.uint8)
    for name in ("a.zip", "b.zip"):
        write("zip", tmp_path / name, images)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as z:
        names = z.namelist()
        assert names[0] == "00000/img00000000.png" and names[1001:] == ["00001/img00001001.png", "dataset.json"]
        assert all(i.compress_type == zipfile.ZIP_STORED and i.date_time[0] == 1980 for i in z.infolist())
        assert json.loads(z.read("dataset.json")) == {"labels": None}
    write("folder", tmp_path / "folder", images[:2])
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == [
        "dataset.json",
        "img00000000.png",
        "img00000001.png",
    ]


@pytest.mark.parametrize("writer", [TFRecordFiles, ImageFolder, ImageZip])
def test_an_unfinished_dataset_can_be_closed(writer, tmp_path):
    """As when the work is interrupted: before the first image, and after it."""
    for count in (0, 1):
        path = tmp_path / str(count)
        unfinished = writer(path, "set") if writer is TFRecordFiles else writer(path)
        for i in range(count):
            unfinished.add(i, pack(numbers(1)[0], "tfrecords" if writer is TFRecordFiles else "zip"))
        unfinished.close()


def test_shards_are_read_as_one(tmp_path):
    images, labels = numbers(60, 128), np.eye(4)[np.arange(60) % 4]
    one = TFRecordDataset(write_dataset(tmp_path / "one", images, labels))
    path = write_dataset(tmp_path / "set", images, labels, shard_mb=1)
    names = sorted(p.name for p in path.iterdir())
    assert "set-r05.tfrecords" in names and "set-r07-00000-of-00003.tfrecords" in names
    assert all((path / n).stat().st_size <= 10**6 for n in names)
    many = open_dataset(path)
    indices = np.random.default_rng(1).integers(60, size=50)
    for a, b in zip(one.batch(indices), many.batch(indices), strict=True):
        np.testing.assert_array_equal(a, b)
    assert compare(tmp_path / "one", path) == 0
    assert many.where(59).endswith(f"set-r07-00002-of-00003.tfrecords: record {59 - 2 * 20}")
    many.verify(10**9)
    (path / "set-r07-00001-of-00003.tfrecords").rename(tmp_path / "away")
    with pytest.raises(UserError, match="shard 00001 of set-r07 is missing"):
        open_dataset(path)
    (tmp_path / "away").rename(path / "set-r07-00001-of-00003.tfrecords")
    (path / "set-r07-00002-of-00003.tfrecords").unlink()
    with pytest.raises(UserError, match=r"2 shards of set-r07-00000-of-00003\.tfrecords, expected 3"):
        open_dataset(path)


def test_labels_of_many_kinds_travel_through_every_form(tmp_path):
    n = 7
    rng = np.random.default_rng(0)
    for kind, labels in {
        "classes": OneHot(rng.integers(0, 5, n), 9)[:],
        "multi": rng.integers(0, 2, (n, 4)).astype(np.float32),
        "floats": rng.normal(size=(n, 3)).astype(np.float32),
    }.items():
        paths = [tmp_path / kind / name for name in ("a", "b.zip", "c", "d")]
        write_dataset(paths[0], numbers(n), labels)
        for src, dst, to in zip(paths, paths[1:], ("zip", "folder", "tfrecords"), strict=False):
            script("dataset_tool.py", "convert", src, dst, "--to", to)
            np.testing.assert_array_equal(np.asarray(open_dataset(dst).labels), labels)
        assert (paths[3] / "d-rxx.labels").read_bytes() == (paths[0] / "a-rxx.labels").read_bytes()
