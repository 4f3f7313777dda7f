import re

import numpy as np
import pytest
from PIL import Image

from dataprep.sources.celeba import create_celeba
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_dataset, order
from tests.runs import script
from training.data.dataset import class_names
from training.data.tfrecord import TFRecordDataset


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_celeba(form, tmp_path):
    folder = tmp_path / "celeba" / ("img_align_celeba_png" if form == "png" else "img_align_celeba")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)).save(folder / f"{i:06d}.{form}")
    with pytest.raises(UserError, match="5 images, expected 202599, or --allow-missing"):
        create_celeba(tmp_path / "out", tmp_path / "celeba")
    script("dataset_tool.py", "create_celeba", tmp_path / "out", tmp_path / "celeba", "--allow-missing", "--cx", 90)
    expected = []
    for i in order(5):
        with Image.open(folder / f"{i:06d}.{form}") as im:
            expected.append(np.asarray(im)[57:185, 26:154].transpose(2, 0, 1))
    check_dataset(tmp_path / "out", expected)


def test_images_of_other_sizes_are_skipped(tmp_path):
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    image = np.arange(218 * 178 * 3, dtype=np.uint32).astype(np.uint8).reshape(218, 178, 3)
    Image.fromarray(image).save(folder / "0.jpg")
    Image.fromarray(image[:200]).save(folder / "1.jpg")
    (folder / "2.jpg").write_bytes(b"broken")
    create_celeba(tmp_path / "out", tmp_path / "celeba", allow_missing=True)
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert listed.count("\n") == 2 and "1.jpg: 178x200 pixels, expected 178x218" in listed and "2.jpg: not a" in listed
    with pytest.raises(UserError, match="--cx 63 --cy 121: expected 64 to 114 and 64 to 154"):
        create_celeba(tmp_path / "x", tmp_path / "celeba", cx=63)


@pytest.mark.parametrize("form", ["txt", "csv"])
def test_attributes_become_labels(form, tmp_path):
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (178, 218), (i, 0, 0)).save(folder / f"{i:06d}.jpg")
    rows = ["000000.jpg -1 1  1", "000001.jpg 1 -1 -1", "000002.jpg -1 -1 -1", "000003.jpg  1  1  1"]
    if form == "txt":
        (tmp_path / "Anno").mkdir()
        (tmp_path / "Anno" / "list_attr_celeba.txt").write_text("\n".join(["4", "Bald Smiling Young ", *rows]) + "\n")
    else:
        lines = ["image_id,Bald,Smiling,Young", *(",".join(row.split()) for row in rows)]
        (tmp_path / "list_attr_celeba.csv").write_text("\n".join(lines))
    create_celeba(tmp_path / "out", tmp_path, labels="attributes", allow_missing=True)
    expected = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])[order(4)]
    np.testing.assert_array_equal(TFRecordDataset(tmp_path / "out").labels, expected)
    assert class_names(tmp_path / "out") == ["Bald", "Smiling", "Young"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no list_attr_celeba.txt in it"),
        ("1\nBald\n0.jpg 2\n", "line 3: expected a name and 1 numbers, 1 or -1"),
        ("1\nBald Young\n0.jpg 1\n", "line 3: expected a name and 2 numbers"),
        ("1\nBald\n9.jpg 1\n", "no attributes for 0.jpg in list_attr_celeba"),
        ("1", "not readable"),
    ],
)
def test_attributes_that_cannot_be(text, message, tmp_path):
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    Image.new("RGB", (178, 218)).save(folder / "0.jpg")
    if text is not None:
        (tmp_path / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        create_celeba(tmp_path / "out", tmp_path, labels="attributes", allow_missing=True)
