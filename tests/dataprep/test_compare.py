import numpy as np

from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from tests.runs import script

RGB32 = GOLDEN / "tfrecords_rgb32"


def test_compare_tells_differences(tmp_path):
    other = tmp_path / "tfrecords_rgb32"
    with np.load(GOLDEN / "tfrecords_rgb32_source.npz") as f:
        images, labels, n = f["images"].copy(), f["labels"].copy(), f["order"]
    images[n[3]] += 1
    labels[n[5]] = labels[n[5]][::-1] + 1
    write_dataset(other, images[n[:-1]], labels[n[:-1]])
    found = script("dataset_tool.py", "compare", RGB32, other, check=False)
    assert found.returncode == 1
    for line in ("images: 24 and 23", "image 3 differs", "label 5 differs", "identical images: 22 of 23"):
        assert line in found.stdout
    found = script("dataset_tool.py", "compare", RGB32, other, "--ignore_labels", 1, check=False)
    assert found.returncode == 1 and "label" not in found.stdout
    assert script("dataset_tool.py", "compare", RGB32, RGB32).returncode == 0
