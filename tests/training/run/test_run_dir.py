"""Which folder a run gets, and which run is continued."""

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from config import PRESETS, tiny
from dnnlib.errors import UserError
from training.run import run_dir
from training.run.checkpoint import save_checkpoint
from training.run.run_dir import open_run, take_lock, write_config
from training.spec import ImageSpec
from training.state import TrainState

DATASET = SimpleNamespace(name="blobs", spec=ImageSpec(resolution=8))


@pytest.fixture
def cfg(tmp_path):
    return replace(tiny(), resolution=8, result_dir=str(tmp_path), resume="auto")


def make_run(cfg, nimg):
    """A run that was trained for so many images, and ended."""
    run = open_run(replace(cfg, resume="none"), DATASET)
    write_config(run, cfg)
    state = TrainState(cfg, DATASET.spec, torch.device("cpu"))
    state.cur_nimg = nimg
    save_checkpoint(run.path, state)
    run.lock.close()
    return run.path


def test_new_runs_take_the_next_free_number(cfg, tmp_path):
    (tmp_path / "00003-something-else").mkdir()
    (tmp_path / "notes").mkdir()
    names = [open_run(replace(cfg, resume="none", gpus=gpus), DATASET).path.name for gpus in (1, 2)]
    assert names == ["00004-msg-stylegan-blobs-1gpu", "00005-msg-stylegan-blobs-2gpu"]


def test_auto_finds_the_newest_unfinished_run(cfg):
    make_run(cfg, 1000)
    second = make_run(cfg, 2000)
    make_run(cfg, 4000)  # finished
    run = open_run(cfg, DATASET)
    assert (run.path, run.checkpoint, run.cur_nimg) == (second, second / "checkpoint-000002.pt", 2000)
    assert run.messages == []


def test_auto_continues_a_run_of_another_number_of_processes(cfg):
    other = make_run(replace(cfg, gpus=2), 1000)
    run = open_run(cfg, DATASET)
    assert run.path == other and run.messages == [f"{other}: continued with --gpus 1, so far 2"]


def test_auto_starts_anew_if_all_runs_are_finished_or_differ(cfg):
    make_run(cfg, 4000)
    other = make_run(replace(cfg, mirror=True, seed=5), 1000)
    run = open_run(cfg, DATASET)
    assert run.path.name.startswith("00002-") and run.checkpoint is None
    assert run.messages == [f"{other}: not continued: started with another mirror, seed"]


def test_auto_finds_a_run_that_was_killed_between_its_last_checkpoint_and_its_end(cfg):
    path = make_run(cfg, 4000)
    for outcome, is_found in (("running, or ended without a chance to say so", True), ("finished", False)):
        (path / "run.json").write_text(json.dumps({"outcome": outcome}))
        run = open_run(cfg, DATASET)
        run.lock.close()
        assert (run.path == path) == is_found


def test_options_about_length_and_rhythm_may_change(cfg):
    path = make_run(cfg, 4000)
    assert open_run(replace(cfg, total_kimg=8, tick_kimg=2, keep_last=5, compile=True), DATASET).path == path


def test_a_run_with_former_names_of_options_is_continued(cfg):
    cfg = replace(cfg, D=replace(cfg.D, resolutions=(4,)))
    path = make_run(cfg, 1000)
    values = json.loads((path / "config.json").read_text())
    values["D"]["levels"] = values["D"].pop("resolutions")
    values["minibatch_repeats"] = 4
    (path / "config.json").write_text(json.dumps(values))
    assert open_run(cfg, DATASET).path == path


def test_auto_leaves_a_run_alone_that_is_being_trained(cfg, monkeypatch):
    monkeypatch.setattr(run_dir.time, "sleep", lambda seconds: None)
    path = make_run(cfg, 1000)
    lock = take_lock(path)
    assert lock and take_lock(path) is None
    run = open_run(cfg, DATASET)
    assert run.path != path and run.messages == [f"{path}: not continued: another process is training it"]
    with pytest.raises(UserError, match="another process is training this run"):
        open_run(replace(cfg, resume=str(path)), DATASET)

    lock.close()
    assert open_run(replace(cfg, resume=str(path)), DATASET).path == path


def test_reopening_cleans_up_and_falls_back(cfg):
    path = make_run(cfg, 1000)
    (path / ".stats.jsonl.17.partial").write_text("half")
    (path / "checkpoint-000002.pt").write_bytes(b"half")
    run = open_run(cfg, DATASET)
    assert run.checkpoint == path / "checkpoint-000001.pt" and not list(path.glob(".*.partial"))
    assert len(run.messages) == 1 and "checkpoint-000002.pt: damaged checkpoint" in run.messages[0]


def test_auto_starts_a_run_over_that_has_no_whole_checkpoint(cfg):
    path = make_run(cfg, 1000)
    (path / "checkpoint-000001.pt").write_bytes(b"half")
    run = open_run(cfg, DATASET)
    assert run.path == path and run.checkpoint is None and "starting over" in run.messages[-1]


def test_a_run_dir_is_continued_with_other_options(cfg):
    path = make_run(cfg, 4000)
    run = open_run(replace(cfg, resume=str(path), mirror=True), DATASET)
    assert run.checkpoint == path / "checkpoint-000004.pt"
    assert run.messages == [f"{path}: continued with another mirror"]


def test_a_checkpoint_file_starts_a_new_run(cfg):
    file = make_run(cfg, 1000) / "checkpoint-000001.pt"
    run = open_run(replace(cfg, resume=str(file)), DATASET)
    assert run.path.name.startswith("00001-") and run.checkpoint == file
    with pytest.raises(UserError, match=r"G\.mapping_layers is 2, expected 3"):
        open_run(replace(cfg, resume=str(file), G=replace(cfg.G, mapping_layers=3)), DATASET)
    assert len(list(file.parent.parent.iterdir())) == 2


def test_what_cannot_be_resumed(cfg, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, message in ((tmp_path / "none", "no such run dir or checkpoint"), (folder, "not a run dir")):
        with pytest.raises(UserError, match=message):
            open_run(replace(cfg, resume=str(path)), DATASET)

    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="no checkpoint in it"):
        open_run(replace(cfg, resume=str(folder)), DATASET)


def test_other_processes_get_everything_but_the_lock(cfg):
    run = open_run(cfg, DATASET)
    copy = pickle.loads(pickle.dumps(run))
    assert run.lock is not None and copy == replace(run, lock=None, is_new=False)


def test_config_json_keeps_the_checkpoint_that_a_run_started_from(cfg, tmp_path):
    run = open_run(cfg, DATASET)
    file = tmp_path / "checkpoint-000001.pt"
    file.touch()
    for resume, kept in (("auto", "none"), (str(tmp_path), "none"), (str(file), str(file))):
        write_config(run, replace(cfg, resume=resume))
        assert json.loads((run.path / "config.json").read_text())["resume"] == kept


def start_runs(result_dir, kind, count):
    """Start runs one after the other, as fast as possible; return their names."""
    cfg = replace(PRESETS[kind](), result_dir=str(result_dir))
    return [open_run(cfg, SimpleNamespace(name="blobs")).path.name for _ in range(count)]


def test_runs_that_start_at_once_get_numbers_of_their_own(tmp_path):
    kinds = ["tiny", "progan-robohash"] * 2
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        names = [name for part in pool.map(start_runs, [tmp_path] * 4, kinds, [10] * 4) for name in part]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    assert sorted(int(name.partition("-")[0]) for name in names) == list(range(40))
    assert len({name.partition("-")[2] for name in names}) == 2
