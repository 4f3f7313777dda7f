from dataclasses import replace

import pytest
import torch

from config import tiny
from dnnlib.errors import UserError
from training.spec import ImageSpec
from training.state import Tick, TrainState, check_networks, ticks_after

SPEC = ImageSpec(resolution=8)


def make_state(**options):
    return TrainState(replace(tiny(), resolution=8, **options), SPEC, torch.device("cpu"))


def test_initial_weights_follow_from_the_seed():
    first, same, other = (make_state(seed=seed).G_opt.flat for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_ticks_end_where_they_are_over():
    state = make_state(tick_kimg=0.1, total_kimg=0.25)
    state.cur_nimg, state.tick_sec, state.total_sec, state.wait_sec = 96, 2.0, 2.0, 0.5
    assert not state.tick_is_over and not state.finished

    state.cur_nimg = 104
    state.averages.add({"Loss/D": torch.tensor([2.0, 4.0])})
    assert state.tick_is_over
    tick = state.end_tick()
    assert (tick.number, tick.nimg, tick.seconds, tick.wait_seconds) == (1, 104, 2.0, 0.5)
    assert tick.averages == {"Loss/D": 3.0}
    assert (state.tick_sec, state.wait_sec, state.total_sec, state.tick_start_nimg) == (0, 0, 2.0, 104)

    state.cur_nimg = 256
    assert state.finished and state.end_tick().nimg == 152


@pytest.mark.parametrize(
    ("before", "after", "every", "completed"), [(0, 1, 1, True), (1, 2, 3, False), (2, 4, 3, True), (5, 9, 0, False)]
)
def test_multiples_of_ticks(before, after, every, completed):
    assert Tick(before, after, 0, 0.0, 0.0, {}).completes(every) == completed


def test_ticks_of_odd_lengths_do_not_lose_one_to_rounding():
    cfg = replace(tiny(), tick_kimg=0.1)
    assert [ticks_after(cfg, n) for n in (99, 100, 300, 700)] == [0, 1, 3, 7]


def test_networks_that_cannot_be_built():
    cfg = tiny()
    cfg = replace(cfg, G=replace(cfg.G, mapping_layers=0, w_dim=17))
    with pytest.raises(UserError, match="w_dim"):
        check_networks(cfg, SPEC)
