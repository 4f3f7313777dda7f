from dataclasses import replace

import pytest

from config import PRESETS, tiny
from tests.runs import SMALL, make_dataset, newest_checkpoint, run_dirs, train
from training.run import forecast
from training.run.cost import estimate_cost
from training.run.micro_batch import choose_micro_batch, largest_fitting, sizes
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=16)


def with_batch(cfg, **changes):
    return replace(cfg, batch=24, micro_batch="auto", **changes)


def test_only_sizes_that_compute_the_same_count():
    cfg = with_batch(tiny())
    assert list(sizes(cfg)) == [24, 12, 8, 4]
    assert list(sizes(replace(cfg, gpus=2))) == [12, 4]
    assert list(sizes(replace(cfg, gpus=8))) == [3]

    # Without minibatch stddev any divisor will do; one group of all images, or a mean over them, needs all.
    assert list(sizes(replace(cfg, D=replace(cfg.D, mbstd_num_features=0)))) == [24, 12, 8, 6, 4, 3, 2, 1]
    assert list(sizes(replace(cfg, D=replace(cfg.D, mbstd_group_size=None)))) == [24]
    assert list(sizes(replace(cfg, loss=replace(cfg.loss, name="lsgan")))) == [24]
    assert list(sizes(with_batch(PRESETS["progan-robohash"]()))) == [24]


def test_the_largest_that_fits_is_taken():
    cfg = with_batch(tiny())
    needed = {size: estimate_cost(replace(cfg, micro_batch=size), SPEC).peak_bytes for size in sizes(cfg)}
    assert sorted(needed.values(), reverse=True) == list(needed.values())
    for size, peak in needed.items():
        assert largest_fitting(cfg, SPEC, peak) == (size, peak)
    assert largest_fitting(cfg, SPEC, 1) == (4, needed[4])


@pytest.fixture
def data(tmp_path):
    return make_dataset(tmp_path / "data")


def test_a_run_says_what_it_takes_and_keeps_it(data, tmp_path):
    options = [*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--micro-batch", "auto", "--resume", "auto"]
    out = train(*options, "--total-kimg", 0.064)
    assert "micro-batch 8: about 0.0" in out.stdout
    [run] = run_dirs(tmp_path / "r")
    assert newest_checkpoint(run)["config"]["micro_batch"] == 8

    # It goes on with that number, and does not ask for memory again.
    assert "micro-batch" not in train(*options, "--total-kimg", 0.128).stdout
    assert run_dirs(tmp_path / "r") == [run]


def test_a_continued_run_keeps_its_number_whatever_is_free(data, tmp_path, monkeypatch):
    train(*SMALL, "--data", data, "--result-dir", tmp_path, "--micro-batch", 4, "--total-kimg", 0.064)
    [run] = run_dirs(tmp_path)
    cfg = replace(tiny(), batch=8, micro_batch="auto")
    assert choose_micro_batch(cfg, SPEC, max(run.glob("checkpoint-*.pt"))).micro_batch == 4


def test_a_forecast_says_what_would_fit(data):
    out = train(*SMALL, "--data", data, "--micro-batch", 4, "--dry-run").stdout
    assert "at 4 images a pass (8 would fit: --micro-batch auto)" in out
    assert "would fit" not in train(*SMALL, "--data", data, "--micro-batch", "auto", "--dry-run").stdout


def test_what_does_not_fit_is_not_advised(data, monkeypatch, capsys):
    monkeypatch.setattr(forecast, "free_memory", lambda cfg: 1.0)
    forecast.print_forecast(replace(tiny(), data=str(data), resolution=16, batch=8, micro_batch=8))
    assert "would fit" not in capsys.readouterr().out
