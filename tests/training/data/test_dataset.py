"""The same images as TFRecords, as a zip and as a folder: same index, label, pixels, and the same training."""

import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dataprep.build import Output
from dataprep.compare import compare
from dataprep.convert import convert, extract
from dnnlib.errors import UserError
from tests.datasets import write_images
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT, SMALL, assert_same_run, command, run_dirs, script, train
from training.data.dataset import class_names, open_dataset
from training.data.sampler import SampleOrder, batches

RGB32 = GOLDEN / "tfrecords_rgb32"
FORMS = ["folder", "zip", "stored zip"]


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The golden dataset in each form."""
    base = tmp_path_factory.mktemp("forms")
    extract(RGB32, base / "images")
    folder = base / "f" / "tfrecords_rgb32"
    folder.parent.mkdir()
    shutil.copytree(base / "images", folder)
    out = {"TFRecords": RGB32, "folder": folder}
    for form, method in (("zip", zipfile.ZIP_DEFLATED), ("stored zip", zipfile.ZIP_STORED)):
        (base / form).mkdir()
        out[form] = base / form / "tfrecords_rgb32.zip"
        with zipfile.ZipFile(out[form], "w", method) as z:
            for p in sorted(folder.iterdir()):
                z.write(p, p.name)
    return out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("resolution", [None, 16, 8])
def test_same_index_label_and_pixels(forms, form, resolution):
    a, b = (open_dataset(forms[f], resolution) for f in ("TFRecords", form))
    assert (a.spec, a.name, len(a)) == (b.spec, b.name, len(b))
    np.testing.assert_array_equal(a.labels, b.labels)
    for i in range(len(a)):
        for x, y in zip(a[i], b[i], strict=True):
            np.testing.assert_array_equal(x, y)
    assert open_dataset(forms[form], use_labels=False).spec.c_dim == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 2])
def test_batches_by_processes_are_those_of_the_thread(forms, form, workers):
    """Over the end of an epoch, with mirroring, for the second of two ranks."""
    streams = []
    for f in ("TFRecords", form):
        dataset = open_dataset(forms[f])
        streams.append(batches(dataset, SampleOrder(len(dataset), 3, True), 16, 8, 4, 4, workers))
    for _ in range(7):
        (x, c), (y, d) = (next(s) for s in streams)
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(c, d)
    for s in streams:
        s.close()


@pytest.mark.parametrize(("form", "gpus"), [("zip", 1), ("folder", 2)])
def test_training_is_the_same_to_the_bit(forms, form, gpus, tmp_path):
    args = [*SMALL, "--total-kimg", 0.064, "--gpus", gpus]
    for f in ("TFRecords", form):
        train(*args, "--data", forms[f], "--result-dir", tmp_path / f)
    a, b = (run_dirs(tmp_path / f)[0] for f in ("TFRecords", form))
    assert a.name == b.name
    assert_same_run(a, b)


@pytest.mark.parametrize("to", ["tfrecords", "folder", "zip"])
@pytest.mark.parametrize("form", ["TFRecords", *FORMS])
def test_every_conversion_keeps_images_and_labels(forms, form, to, tmp_path):
    dst = tmp_path / ("out.zip" if to == "zip" else "out")
    convert(forms[form], dst, output=Output(workers=2, to=None if to != "folder" else to))
    assert compare(forms["TFRecords"], dst) == 0
    if to == "zip":  # as StyleGAN2 writes them, and the same bytes whatever the number of workers
        with zipfile.ZipFile(dst) as z:
            assert z.namelist()[:2] == ["00000/img00000000.png", "00000/img00000001.png"]
            assert json.loads(z.read("dataset.json"))["labels"][0][0] == "00000/img00000000.png"
        convert(forms[form], tmp_path / "one.zip", output=Output(workers=1))
        assert (tmp_path / "one.zip").read_bytes() == dst.read_bytes()
    if to == "tfrecords":  # byte for byte the golden files
        for r in ("02", "03", "04", "05"):
            (file,) = dst.glob(f"*-r{r}.tfrecords")
            assert file.read_bytes() == (RGB32 / f"tfrecords_rgb32-r{r}.tfrecords").read_bytes()


def test_conversions_that_cannot_be(forms, tmp_path):
    (tmp_path / "a.zip").write_text("mine")
    out = script("dataset_tool.py", "convert", RGB32, tmp_path / "a.zip", check=False)
    assert out.returncode == 2 and "a.zip: exists already" in out.stderr and (tmp_path / "a.zip").read_text() == "mine"
    out = script("dataset_tool.py", "convert", tmp_path / "none", tmp_path / "b.zip", check=False)
    assert out.returncode == 2 and "none: no such file or folder" in out.stderr and not (tmp_path / "b.zip").exists()
    data = tmp_path / "damaged"
    shutil.copytree(forms["folder"], data)
    (data / "img00000017.png").write_bytes(b"x")
    out = script("dataset_tool.py", "convert", data, tmp_path / "b.zip", check=False)
    assert out.returncode == 2 and "img00000017.png: not a readable image" in out.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "damaged"]


RGB = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t / "none", "no such file or folder"),
        (lambda t: (t / "x").write_text("x") and t / "x", "not a zip archive"),
        (lambda t: write_images(t / "set"), "no *.tfrecords and no image in it"),
        (
            lambda t: write_images(t / "set", RGB[:15]),
            "0.png: found 16x15, expected even edges of at least 6 pixels, e.g. 16x16",
        ),
        (
            lambda t: write_images(t / "set", RGB, labels=[["1.png", 0]]),
            "no label for 1 of 1 images, the first is 0.png",
        ),
        (lambda t: write_images(t / "set", RGB, labels=[["0.png", "cat"]]), "label of 0.png is 'cat'"),
        (lambda t: write_images(t / "set", RGB, labels=3), "dataset.json: not readable"),
    ],
)
def test_what_is_no_dataset_is_one_line(make, message, tmp_path):
    with pytest.raises(UserError) as e:
        open_dataset(make(tmp_path))
    assert message in str(e.value)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_damaged_image_ends_training_in_one_line(forms, form, tmp_path):
    data = tmp_path / forms[form].name
    if form == "folder":
        shutil.copytree(forms[form], data)
        path = data / "img00000013.png"
        path.write_bytes(path.read_bytes()[:100])
    else:
        raw = bytearray(forms["stored zip"].read_bytes())
        with zipfile.ZipFile(forms["stored zip"]) as z:
            at = z.getinfo("img00000013.png").header_offset + 150
        raw[at] ^= 255
        data.write_bytes(raw)
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    assert [line for line in out.stderr.splitlines() if line.startswith("error:") and "img00000013.png" in line]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_do_not_outlive_a_killed_run(forms, tmp_path):
    args = [*SMALL, "--total-kimg", 100, "--data", forms["zip"], "--result-dir", tmp_path / "r"]
    process = subprocess.Popen(command(*args), cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("tick"):
            break
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) >= 2
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"classes": ["cat", 7], "labels": null}', ["cat", "7"]),
        (b'{"classes": 3}', None),
        (b"{}", None),
        (b"[]", None),
        (b"not JSON", None),
        (b"[" * 100_000, None),
        (None, None),
    ],
)
def test_class_names(form, data, expected, tmp_path):
    folder = write_images(tmp_path / "set", RGB)
    if data is not None:
        (folder / "dataset.json").write_bytes(data)
    path = folder
    if form == "zip":
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as z:
            for p in folder.iterdir():
                z.write(p, p.name)
    assert class_names(path) == expected


def test_a_folder_with_both_forms_is_one_of_records(tmp_path):
    folder = tmp_path / RGB32.name
    shutil.copytree(RGB32, folder)
    write_images(folder, RGB)
    assert open_dataset(folder).fingerprint() == open_dataset(RGB32).fingerprint()


@pytest.fixture
def running(forms, tmp_path):
    """Start a run on a copy of a dataset: (process, path of the dataset), once it has begun to read."""
    processes = []

    def start(form):
        data = tmp_path / forms[form].name
        (shutil.copytree if forms[form].is_dir() else shutil.copy)(forms[form], data)
        args = [*SMALL, "--total-kimg", 100, "--data", data, "--result-dir", tmp_path / "r"]
        process = subprocess.Popen(
            command(*args), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        while not any(path.stat().st_size for path in tmp_path.glob("r/*/stats.jsonl")):
            assert process.poll() is None
            time.sleep(0.02)
        return process, data

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("form", ["TFRecords", "zip"])
@pytest.mark.parametrize("change", ["truncated", "overwritten"])
def test_a_dataset_that_changes_during_a_run_ends_it_in_one_line(running, form, change):
    process, data = running(form)
    path = data / "tfrecords_rgb32-r04.tfrecords" if form == "TFRecords" else data
    with path.open("r+b") as file:
        if change == "truncated":
            file.truncate(1000)
        else:
            file.write(b"x")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err
    assert f"error: {path}: was changed while it was in use" in err


def test_a_folder_of_images_that_is_removed_during_a_run_ends_it_in_one_line(running):
    process, data = running("folder")
    shutil.rmtree(data)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err
    assert f"error: {data}" in err and "no such file" in err


@pytest.mark.parametrize("form", ["TFRecords", "zip"])
def test_a_dataset_that_is_removed_stays_for_the_run_that_has_it_open(running, form, tmp_path):
    process, data = running(form)
    shutil.rmtree(data) if data.is_dir() else data.unlink()
    [stats] = tmp_path.glob("r/*/stats.jsonl")
    seen = stats.stat().st_size
    while stats.stat().st_size < seen + 3 * 500:
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_run_that_is_continued_on_other_images_says_so(forms, tmp_path):
    data = tmp_path / "tfrecords_rgb32"
    shutil.copytree(forms["folder"], data)
    args = [*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--resume", "auto"]
    assert "not the images" not in train(*args, "--total-kimg", 0.064).stdout
    (data / "img00000003.png").write_bytes((data / "img00000004.png").read_bytes())
    out = train(*args, "--total-kimg", 0.128).stdout
    assert f"warning: {data}: not the images and labels that the run has been trained with so far" in out
