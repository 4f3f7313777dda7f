import json
import subprocess
import sys

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from dataprep.sources.hugging_face import create_from_hf
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_images, image, png
from tests.runs import ENV, ROOT, script


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    base = tmp_path_factory.mktemp("hf")
    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c", "d"]),
         "parts": datasets.Sequence(datasets.Value("float32"))}
    )  # fmt: skip

    def part(indices):
        rows = {
            "photo": [Image.fromarray(image(i)) for i in indices],
            "kind": [i % 3 for i in indices],
            "parts": [[i / 4, 1.5] for i in indices],
        }
        return datasets.Dataset.from_dict(rows, features=features)

    both = datasets.DatasetDict({"train": part(range(70)), "test": part(range(70, 75))})
    (base / "hub" / "data").mkdir(parents=True)
    for k in range(2):
        shard = both["train"].shard(2, k, contiguous=True)
        shard.to_parquet(str(base / "hub" / "data" / f"train-{k:05d}-of-00002.parquet"))
    both["test"].to_parquet(str(base / "hub" / "data" / "test-00000-of-00001.parquet"))
    both.save_to_disk(str(base / "saved"))
    return base


@pytest.mark.parametrize("form", ["hub", "saved"])
def test_hugging_face(form, hub, tmp_path):
    create_from_hf(tmp_path / "train", hub / form, split="train")
    check_images(tmp_path / "train", range(70), np.eye(4)[np.arange(70) % 3])
    facts = json.loads((tmp_path / "train" / "dataset.json").read_text())
    assert facts["classes"] == ["a", "b", "c", "d"] and facts["image"] == "photo"
    script("dataset_tool.py", "create_from_hf", tmp_path / "test", hub / form, "--split", "test", "--label", "parts")
    check_images(tmp_path / "test", range(70, 75), [[i / 4, 1.5] for i in range(70, 75)])
    with pytest.raises(UserError, match="has the splits test, train, expected one to be chosen with --split"):
        create_from_hf(tmp_path / "x", hub / form)
    with pytest.raises(UserError, match=r"--split valid: not in .*, expected one of test, train"):
        create_from_hf(tmp_path / "x", hub / form, split="valid")


def test_plain_parquet_with_files_beside_it(tmp_path):
    """A column of bytes; and structs whose images lie beside the file, or lead elsewhere."""
    table = pyarrow.table({"i": [png(0), png(1), b"broken"], "label": [1, 0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    create_from_hf(tmp_path / "a", tmp_path / "a.parquet")
    check_images(tmp_path / "a", [0, 1], [[0, 1], [1, 0]])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "3.png").write_bytes(png(3))
    cells = [{"bytes": None, "path": "3.png"}, {"bytes": None, "path": "../a.parquet"}, {"bytes": png(4), "path": None}]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.table({"image": pyarrow.array(cells, kind)}), tmp_path / "in" / "b.parquet")
    create_from_hf(tmp_path / "b", tmp_path / "in")
    check_images(tmp_path / "b", [3, 4])
    assert "row 1: its image is not in the file but at ../a.parquet" in (tmp_path / "b" / "skipped.txt").read_text()


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"text": ["a"]}, {}, "no column of images, found ['text']"),
        ({"i": [b"x"]}, {"image": "photo"}, "no column of images photo, found ['i']"),
        ({"i": [b"x"]}, {"label": "kind"}, "--label kind: no such column"),
        ({"i": [b"x"], "label": ["cat"]}, {}, "column label is string, expected class numbers"),
        ({"i": [b"x"], "label": [-1]}, {}, "row 0: label -1, expected"),
        ({"i": [b"x"]}, {}, "no image to write; 1 skipped"),
    ],
)
def test_bad_tables_are_reported(table, options, message, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(UserError) as e:
        create_from_hf(tmp_path / "out", tmp_path / "a.parquet", **options)
    assert message in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_damaged_tables_are_reported(name, tmp_path):
    (tmp_path / name).write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(UserError, match="not readable"):
        create_from_hf(tmp_path / "out", tmp_path / name)


def test_booleans_are_classes_of_a_hugging_face_dataset(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"i": [png(0), png(1)], "label": [True, False]}), tmp_path / "a.parquet")
    create_from_hf(tmp_path / "out", tmp_path / "a.parquet")
    check_images(tmp_path / "out", [0, 1], [[0, 1], [1, 0]])
    with pytest.raises(UserError, match=r"--split test: .* is a file"):
        create_from_hf(tmp_path / "x", tmp_path / "a.parquet", split="test")


def test_files_without_the_columns_of_the_first_are_reported(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"i": [png(0)], "label": [1]}), tmp_path / "train-0.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"i": [png(1)]}), tmp_path / "train-1.parquet")
    with pytest.raises(UserError, match=r"train-1\.parquet: not readable: .*label"):
        create_from_hf(tmp_path / "out", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train-0.parquet", "train-1.parquet"]


def test_nothing_is_left_in_the_home_folder(hub, tmp_path):
    """No cache, and no progress bar beside ours."""
    (tmp_path / "home").mkdir()
    env = {k: v for k, v in ENV.items() if not k.startswith(("HF_", "XDG_"))} | {"HOME": str(tmp_path / "home")}
    args = ["create_from_hf", tmp_path / "out", hub / "hub", "--split", "test", "--workers", "1"]
    command = [sys.executable, "dataset_tool.py", *map(str, args)]
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    assert "img/s" in out.stderr and "examples" not in out.stderr
    assert not [p for p in (tmp_path / "home").rglob("*") if "datasets" in str(p) or "huggingface" in str(p)]


def test_hugging_face_without_its_library(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="create_from_hf: needs datasets: pip install datasets"):
        create_from_hf(tmp_path / "out", hub / "hub", split="test")


def test_names_of_files_are_not_patterns(tmp_path):
    for k, name in enumerate(("a[0].parquet", "a0.parquet")):
        pyarrow.parquet.write_table(pyarrow.table({"i": [png(k)]}), tmp_path / name)
    create_from_hf(tmp_path / "out", tmp_path / "a[0].parquet")
    check_images(tmp_path / "out", [0])
