"""Runs whose results belong into an object store, in real processes against an S3 server on this machine."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from tests.object_server import BUCKET, object_server
from tests.runs import ENV, ROOT, SMALL, assert_same_run, command, make_dataset, newest_checkpoint, run_dirs, train

OPTIONS = [*SMALL, "--total-kimg", 0.256, "--seed", 3]
server = pytest.fixture(object_server)
RUN = "00000-msg-stylegan-blobs-1gpu"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(dataset, run dir of an undisturbed run on a disk)."""
    folder = tmp_path_factory.mktemp("reference")
    data = make_dataset(folder / "blobs")
    train(*OPTIONS, "--data", data, "--result-dir", folder / "results")
    return data, run_dirs(folder / "results")[0]


def launch(server, home, *args):
    """Start a run on a machine with this home folder."""
    env = {**ENV, **server.env, "XDG_CACHE_HOME": str(home)}
    return subprocess.Popen(
        command(*OPTIONS, "--result-dir", f"s3://{BUCKET}/results", *args), cwd=ROOT, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=200)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def manifest(fs):
    return json.loads(fs.cat_file(f"{BUCKET}/results/{RUN}/manifest.json"))["files"]


def download(fs, folder):
    """The run as the manifest describes it, which must be whole."""
    for name, entry in manifest(fs).items():
        content = fs.cat_file(f"{BUCKET}/results/{RUN}/{entry['key']}")
        assert len(content) == entry["size"] and hashlib.sha256(content).hexdigest() == entry["sha256"]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_run_is_in_the_store_when_it_has_ended(reference, server, tmp_path):
    data, whole = reference
    moto, fs = server
    status, out, _ = finish(launch(moto, tmp_path / "home", "--data", data))
    assert status == 0 and f"results   s3://{BUCKET}/results/{RUN}, from {tmp_path}" in out
    copy = download(fs, tmp_path / "copy")
    assert_same_run(whole, copy)
    assert json.loads((copy / "run.json").read_text())["outcome"] == "finished"
    assert json.loads((copy / "config.json").read_text())["result_dir"] == f"s3://{BUCKET}/results"

    # Nothing is left over of earlier states.
    keys = {key.removeprefix(f"{BUCKET}/results/{RUN}/") for key in fs.find(f"{BUCKET}/results")}
    assert keys == {entry["key"] for entry in manifest(fs).values()} | {"manifest.json"}
    assert not list((tmp_path / "home").rglob(".uploads/*"))

    # The next run has the next number, on another machine as well.
    status, out, _ = finish(launch(moto, tmp_path / "other", "--data", data, "--total-kimg", 0.064))
    assert status == 0 and f"results/00001-msg-stylegan-blobs-1gpu, from {tmp_path}/other" in out


def test_a_run_that_is_killed_goes_on_on_another_machine(reference, server, tmp_path):
    """Every third request fails, besides."""
    data, whole = reference
    moto, fs = server
    moto.fail_every = 3
    rng = random.Random(1)
    for attempt in range(3):
        process = launch(moto, tmp_path / f"machine{attempt}", "--data", data, "--resume", "auto")
        puts = moto.requests["PUT"]
        while process.poll() is None and moto.requests["PUT"] < puts + 4 * (attempt + 1):
            time.sleep(0.01)

        # A run of which nothing is in the store yet cannot go on elsewhere.
        moto.fail_every = 0
        while process.poll() is None and not fs.exists(f"{BUCKET}/results/{RUN}/manifest.json"):
            time.sleep(0.01)
        moto.fail_every = 3
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()

        # Whatever was being uploaded, the manifest describes a whole run.
        moto.fail_every = 0
        download(fs, tmp_path / f"after{attempt}")
        moto.fail_every = 3

    status, _, err = finish(launch(moto, tmp_path / "last", "--data", data, "--resume", "auto"))
    assert status == 0, err
    assert moto.failed > 5
    moto.fail_every = 0
    assert_same_run_in_store(whole, download(fs, tmp_path / "copy"))


def assert_same_run_in_store(whole, copy):
    """Sheets from before a run moved to another machine are in the store only if they were uploaded then."""
    for path in whole.rglob("fakes*.png"):
        name = path.relative_to(whole)
        if not (copy / name).exists():
            shutil.copy(path, copy / name)
    assert_same_run(whole, copy)


def test_a_store_that_fails_does_not_end_the_run(reference, server, tmp_path):
    data, whole = reference
    moto, fs = server
    env = {**ENV, **moto.env, "XDG_CACHE_HOME": str(tmp_path / "home")}
    args = [
        *OPTIONS,
        "--result-dir",
        f"s3://{BUCKET}/results",
        "--data",
        data,
        "--resume",
        "auto",
        "--total-kimg",
        0.192,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults", "impatient:*:*", *map(str, args)], cwd=ROOT, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not fs.exists(f"{BUCKET}/results/{RUN}/manifest.json"):
        time.sleep(0.05)
    moto.fail_every = 1
    status, out, err = finish(process)
    assert status == 2 and "finished 0.2 kimg" in out
    assert "warning: s3://bucket/results" in err and "tried 6 times" in err
    [local] = (tmp_path / "home").rglob(RUN)
    assert f"everything is in {local}" in err

    # Once the store answers, what is here goes there.
    moto.fail_every = 0
    status, _, err = finish(launch(moto, tmp_path / "home", "--data", data, "--resume", "auto"))
    assert status == 0, err
    assert_same_run(whole, download(fs, tmp_path / "copy"))


def test_a_run_of_the_store_is_continued_by_its_url(reference, server, tmp_path):
    data, _ = reference
    moto, fs = server
    assert finish(launch(moto, tmp_path / "a", "--data", data, "--total-kimg", 0.064))[0] == 0
    url = f"s3://{BUCKET}/results/{RUN}"
    status, out, _ = finish(launch(moto, tmp_path / "b", "--data", data, "--total-kimg", 0.128, "--resume", url))
    assert status == 0 and "resuming at 0.064 kimg" in out
    assert newest_checkpoint(download(fs, tmp_path / "copy"))["progress"]["cur_nimg"] == 128


def test_what_is_wrong_with_a_store_is_one_line(reference, server, tmp_path):
    data, _ = reference
    moto, fs = server
    for place, text in (
        ("s3://no-such-bucket/results", "s3://no-such-bucket/results"),
        ("nosuch://x/results", "nosuch://x/results: Protocol not known"),
    ):
        status, _, err = finish(launch(moto, tmp_path / "home", "--data", data, "--result-dir", place))
        assert status == 2 and f"error: {text}" in err
    fs.pipe_file(f"{BUCKET}/results/{RUN}/manifest.json", b'{"version": 1, "files": {"../x": {}}}')
    status, _, err = finish(launch(moto, tmp_path / "home", "--data", data, "--resume", "auto"))
    assert status == 2 and f"error: s3://bucket/results/{RUN}/manifest.json: " in err
    assert os.listdir(tmp_path) == ["home"]
