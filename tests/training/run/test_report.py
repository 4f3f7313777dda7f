"""What a run shows and writes, on the main process and on the others."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from config import tiny
from dnnlib import distributed
from tests.runs import make_dataset
from training.data.dataset import open_dataset
from training.run.layer_table import describe_networks
from training.run.report import Report, peak_memory
from training.run.run_dir import Run
from training.state import TrainState

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(make_dataset(tmp_path_factory.mktemp("data") / "blobs", n=8, resolution=8))


def make_report(dataset, folder, **options):
    cfg = replace(tiny(), data="blobs", resolution=8, **options)
    folder.mkdir()
    return Report(Run(folder, None, messages=["found so"]), TrainState(cfg, dataset.spec, CPU), dataset, CPU)


def finish_tick(report, nimg):
    state = report.state
    state.cur_nimg, state.tick_sec, state.wait_sec, state.total_sec = nimg, 2.0, 0.5, 2.0
    state.averages.add({"Loss/D": torch.tensor([1.0, 3.0]), "Loss/G": torch.tensor([0.5])})
    report.progress(2.0)
    report.tick(state.end_tick(), report.cfg.G_opt.lr / 2, report.cfg.D_opt.lr / 2)


def test_a_run_from_start_to_end(dataset, tmp_path, capfd):
    report = make_report(dataset, tmp_path / "run", total_kimg=1, tick_kimg=1)
    report.start()
    report.state.D_opt.skipped += 1
    finish_tick(report, 1000)
    report.save_sheets()
    report.save_snapshot()
    report.end()
    report.close()

    (row,) = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    expected = {
        "kimg": 1.0, "tick": 1, "sec_per_kimg": 2.0, "img_per_sec": 500.0, "total_sec": 2.0, "data_wait_sec": 0.5,
        "data_wait_share": 0.25, "Loss/D": 2.0, "Loss/G": 0.5, "Progress/lr": 0.0015, "Progress/skipped_steps": 1,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected and row["Resources/peak_cpu_mem_gb"] > 0

    text = (tmp_path / "run" / "log.txt").read_text()
    lines = text.splitlines()
    assert lines[0] == "found so" and lines[1].startswith("data      blobs: 8 images 3x8x8, 3 label values")
    tick = next(line for line in lines if line.startswith("tick 1"))
    for part in ("kimg 1.0", "sec/kimg 2.00", "img/s 500.0", "data wait 25.0", "D 2.000", "G 0.500", "skipped 1"):
        assert part in tick
    assert lines[-2].endswith("network-snapshot-000001.safetensors") and (report.snapshot_path).exists()
    assert lines[-1] == f"report    python report.py {tmp_path / 'run'}"
    assert (tmp_path / "run" / "8x8" / "fakes000001.png").exists() and (tmp_path / "run" / "config.json").exists()
    tables = describe_networks(report.cfg, dataset.spec)  # which the terminal need not show
    assert tables in text
    assert text.replace(f"\n{tables}\n\n", "") in capfd.readouterr().out.replace("\r", "")


def test_an_interrupted_run_says_how_to_go_on(dataset, tmp_path):
    report = make_report(dataset, tmp_path / "run", total_kimg=2)
    report.state.cur_nimg = 1000
    report.run.checkpoint = tmp_path / "checkpoint-000001.pt"
    report.start()
    report.end()
    report.close()
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "resuming at 1.000 kimg" in text and "stopped at 1.000 kimg; `--resume auto` goes on" in text
    assert not (tmp_path / "run" / "8x8").exists()  # no sheets of an untrained generator


def test_other_processes_show_and_write_nothing(dataset, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    report = make_report(dataset, tmp_path / "run")
    report.start()
    finish_tick(report, 1000)
    report.save_sheets()
    report.save_snapshot()
    report.end()
    report.close()
    assert not list((tmp_path / "run").iterdir()) and not "".join(capfd.readouterr())
    assert report.snapshot_path.name == "network-snapshot-000001.safetensors"


def test_the_memory_of_a_gpu_comes_last(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**31)
    assert list(peak_memory(SimpleNamespace(type="cuda")).items())[-1] == ("Resources/peak_gpu_mem_gb", 2.0)
    assert 0.01 < peak_memory(CPU)["Resources/peak_cpu_mem_gb"] < 1000
