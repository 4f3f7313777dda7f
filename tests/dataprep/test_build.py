"""Making datasets: interrupted and continued, sharded, in parts, by workers that crash."""

import fcntl
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

from dataprep import job
from dataprep.build import Output, build, shuffled
from dataprep.compare import compare
from dataprep.rules import Picture, Refused, Rules
from dataprep.sources.images import create_from_images
from dataprep.sources.source import Items
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.runs import ENV, ROOT, script
from training.data.dataset import open_dataset
from training.data.labels import OneHot
from training.data.tfrecord import TFRecordDataset


def content(path):
    """Everything in a folder, or the bytes of a file."""
    return {p.name: p.read_bytes() for p in path.iterdir()} if path.is_dir() else path.read_bytes()


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


HALTING = """
    import os, sys, signal
    from dataprep import build
    from dataprep import job
    from dataprep.sources import source as sources
    job.COMMIT_SECONDS = {seconds}
    original, left = job.Job.take, [{after}]
    def take(self, *args, **options):
        left[0] -= 1
        if left[0] < 0:
            {halt}
        return original(self, *args, **options)
    job.Job.take = take
    from dataprep.command import main
    from dnnlib import cli
    cli.run(main)
"""


def halted(args, after, halt, seconds=0.0):
    """dataset_tool.py, ended in its own way before its entry number `after` is written."""
    code = textwrap.dedent(HALTING).format(after=after, halt=halt, seconds=seconds)
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("form", ["tfrecords", "shards", "folder", "zip"])
@pytest.mark.parametrize(
    ("halt", "after", "seconds"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 3, 0.0),  # gray images so far, and they become RGB later
        ("os.kill(os.getpid(), signal.SIGKILL)", 33, 0.0),
        ("os.kill(os.getpid(), signal.SIGINT)", 33, 100.0),  # is committed when it is interrupted
    ],
)
def test_a_continued_conversion_gives_the_same_bytes(pictures, form, halt, after, seconds, tmp_path):
    """Whatever ended the first attempt: with skipped files, notes and labels."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    name = "out.zip" if form == "zip" else "out"
    made = tmp_path / "made"
    options = ["--resize", 4, "--labels", "folders", "--workers", 2]
    if form in ("tfrecords", "shards"):
        extra = ["--shard-mb", 1, "--resize", 7] if form == "shards" else []
        args = ["create_from_images", "DST", pictures, "--shuffle", 0, *options, *extra]
    else:
        script("dataset_tool.py", "create_from_images", made, pictures, *options)
        args = ["convert", made, "DST", "--to", form]
    whole, broken = ([tmp_path / sub / name if a == "DST" else a for a in args] for sub in "ab")
    script("dataset_tool.py", *whole)
    out = halted(broken, after, halt, seconds)
    assert out.returncode == (-9 if "SIGKILL" in halt else 130), out.stderr
    assert [p.name for p in (tmp_path / "b").iterdir()] == [f".{name}.partial"]
    if "SIGINT" in halt:
        assert "the same command with --continue goes on" in out.stderr and "Traceback" not in out.stderr
    again = script("dataset_tool.py", *broken, "--continue")
    assert re.search(r"going on after \d+ images", again.stderr)
    assert content(tmp_path / "a" / name) == content(tmp_path / "b" / name)
    assert {p.name for p in (tmp_path / "b").iterdir()} == {name}
    if form in ("tfrecords", "shards"):
        assert "skipped 3 of 60" in again.stderr and "animated, its first frame taken" in again.stderr


def test_without_continue_it_starts_again_and_other_conversions_are_told_apart(pictures, tmp_path):
    args = ["create_from_images", tmp_path / "out", pictures, "--resize", 4]
    assert halted(args, 20, "os._exit(1)").returncode == 1
    other = script("dataset_tool.py", *args[:-1], 3, "--continue", check=False)
    assert other.returncode == 2 and "belongs to another conversion: resize was 4, is 3" in other.stderr
    script("dataset_tool.py", *args)
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    assert script("dataset_tool.py", *args[:1], tmp_path / "b", *args[2:], "--continue").returncode == 0  # nothing to


def test_a_damaged_rest_cannot_be_continued(pictures, tmp_path):
    args = ["create_from_images", tmp_path / "out", pictures, "--resize", 4]
    halted(args, 20, "os._exit(1)")
    next((tmp_path / ".out.partial").glob("records*/00-*")).write_bytes(b"")
    out = script("dataset_tool.py", *args, "--continue", check=False)
    assert out.returncode == 2 and "is damaged" in out.stderr and "delete it to start again" in out.stderr


def test_ctrl_c_of_a_real_conversion(tmp_path):
    """A whole process group, as a terminal does it."""
    args = ["create_robohash", tmp_path / "x", "--num-images", 1000000, "--resolution", 32]
    with open(tmp_path / "stderr", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "dataset_tool.py", *map(str, args)],
            cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
        )  # fmt: skip
    end = time.monotonic() + 120
    while process.poll() is None and not any(tmp_path.glob(".x.partial/records/*")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    stderr = (tmp_path / "stderr").read_text()
    assert "Traceback" not in stderr and stderr.endswith("interrupted\n")
    assert {p.name for p in tmp_path.iterdir()} <= {".x.partial", "stderr"}


def test_two_processes_do_not_make_one_dataset(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    with open(tmp_path / ".out.partial" / "journal", "w") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is making it"):
            write_dataset(tmp_path / "out", np.zeros((1, 1, 8, 8), np.uint8))


def numbers(n=40, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


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


def test_parts_of_a_collection(pictures, tmp_path):
    def made(name, **options):
        create_from_images(tmp_path / name, pictures, picture=Rules(resize=3), output=Output(**options))
        return [x.tobytes() for x, _ in map(TFRecordDataset(tmp_path / name).__getitem__, range(options["n"]))]

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


def test_an_entry_that_crashes_its_worker_is_skipped_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "COMMIT_SECONDS", 1000.0)  # a slow machine would keep what is done before the error
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


def test_a_full_disk_is_told_and_leaves_no_dataset(pictures, tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "dataset_tool.py", "create_from_images", tmp_path / "x", pictures, "--resize", "7"]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert out.returncode == 2 and "x: cannot write: file too large" in out.stderr and "Traceback" not in out.stderr
    assert list(tmp_path.iterdir()) == []


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


def test_what_is_wrong_with_labels_is_told(tmp_path):
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


def test_commits_come_every_few_seconds():
    assert 1 <= job.COMMIT_SECONDS <= 60


FINISHING = """
    import os, signal, sys
    from dataprep import job
    from dataprep import writers
    original = {where}
    def halt(*args, **options):
        os.kill(os.getpid(), signal.{signal})
        return original(*args, **options)
    {where} = halt
    from dataprep.command import main
    from dnnlib import cli
    cli.run(main)
