"""Figures of a run outside its run dir. test_stats.py has stats.jsonl and TensorBoard."""

import json
import math
import sys
import time
from types import SimpleNamespace

import pytest

from dnnlib.errors import UserError
from dnnlib.stats import RunLog
from tests.runs import SMALL, make_dataset, run_dirs, train

ROW = {"kimg": 0.5, "Loss/D": 1.25, "Loss/scores/real": math.inf, "name": "not a number"}


def test_prometheus_has_the_last_row(tmp_path):
    folder = tmp_path / '00000-a"b'
    folder.mkdir()
    log = RunLog(folder, -1, ["prometheus"])
    log.write({"kimg": 0.25, "Loss/D": 9})
    log.write(ROW)
    log.close()
    assert (folder / "metrics.prom").read_text().splitlines() == [
        "# TYPE msg_gan_kimg gauge",
        r'msg_gan_kimg{run="00000-a\"b"} 0.5',
        "# TYPE msg_gan_loss_d gauge",
        r'msg_gan_loss_d{run="00000-a\"b"} 1.25',
        "# TYPE msg_gan_loss_scores_real gauge",
        r'msg_gan_loss_scores_real{run="00000-a\"b"} +Inf',
    ]


def test_wandb_keeps_one_run_of_a_run_that_is_continued(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    ids = []
    for kimg in (-1, 0.5):
        log = RunLog(tmp_path, kimg, ["wandb"], {"batch": 8})
        log.write({**ROW, "kimg": kimg + 1})
        ids.append(wandb.run.id)
        assert wandb.run.project == "msg-gan" and wandb.run.config["batch"] == 8
        log.close()
    assert ids[0] == ids[1] == (tmp_path / "tracker-id").read_text().strip()

    # A process of wandb's own writes the files, and may still be at it.
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    deadline = time.monotonic() + 60
    while not all(b"Loss/D" in file.read_bytes() for file in files) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(files) == 2 and all(b"Loss/D" in file.read_bytes() for file in files)


def test_trackio_keeps_one_run_of_a_run_that_is_continued(tmp_path, monkeypatch):
    # It reads the variable when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    import trackio

    folder = tmp_path / "00003-blobs"
    folder.mkdir()
    for kimg in (-1, 0.5):
        log = RunLog(folder, kimg, ["trackio"], {"batch": 8})
        log.write({**ROW, "kimg": kimg + 1})
        log.close()
    name = f"00003-blobs-{(folder / 'tracker-id').read_text().strip()}"
    [run] = [run for run in trackio.Api().runs("msg-gan") if run.name == name]
    assert run.config["batch"] == 8 and (tmp_path / "trackio").is_dir()


def test_a_tracker_that_fails_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise ConnectionError("no network")

    fake = SimpleNamespace(init=lambda **options: SimpleNamespace(log=fail, finish=fail))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log = RunLog(tmp_path, -1, ["wandb"])
    log.write(ROW)
    log.write({**ROW, "kimg": 1})
    log.close()
    assert len((tmp_path / "stats.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().err == "warning: WeightsAndBiases takes no more figures: no network\n"
    assert "ConnectionError: no network" in (tmp_path / "log.txt").read_text()


def test_a_tracker_that_does_not_begin_is_an_error(tmp_path, monkeypatch):
    def fail(**options):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=fail))
    with pytest.raises(UserError, match="--trackers wandb: no network; WANDB_MODE=offline works"):
        RunLog(tmp_path, -1, ["wandb"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="--trackers wandb: needs wandb: pip install wandb"):
        RunLog(tmp_path, -1, ["wandb"])


def test_a_run_with_trackers_and_a_heartbeat(tmp_path):
    data = make_dataset(tmp_path / "blobs")
    args = [*SMALL, "--total-kimg", 0.128, "--data", data, "--result-dir", tmp_path / "r", "--gpus", 2]
    out = train(*args, "--trackers", "prometheus", "--heartbeat", "--micro-batch", 4, "--hang-timeout", 20)
    [run] = run_dirs(tmp_path / "r")
    assert 'msg_gan_tick{run="00000-msg-stylegan-blobs-2gpu"} 2\n' in (run / "metrics.prom").read_text()
    heartbeat = json.loads((run / "heartbeat.json").read_text())
    assert [process["rank"] for process in heartbeat["processes"]] == [0, 1] and not out.stderr.count("warning")
    assert heartbeat["processes"][0]["doing"] == "end of the run at 0.128 kimg (step 16)"

    out = train(*args, "--trackers", "wandb,visdom", check=False)
    assert out.returncode == 2 and "--trackers: found visdom, expected some of prometheus, wandb" in out.stderr
    assert run_dirs(tmp_path / "r") == [run]
