"""Folders and zips of images as datasets."""

import json
import zipfile

import numpy as np
import pytest

from dnnlib.errors import UserError
from tests.datasets import write_images
from tests.runs import script
from training.data.archives import FolderFiles, ZipFiles
from training.data.image_dataset import ImageDataset
from training.data.tfrecord import halvings

GRAY, RGB = np.zeros((16, 16), np.uint8), np.zeros((16, 16, 3), np.uint8)


def opened(folder, **options):
    return ImageDataset(FolderFiles(folder), **options)


def noise(n, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_images_and_labels_by_index(tmp_path):
    images = noise(3)
    data = opened(write_images(tmp_path / "set.v2", *images, labels=[["0.png", 1], ["2.png", 2], ["1.png", 0]]))
    assert (len(data), data.name, data.decodes) == (3, "set.v2", True)
    assert (data.spec.resolution, data.spec.channels, data.spec.c_dim) == (16, 3, 3)
    for i, label in enumerate((1, 0, 2)):
        np.testing.assert_array_equal(data[i][0], images[i].transpose(2, 0, 1))
        np.testing.assert_array_equal(data[i][1], np.eye(3)[label])
    batch, labels = data.batch(np.array([2, 2, 0]))
    np.testing.assert_array_equal(batch, images[[2, 2, 0]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(labels, np.eye(3)[[2, 2, 1]])
    assert batch.flags.writeable and data.where(1).endswith("set.v2: 1.png")
    assert opened(tmp_path / "set.v2", use_labels=False).spec.c_dim == 0


def test_a_smaller_resolution_is_the_means(tmp_path):
    (image,) = noise(1, 32)
    folder = write_images(tmp_path / "set", image)
    for resolution, expected in zip((32, 16, 8), halvings(image.transpose(2, 0, 1)), strict=False):
        np.testing.assert_array_equal(opened(folder, resolution=resolution)[0][0], expected)
    for resolution in (4, 12, 64):
        with pytest.raises(UserError, match=rf"no images of height {resolution}, found \[8, 16, 32\]"):
            opened(folder, resolution=resolution)


def test_labels_of_a_dataset_json_are_optional(tmp_path):
    folder = write_images(tmp_path / "set", RGB)
    (folder / "dataset.json").write_text(json.dumps({"labels": None, "classes": ["a"]}))
    assert opened(folder).labels.shape == (1, 0)


@pytest.mark.parametrize("second", [GRAY, np.zeros((32, 32, 3), np.uint8)])
def test_mixed_images_are_named_when_read(second, tmp_path):
    dataset = opened(write_images(tmp_path / "set", RGB, second))
    dataset[0]
    with pytest.raises(UserError, match=r"1\.png: .* expected 3x16x16 as 0\.png"):
        dataset[1]


@pytest.mark.parametrize("i", [0, 1])
def test_a_damaged_image_is_named(tmp_path, i):
    """Also the first one: the others are read all the same."""
    folder = write_images(tmp_path / "set", *noise(3))
    path = folder / f"{i}.png"
    path.write_bytes(path.read_bytes()[:100])
    for read in (lambda: opened(folder).batch(np.arange(3)), lambda: opened(folder)[i]):
        with pytest.raises(UserError, match=rf"set: {i}\.png: not a readable image"):
            read()
    assert opened(folder)[1 - i][0].shape == opened(folder)[2][0].shape
    out = script("dataset_tool.py", "inspect", folder)
    assert "1 images cannot be read, `validate` names them" in out.stdout
    out = script("dataset_tool.py", "validate", folder, check=False)
    assert out.returncode == 1 and f"{i}.png: not a readable image" in out.stdout


def test_a_folder_of_damaged_images_is_no_dataset(tmp_path):
    folder = write_images(tmp_path / "set", *noise(2))
    for path in folder.glob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(UserError, match=r"set: 0\.png: not a readable image"):
        opened(folder)


def test_hidden_files_and_those_of_other_programs_are_left_out(tmp_path):
    folder = write_images(tmp_path / "set", RGB, RGB)
    (folder / "__MACOSX").mkdir()
    for name in (".hidden.png", "__MACOSX/a.png", "notes.txt"):
        (folder / name).write_bytes(b"x")
    assert opened(folder).names == ["0.png", "1.png"]


def test_fingerprint_tells_images_names_labels_and_resolutions_apart(tmp_path):
    def fingerprint(name="a.png", image=RGB, label=0, **options):
        write_images(tmp_path / "set", image)
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as z:
            z.write(tmp_path / "set" / "0.png", name)
            z.writestr("dataset.json", json.dumps({"labels": [[name, [label, 1]]]}))
        return ImageDataset(ZipFiles(path), **options).fingerprint()

    assert fingerprint() == fingerprint()
    others = [fingerprint(name="b.png"), fingerprint(image=RGB + 1), fingerprint(label=1), fingerprint(resolution=8)]
    others.append(fingerprint(use_labels=False))
    assert len({fingerprint(), *others}) == 6
