import numpy as np
from PIL import Image

from tests.golden_data import GOLDEN
from tests.runs import script
from training.data.tfrecord import TFRecordDataset

RGB32 = GOLDEN / "tfrecords_rgb32"


def test_display(tmp_path):
    out = script("dataset_tool.py", "display", RGB32, "--output", tmp_path / "sheet.png", "--first", 4)
    assert "images 4 to 23 of 24" in out.stdout
    with Image.open(tmp_path / "sheet.png") as im:
        assert im.size == (16 * 32, 2 * 32)
        first = np.asarray(im)[:32, :32].transpose(2, 0, 1)
    np.testing.assert_array_equal(first, TFRecordDataset(RGB32)[4][0])
