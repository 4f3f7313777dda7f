from dataclasses import replace

import pytest

from config import PRESETS, tiny
from training.config import TrainConfig, architecture, as_dict, from_dict
from training.spec import ImageSpec


def test_options_that_no_longer_exist_are_ignored_in_old_files():
    values = {**as_dict(tiny()), "minibatch_repeats": 4}
    assert from_dict(TrainConfig, values, "config.json") == tiny()


def test_options_are_found_under_their_former_names():
    values = as_dict(tiny())
    values["D"]["levels"] = [4, 8]
    del values["D"]["resolutions"]
    assert from_dict(TrainConfig, values, "config.json").D.resolutions == (4, 8)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"no_such": 1}, "x: unknown option no_such"),
        ({"batch": "16"}, "x: batch: found '16', expected int"),
        ({"device": "tpu"}, "x: device: found 'tpu', expected Literal"),
        ({"batch": 0}, "x: batch: found 0, expected >= 1"),
        ({"batch": 6}, "6 images per forward pass .*: expected <= D.mbstd_group_size 4 or a multiple of it"),
        ({"freeze_d": 2}, "x: freeze_d: expected --init as well"),
        ({"augment": {"p": 0.5}}, "x: augment: p: expected --augment.name ada or diffaugment as well"),
        ({"loss": {"r1_gamma": -1}}, "x: loss: r1_gamma: found -1.0, expected 0 to 10"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(TrainConfig, {**as_dict(tiny()), **values}, "x")


def test_the_kind_of_a_network_decides_which_options_it_has():
    values = as_dict(PRESETS["progan-robohash"]())
    assert from_dict(TrainConfig, values, "x").G.kind == "msg_progan"
    values["G"]["kind"] = "no such"
    with pytest.raises(ValueError, match="x: G: kind no such, expected msg_stylegan or msg_progan"):
        from_dict(TrainConfig, values, "x")


def test_architecture_leaves_out_what_may_change_along_the_way():
    cfg = tiny()
    other = replace(cfg, G=replace(cfg.G, truncation_psi=0.3, w_avg_beta=0.9))
    spec = ImageSpec(resolution=32)
    assert architecture(cfg, spec) == architecture(other, spec)
    assert architecture(cfg, spec) != architecture(replace(cfg, G=replace(cfg.G, z_dim=8)), spec)


def test_learning_rates_warm_up_and_decay():
    cfg = replace(tiny(), lr_warmup_kimg=2.0)
    assert [cfg.lr_factor(nimg) for nimg in (0, 500, 2000, 9000)] == [0, 0.25, 1, 1]
    assert tiny().lr_factor(0) == 1

    cfg = replace(tiny(), total_kimg=8.0, lr_warmup_kimg=2.0, lr_decay_kimg=4.0)
    assert [cfg.lr_factor(nimg) for nimg in (1000, 2000, 4000, 5000, 8000, 9000)] == [0.5, 1, 1, 0.75, 0, 0]

    shorter = replace(tiny(), total_kimg=8.0, lr_decay_kimg=60.0)
    assert [shorter.lr_factor(nimg) for nimg in (0, 4000, 8000)] == [1, 0.5, 0]
