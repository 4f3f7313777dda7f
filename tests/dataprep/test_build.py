"""Making datasets: interrupted, in parts, by workers that crash, beside another process."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from dataprep.build import Output, build, shuffled
from dataprep.rules import Picture, Refused, Rules
from dataprep.sources.images import create_from_images
from dataprep.sources.source import Items
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.runs import ENV, ROOT, script
from training.data.dataset import open_dataset
from training.data.tfrecord import TFRecordDataset


def content(path):
    """Everything in a folder, or the bytes of a file."""
    return {p.name: p.read_bytes() for p in path.iterdir()} if path.is_dir() else path.read_bytes()


def numbers(n=40, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixty small JPEGs of three classes, some of them damaged or animated; the first five are gray."""
    folder = tmp_path_factory.mktemp("pictures") / "in"
    rng = np.random.default_rng(0)
    for i in range(60):
        (folder / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
        path = folder / "abc"[i % 3] / f"{i:02d}.jpg"
        image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
        if i % 20 == 7:
            path.write_bytes(b"no image")
        elif i % 20 == 8:
            image.save(path.with_suffix(".gif"), save_all=True, append_images=[image.rotate(90)])
        else:
            (image.convert("L") if i in (0, 3, 6, 9, 12) else image).save(path)
    return folder


@pytest.fixture(scope="module")
def many_pictures(tmp_path_factory):
    """So many images that their conversion takes seconds: one file under 20,000 names."""
    folder = tmp_path_factory.mktemp("many") / "in"
    folder.mkdir()
    Image.fromarray(numbers(1, 32)[0].transpose(1, 2, 0)).save(folder / "x.png")
    for i in range(20000):
        os.link(folder / "x.png", folder / f"{i:05d}.png")
    return folder


def start(folder, pictures):
    """A conversion of pictures to `folder`/x by a process group of its own, once it has begun to write."""
    with open(folder / "stderr", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "dataset_tool.py", "create_from_images", folder / "x", pictures, "--workers", "2"],
            cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
        )  # fmt: skip
    end = time.monotonic() + 120
    while process.poll() is None and not any(folder.glob(".x.*.partial/*")) and time.monotonic() < end:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_conversion_leaves_nothing(number, status, many_pictures, tmp_path):
    """Ctrl-C reaches the whole process group, as in a terminal; SIGTERM the main process, as from a scheduler."""
    process = start(tmp_path, many_pictures)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    assert process.wait(30) == status
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"stderr"}


def test_a_killed_conversion_does_not_hinder_the_next_one(many_pictures, tmp_path):
    process = start(tmp_path, many_pictures)
    process.kill()
    assert process.wait(30) == -9 and not (tmp_path / "x").exists()
    assert len(TFRecordDataset(write_dataset(tmp_path / "x", numbers()))) == 40


@pytest.mark.parametrize("form", ["tfrecords", "zip"])
def test_the_later_one_of_two_processes_is_refused(form, tmp_path):
    """The other process finishes the same dataset in the middle of the work."""
    path, images = tmp_path / "out", numbers()

    def item(i):
        if i == 20:
            build(path, Items(3, images.__getitem__), None, Output(to=form), {})
        return images[i]

    with pytest.raises(UserError, match="out: exists already"):
        build(path, Items(40, item), None, Output(to=form), {})
    assert len(open_dataset(path)) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_number_of_workers_changes_no_byte(pictures, tmp_path):
    """With skipped files, notes, labels, and gray images among coloured ones."""
    made = []
    for workers in (1, 3):
        output = Output(workers=workers)
        path = tmp_path / str(workers) / "out"
        create_from_images(path, pictures, labels="folders", picture=Rules(resize=4), output=output)
        made.append(content(path))
    assert made[0] == made[1] and len(made[0]["skipped.txt"].splitlines()) == 3


def test_what_a_zip_leaves_out_is_listed_beside_it(tmp_path, capsys):
    path = tmp_path / "out.zip"
    build(path, Items(30, int), OnlyEven(), Output(workers=1), {})
    assert len(open_dataset(path)) == 15
    listed = (tmp_path / "out.zip.skipped.txt").read_text().splitlines()
    assert listed == [f"image {i}: is odd" for i in range(1, 30, 2)]
    assert f"skipped 15 of 30, listed in {path}.skipped.txt:" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no image to write; 1 skipped, e\.g\. image 0: is odd"):
        build(tmp_path / "none", Items(1, lambda i: 1), OnlyEven(), Output(workers=1), {})
    assert not (tmp_path / "none").exists()


class OnlyEven:
    """Refuses odd numbers."""

    def __call__(self, i):
        return Refused("is odd") if i % 2 else Picture(np.full((1, 8, 8), i, np.uint8))


def test_parts_of_a_collection(pictures, tmp_path):
    def names(**options):
        n = options.pop("n")
        create_from_images(tmp_path / str(n), pictures, picture=Rules(resize=3), output=Output(**options))
        data = TFRecordDataset(tmp_path / str(n))
        assert len(data) <= n
        return [data[i][0].tobytes() for i in range(len(data))]

    everything = names(n=60)
    assert names(n=10, max_images=10) == everything[:10]
    part = names(n=20, subset=20)
    assert len(part) >= 17 and [x for x in everything if x in part] == part
    assert names(n=21, subset=20) == part
    with pytest.raises(UserError, match="--subset 61: expected at most 60"):
        names(n=61, subset=61)


class Crash:
    """Ends the process for some entries."""

    def __call__(self, i):
        if i in (5, 23):
            os._exit(1)
        return Picture(np.full((1, 8, 8), i, np.uint8)) if i != 9 else Refused("is nine")


