from dataclasses import replace

import pytest
import torch

from config import tiny
from training.ema import ema_beta, update_ema
from training.optimizer import views
from training.spec import ImageSpec
from training.state import TrainState


def test_half_life():
    cfg = replace(tiny(), batch=20, ema_kimg=1)
    assert ema_beta(cfg, 0) ** 50 == pytest.approx(0.5)
    assert ema_beta(replace(cfg, ema_kimg=0), 0) == 0
    assert ema_beta(replace(cfg, ema_decay=0.999), 0) == 0.999  # per step, whatever the batch
    ramped = replace(cfg, ema_rampup=0.1)
    assert ema_beta(ramped, 1000) ** 5 == pytest.approx(0.5)
    assert ema_beta(ramped, 50_000) == ema_beta(cfg, 0)


def test_parameters_move_and_buffers_are_copied():
    state = TrainState(tiny(), ImageSpec(resolution=16), torch.device("cpu"))
    before = state.ema_flat.clone()
    state.G_opt.flat.add_(1)
    state.G.mapping.w_avg.fill_(3)
    update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, 0.75)
    torch.testing.assert_close(state.ema_flat, before + 0.25)
    assert torch.equal(state.G_ema.mapping.w_avg, state.G.mapping.w_avg)
    for p, expected in zip(state.G_ema.parameters(), views(before + 0.25, state.G_ema.parameters()), strict=True):
        torch.testing.assert_close(p, expected)
