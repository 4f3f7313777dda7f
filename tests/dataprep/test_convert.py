import json
import shutil

import numpy as np
import pytest

from dataprep.build import Output
from dataprep.compare import compare
from dataprep.convert import extract
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from tests.runs import script

RGB32 = GOLDEN / "tfrecords_rgb32"


@pytest.mark.parametrize("workers", [1, 2])
def test_extract_and_back(workers, tmp_path):
    """Images and labels of the golden dataset, made into a dataset again, are the same."""
    extract(RGB32, tmp_path / "images", output=Output(workers=workers))
    assert sorted(p.name for p in (tmp_path / "images").iterdir())[:2] == ["dataset.json", "img00000000.png"]
    script("dataset_tool.py", "create_from_images", tmp_path / "again", tmp_path / "images", "--shuffle", 0)
    out = script("dataset_tool.py", "compare", RGB32, tmp_path / "again")
    assert "identical images: 24 of 24" in out.stdout and "identical labels: 24 of 24" in out.stdout


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(3)[[0, 2, 1]], [0, 2, 1]),
        (np.eye(3)[[0, 1, 1]], [[1, 0, 0], [0, 1, 0], [0, 1, 0]]),  # as numbers, class 2 would be lost
        (np.array([[0.5, 0.5], [1, 0], [1, 1]]), [[0.5, 0.5], [1, 0], [1, 1]]),
    ],
)
def test_extracted_labels_keep_their_width(labels, expected, tmp_path):
    data = write_dataset(tmp_path / "a", np.zeros((3, 1, 8, 8), np.uint8), labels)
    extract(data, tmp_path / "images")
    found = json.loads((tmp_path / "images" / "dataset.json").read_text())["labels"]
    assert found == [[f"img{i:08d}.png", label] for i, label in enumerate(expected)]
    assert compare(data, tmp_path / "images") == 0


def test_outputs_that_exist_are_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        extract(RGB32, tmp_path / "images")
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["mine.png"]
    shutil.rmtree(tmp_path / "images")