def test_an_entry_that_crashes_its_worker_is_skipped_and_named(tmp_path):
    build(tmp_path / "out", Items(40, int), Crash(), Output(workers=2), {})
    data = TFRecordDataset(tmp_path / "out")
    assert [int(data[i][0][0, 0, 0]) for i in range(len(data))] == [i for i in range(40) if i not in (5, 9, 23)]
    assert (tmp_path / "out" / "skipped.txt").read_text().splitlines() == [
        "image 5: ends the process that reads it",
        "image 9: is nine",
        "image 23: ends the process that reads it",
    ]
    with pytest.raises(UserError, match="image 5: ends the process that reads it"):
        build(tmp_path / "strict", Items(40, int), Crash(), Output(workers=2, strict=True), {})
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("at", [1, 3, 10])
def test_gray_images_among_coloured_ones_become_rgb(at, tmp_path):
    """The first coloured one at any place; the same as when all are made RGB from the start."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (3 if i == at or i > 6 else 1, 16, 16), dtype=np.uint8) for i in range(12)]
    build(tmp_path / "a" / "x", Items(12, images.__getitem__), None, Output(), {})
    rgb = [i if len(i) == 3 else i.repeat(3, 0) for i in images]
    build(tmp_path / "b" / "x", Items(12, rgb.__getitem__), None, Output(), {})
    assert content(tmp_path / "a" / "x") == content(tmp_path / "b" / "x")


def test_a_full_disk_is_reported_and_leaves_no_dataset(pictures, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "dataset_tool.py", "create_from_images", tmp_path / "x", pictures, "--resize", "7"]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert out.returncode == 2 and "x: cannot write: file too large" in out.stderr and "Traceback" not in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_labels_is_reported(tmp_path):
    for labels, message in (
        (np.array([[0.5, 1], [np.inf, 0]]), "image 1: label"),
        (np.array([[0.5, 1], [np.nan, 0]]), "image 1: label"),
    ):
        with pytest.raises(UserError, match=message):
            write_dataset(tmp_path / "x", numbers(2), labels)
    assert list(tmp_path.iterdir()) == []


MEMORY = """
    import re, sys
    from pathlib import Path
    from dataprep.sources.images import create_from_images
    from dataprep.build import Output
    if __name__ == "__main__":
        create_from_images(Path(sys.argv[2]), Path(sys.argv[1]), labels="folders", output=Output(workers=1))
        print("VmHWM", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_memory_of_a_million_images_stays_below_a_gibibyte(form, tmp_path):
    """What 20,000 images take more than 2,000 did, for a million."""
    png = tmp_path / "x.png"
    Image.new("RGB", (8, 8), "red").save(png)
    (tmp_path / "make.py").write_text(textwrap.dedent(MEMORY))
    used = []
    for n in (2000, 20000):
        names = [f"{i % 10}/{i // 1000:05d}/img{i:08d}.png" for i in range(n)]
        source = tmp_path / f"in{n}{'.zip' if form == 'zip' else ''}"
        if form == "zip":
            with zipfile.ZipFile(source, "w") as z:
                for name in names:
                    z.writestr(name, png.read_bytes())
        else:
            for name in names:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(png, source / name)
        command = [sys.executable, tmp_path / "make.py", source, tmp_path / f"out{n}"]
        env = {**ENV, "PYTHONPATH": str(ROOT)}
        out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=True)
        used.append(int(re.search(r"VmHWM (\d+)", out.stdout)[1]) * 1024)
    assert used[0] + (used[1] - used[0]) / 18000 * 1e6 < 2**30, used


def test_dataset_json_says_how_it_was_made(pictures, tmp_path):
    script("dataset_tool.py", "create_from_images", tmp_path / "out", pictures, "--resize", 4, "--fit", "pad",
           "--filter", "box", "--background", "black", "--labels", "folders", "--max-images", 9)  # fmt: skip
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    expected = {
        "command": "create_from_images", "resize": 4, "fit": "pad", "filter": "box", "background": "black",
        "shuffle": 1, "labels": "folders", "num_images": 9, "resolution": 16, "channels": 3, "classes": ["a", "b", "c"],
    }  # fmt: skip
    assert {k: facts[k] for k in expected} == expected


def test_the_original_order_is_that_of_its_seed():
    expected = np.arange(1000)
    np.random.RandomState(123).shuffle(expected)
    np.testing.assert_array_equal(shuffled(1000), expected)


def test_places_that_cannot_take_a_dataset(tmp_path, monkeypatch):
    one = np.zeros((1, 1, 8, 8), np.uint8)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write_dataset(tmp_path / "link", one)  # what the link leads to
    assert len(TFRecordDataset(tmp_path / "empty")) == 1
    with pytest.raises(UserError, match="mount point"):
        write_dataset("/proc", one)
    with pytest.raises(UserError, match="cannot create"):
        write_dataset(tmp_path / ("x" * 300), one)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="exists already"):
        write_dataset(".", one)
    out = script("dataset_tool.py", "convert", tmp_path / "empty", tmp_path / "x.zip", "--shard-mb", 5, check=False)
    assert out.returncode == 2 and "only TFRecords have shards" in out.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"empty", "link"}


@pytest.mark.parametrize("form", ["tfrecords", "folder", "zip"])
def test_gray_and_coloured_images_become_rgb_in_every_form(form, tmp_path, capsys):
    images = [np.full((1, 8, 8), 7, np.uint8), np.full((3, 8, 8), 9, np.uint8)]
    path = tmp_path / ("out.zip" if form == "zip" else "out")
    build(path, Items(2, images.__getitem__), None, Output(to=form), {})
    dataset = open_dataset(path)
    assert [dataset[i][0].shape for i in range(2)] == [(3, 8, 8)] * 2 and (dataset[0][0] == 7).all()
    assert "gray and coloured images are mixed: starting again" in capsys.readouterr().err
