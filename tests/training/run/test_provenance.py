"""run.json: where the files of a run come from."""

import json
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from dnnlib.images import save_image
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT, SMALL, command, make_dataset, python, run_dirs, script, train
from training.data.dataset import open_dataset
from training.run import provenance


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs")


def read(run):
    return json.loads((run / "run.json").read_text())


def test_every_session_of_a_run_is_told(data, tmp_path):
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--tick-kimg", "0.032"]
    train(*args, "--total-kimg", "0.032")
    (run,) = run_dirs(tmp_path)
    facts = read(run)
    assert facts["command"].startswith("train.py tiny --resolution 16") and facts["outcome"] == "finished"
    assert (facts["from_kimg"], facts["to_kimg"], facts["earlier"]) == (0.0, 0.032, [])
    assert datetime.fromisoformat(facts["started"]) <= datetime.fromisoformat(facts["ended"])
    assert facts["versions"]["torch"] == torch.__version__ and facts["versions"]["numpy"] == np.__version__
    assert facts["data"] == {"path": str(data), "images": 40, "fingerprint": open_dataset(data).fingerprint()}
    assert facts["devices"] == "1 x CPU with 1 thread"

    train(*args, "--total-kimg", "0.064", "--resume", run)
    again = read(run)
    assert (again["from_kimg"], again["to_kimg"]) == (0.032, 0.064)
    assert [session["to_kimg"] for session in again["earlier"]] == [0.032]

    # What a run is made of is in its log as well.
    log = (run / "log.txt").read_text()
    assert "synthesis.torgb16" in log and log.count("\ntotal  ") == 4


def test_a_file_named_stop_ends_a_run_cleanly(data, tmp_path):
    args = [*SMALL, "--data", data, "--result-dir", tmp_path, "--total-kimg", "100"]
    process = subprocess.Popen(command(*args), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("0*/stats.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    (run,) = run_dirs(tmp_path)
    (run / "stop").touch()
    assert process.wait(60) == 0
    assert read(run)["outcome"] == "stopped" and list(run.glob("checkpoint-*.pt")) and not (run / "stop").exists()

    # One that somebody left there does not end the next session.
    (run / "stop").touch()
    train(*args[:-1], read(run)["to_kimg"] + 0.032, "--resume", run)
    assert read(run)["outcome"] == "finished"


def test_a_run_that_fails_before_its_first_step_leaves_nothing(data, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    source = open_dataset(data)
    for i in range(16):
        save_image(source[i][0], images / f"{i:02d}.png")
    for path in sorted(images.glob("*.png"))[1:]:
        path.write_bytes(path.read_bytes()[:100])
    out = train(*SMALL, "--data", images, "--result-dir", tmp_path / "results", check=False)
    assert out.returncode == 2 and "not a readable image" in out.stderr
    assert not run_dirs(tmp_path / "results")


def test_errors_are_in_the_log(data, tmp_path):
    """A dataset that was damaged after the run had begun."""
    dataset = shutil.copytree(data, tmp_path / "blobs")
    args = [*SMALL, "--data", dataset, "--result-dir", tmp_path / "results", "--tick-kimg", "0.032"]
    train(*args, "--total-kimg", "0.032")
    (run,) = run_dirs(tmp_path / "results")
    (records,) = dataset.glob("*-r04.tfrecords")
    raw = bytearray(records.read_bytes())
    for start in range(len(raw) // 4 + 200, len(raw), len(raw) // 40):
        raw[start] ^= 255
    records.write_bytes(raw)

    # Large datasets are not verified beforehand.
    code = (
        "import train, training.run.entry as entry; from dnnlib import cli; entry.VERIFY_BYTES = 0; cli.run(train.main)"
    )
    options = [*map(str, args), "--total-kimg", "1", "--resume", str(run)]
    out = subprocess.run([sys.executable, "-c", code, *options], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert out.returncode == 2, out.stderr
    (error,) = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("error: ")]
    assert error in out.stderr and read(run)["outcome"] == f"failed: {error.removeprefix('error: ')}"


def test_the_version_of_the_code(tmp_path, monkeypatch):
    def git(*args):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True)

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance._code()["commit"] is None
    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "a")
    code = provenance._code()
    assert len(code["commit"]) == 40 and code["changed"] is False
    (tmp_path / "a.py").write_text("2")
    assert provenance._code()["changed"] is True


class Files(SimpleHTTPRequestHandler):
    """Serves a folder, without messages."""

    def log_message(self, *args):
        pass


def test_a_run_dir_holds_no_secrets(tmp_path):
    """Neither the token of a link, nor what the environment holds, nor, where it is not needed, the user's name."""
    home = tmp_path / "home"
    data = make_dataset(home / "blobs")
    served = partial(Files, directory=GOLDEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/c2_network-final.pkl"
        env = {**ENV, "HOME": str(home), "HF_TOKEN": "hf_s3cret", "WANDB_API_KEY": "s3cret"}
        args = ["tiny", "--resolution", "16", "--data", data, "--result-dir", tmp_path / "results", "--batch", "8"]
        args += ["--total-kimg", "0.008"]

        def go(*more):
            return python("train.py", *args, *more, env=env)

        out = go("--init", f"{url}?token=s3cret", "--save-code")
        assert out.returncode == 0, out.stderr
        [run] = run_dirs(tmp_path / "results")
        server.shutdown()

    # The run goes on, also with the link as it was given, and can be launched again while the copy is there.
    for init, kimg in ((url, "0.016"), (f"{url}?token=s3cret", "0.024")):
        out = go("--init", init, "--total-kimg", kimg, "--resume", "auto")
        assert out.returncode == 0 and run_dirs(tmp_path / "results") == [run], out.stderr
    assert json.loads((run / "config.json").read_text())["init"] == [url]

    report = tmp_path / "report.html"
    script("report.py", run, "--output", report)
    for path in (*(path for path in run.rglob("*") if path.is_file()), report):
        assert b"s3cret" not in path.read_bytes(), path
    facts = read(run)
    assert facts["data"]["path"] == "~/blobs" and "--data ~/blobs" in facts["command"] and url in facts["command"]