"""


@pytest.mark.parametrize("form", ["tfrecords", "zip"])
@pytest.mark.parametrize("where", ["job.os.replace", "job.fsync", "writers.json.dumps"])
def test_killed_while_finishing(pictures, form, where, tmp_path):
    """Also then it is continued, with the same bytes."""
    name = "out.zip" if form == "zip" else "out"
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    script("dataset_tool.py", "create_from_images", tmp_path / "made", pictures, "--resize", 4, "--labels", "folders")
    if form == "zip":
        whole, broken = (["convert", tmp_path / "made", tmp_path / sub / name] for sub in "ab")
    else:
        options = ["--resize", 4, "--labels", "folders"]
        whole, broken = (["create_from_images", tmp_path / sub / name, pictures, *options] for sub in "ab")
    script("dataset_tool.py", *whole)
    code = textwrap.dedent(FINISHING).format(where=where, signal="SIGKILL")
    command = [sys.executable, "-c", code, *map(str, broken)]
    assert subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, timeout=120).returncode == -9
    script("dataset_tool.py", *broken, "--continue")
    assert content(tmp_path / "a" / name) == content(tmp_path / "b" / name)


def test_ctrl_c_while_finishing_waits_for_the_end(pictures, tmp_path):
    args = ["create_from_images", tmp_path / "out", pictures, "--resize", 4, "--labels", "folders"]
    code = textwrap.dedent(FINISHING).format(where="job.fsync", signal="SIGINT")
    command = [sys.executable, "-c", code, *map(str, args)]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=120)
    assert out.returncode == 130 and "Traceback" not in out.stderr
    assert len(TFRecordDataset(tmp_path / "out")) == 57 and [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_changed_collection_is_not_continued(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(30):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(folder / f"{i:02d}.png")
    args = ["create_from_images", tmp_path / "out", folder]
    halted(args, 20, "os._exit(1)")
    Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(folder / "03.png")
    out = script("dataset_tool.py", *args, "--continue", check=False)
    assert out.returncode == 2 and "belongs to another conversion: fingerprint was" in out.stderr


def test_strict_tells_what_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(job, "COMMIT_SECONDS", 0.0)
    with pytest.raises(UserError, match="image 9: is nine"):
        build(tmp_path / "out", Items(40, int), NoNine(), Output(strict=True, workers=1), {})
    assert "9 images are done and kept" in capsys.readouterr().err


class NoNine:
    def __call__(self, i):
        return Refused("is nine") if i == 9 else Picture(np.full((1, 8, 8), i, np.uint8))


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
