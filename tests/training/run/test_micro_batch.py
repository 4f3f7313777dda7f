from dataclasses import replace

import pytest

from config import PRESETS, tiny
from tests.runs import SMALL, make_dataset, run_dirs, train
from training.run.cost import estimate_cost
from training.run.micro_batch import largest_fitting, sizes
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
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--micro-batch", "auto", "--total-kimg", 0.064)
    assert "micro-batch 8: about 0.0" in out.stdout
    [run] = run_dirs(tmp_path / "r")
    assert '"micro_batch": 8' in (run / "config.json").read_text()


def test_a_forecast_says_what_would_fit(data):
    out = train(*SMALL, "--data", data, "--micro-batch", 4, "--dry-run").stdout
    assert "at 4 images a pass (8 would fit: --micro-batch auto)" in out
    assert "would fit" not in train(*SMALL, "--data", data, "--micro-batch", "auto", "--dry-run").stdout
