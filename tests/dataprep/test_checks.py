"""inspect and validate, on whole and on damaged datasets."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from dataprep.build import Output
from dataprep.convert import convert
from dataprep.sources.images import create_from_images
from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from tests.runs import script
from training.data.tfrecord import TFRecordDataset

RGB32 = GOLDEN / "tfrecords_rgb32"


def facts(path, *args):
    """What `inspect` prints, by name."""
    lines = script("dataset_tool.py", "inspect", path, *args).stdout.splitlines()
    return {line[:12].strip(): line[12:].strip() for line in lines}


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """Thirty images, two of them twice, of classes that the dataset names."""
    base = tmp_path_factory.mktemp("forms")
    convert(RGB32, base / "images", output=Output(to="folder"))
    for i, path in enumerate(sorted((base / "images").glob("*.png"))):
        (base / "in" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, base / "in" / "abc"[i % 3] / path.name)
    for i in (3, 9):
        shutil.copy(base / "in" / "a" / f"img{i:08d}.png", base / "in" / "c" / f"copy{i}.png")
    create_from_images(base / "set", base / "in", labels="folders", shuffle=0)
    convert(base / "set", base / "set.zip")
    convert(base / "set", base / "folder", output=Output(to="folder"))
    return base


@pytest.mark.parametrize("name", ["set", "set.zip", "folder"])
def test_inspect(forms, name):
    found = facts(forms / name)
    data = TFRecordDataset(forms / "set")
    x = np.stack([data[i][0] for i in range(26)]).astype(np.float64)
    assert found["images"] == "26" and found["size"] == "32x32" and found["channels"] == "3"
    assert found["resolutions"] == ("4x4 8x8 16x16 32x32" if name == "set" else "32x32")
    assert found["labels"] == "3 classes: 0 a (8), 1 b (8), 2 c (10)"
    assert found["mean"].startswith(" ".join(f"{v:.2f}" for v in x.mean((0, 2, 3))))
    assert found["deviation"] == " ".join(f"{v:.2f}" for v in x.std((0, 2, 3)))
    assert found["duplicates"].startswith("2 images equal an earlier one") and found["damage"] == "none"
    assert facts(forms / name, "--workers", 1) == found
    whole = script("dataset_tool.py", "validate", forms / name)
    assert whole.stdout == f"{forms / name}: whole\n"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, "none"),
        (np.eye(30)[[3, 3, 7]], "30 classes of 0 to 2 images"),
        ([[1, 0, 1], [0, 0, 1], [0, 0, 0]], "vectors of 3 values 0 or 1; images with a 1: 1 0 2"),
        ([[0.5, 2], [-1, 0], [0, 0]], "vectors of 2 values from -1 to 2"),
    ],
)
def test_kinds_of_labels(labels, expected, tmp_path):
    path = write_dataset(tmp_path / "x", np.zeros((3, 1, 8, 8), np.uint8), labels)
    assert facts(path)["labels"] == expected


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_validate_names_file_and_record(forms, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(forms / "set", folder)
    step = (folder / "set-r05.tfrecords").stat().st_size // 26
    for k in (3, 17):
        flip(folder / "set-r05.tfrecords", k * step + 500)
    flip(folder / "set-r03.tfrecords", 100)
    out = script("dataset_tool.py", "validate", folder, check=False)
    assert out.returncode == 1 and out.stdout.count("data checksum") == 3 and f"{folder}: 3 problems" in out.stdout
    for line in ("set-r05.tfrecords: record 3: damaged", "set-r05.tfrecords: record 17", "set-r03.tfrecords: record 0"):
        assert line in out.stdout
    shutil.copy(forms / "set" / "set-r03.tfrecords", folder)
    assert facts(folder)["damage"].startswith("2 images cannot be read")
    cut = folder / "set-r04.tfrecords"
    cut.write_bytes(cut.read_bytes()[:-9])
    out = script("dataset_tool.py", "validate", folder, check=False)
    assert out.returncode == 1 and "set-r04.tfrecords: record 25: truncated" in out.stdout
    assert f"{folder}: 3 problems" in out.stdout


def test_validate_tells_what_does_not_belong_together(forms, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(forms / "set", folder)
    np.save(folder / "x.npy", np.zeros((5, 3), np.float32))
    (folder / "x.npy").rename(folder / "set-rxx.labels")
    out = script("dataset_tool.py", "validate", folder, check=False)
    assert out.returncode == 1 and "labels float32 [5, 3], expected float32 [26, classes]" in out.stdout


@pytest.mark.parametrize("name", ["set.zip", "folder"])
def test_validate_images(forms, name, tmp_path):
    path = tmp_path / name
    if name == "folder":
        shutil.copytree(forms / name, path)
        flip(path / "img00000004.png", 60)
        (path / "img00000011.png").write_bytes(b"")
    else:
        shutil.copy(forms / name, path)
        with zipfile.ZipFile(path) as z:
            infos = [z.getinfo(f"00000/img{i:08d}.png") for i in (4, 11)]
        for info in infos:
            flip(path, info.header_offset + 100)
    out = script("dataset_tool.py", "validate", path, check=False)
    assert out.returncode == 1 and f"{path}: 2 problems" in out.stdout
    assert "img00000004.png: " in out.stdout and "img00000011.png: " in out.stdout
    assert "Traceback" not in out.stderr


def test_what_is_nothing_is_an_error(tmp_path):
    for command in ("inspect", "validate"):
        out = script("dataset_tool.py", command, tmp_path / "none", check=False)
        assert out.returncode == 2 and "no such file or folder" in out.stderr
    (tmp_path / "text.zip").write_text("x")
    assert script("dataset_tool.py", "validate", tmp_path / "text.zip", check=False).returncode == 1


def test_dataset_json_of_a_zip_says_how_it_was_made(forms):
    with zipfile.ZipFile(forms / "set.zip") as z:
        found = json.loads(z.read("dataset.json"))
    assert found["command"] == "convert" and len(found["labels"]) == 26


def test_validate_misses_levels_and_facts(forms, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(forms / "set", folder)
    (folder / "set-r03.tfrecords").unlink()
    (folder / "dataset.json").write_text("{")
    out = script("dataset_tool.py", "validate", folder, check=False)
    assert out.returncode == 1 and "note: no images of 8x8" in out.stdout and "dataset.json: not readable" in out.stdout

    # Datasets with the largest level alone are whole: training makes the others.
    (folder / "dataset.json").unlink()
    for level in ("02", "04"):
        (folder / f"set-r{level}.tfrecords").unlink()
    out = script("dataset_tool.py", "validate", folder)
    assert "note: no images of 4x4 8x8 16x16, which only the original's tools need" in out.stdout
    assert out.stdout.endswith("whole\n")
