"""Three iterations of the original's training loop, step by step."""

import copy

import numpy as np
import pytest
import torch

from tests.golden_data import GOLDEN, assert_close, golden, ours
from training import pyramid
from training.config import TrainConfig
from training.ema import ema_beta, update_ema
from training.latents import GeneratorInputs
from training.optimizer import Adam, flatten_parameters
from training.step import RealBatch, d_step, g_step
from training.step_config import AdamConfig, LossConfig


@pytest.mark.parametrize("form", ["tf", "torch"])
def test_trace(form):
    trace, g = _trace(), golden("c1")
    G, D = g.networks()
    G_ema = copy.deepcopy(G)
    cfg = TrainConfig(data="", batch=4, G=G.cfg, D=D.cfg, ema_kimg=float(trace["G_smoothing_kimg"]))
    lr = float(trace["lr"])
    G_opt, D_opt = (Adam(net, AdamConfig(form=form), extra=16) for net in (G, D))
    ema = flatten_parameters(G_ema.parameters())
    noise = tuple(layer.noise_const for layer in G.synthesis.layers())
    c = torch.zeros(4, 0)

    def w_avg(result, row):
        G.mapping.w_avg.lerp_(result.w_mean, 1 - G.cfg.w_avg_beta)
        assert_close(
            G.mapping.w_avg, trace["dlatent_avg_trace"][row], 1e-3 if form == "torch" else 1e-4, f"w_avg {row}"
        )

    for i in range(3):
        D_opt.zero_grad()
        reals = RealBatch(pyramid.from_uint8(trace["reals_u8"][i]), c)
        inputs = GeneratorInputs(trace["zD"][i], c, noise)
        d = d_step(G, D, LossConfig(r1_gamma=10), reals, inputs, torch.ones(()))
        assert_close(d.stats["Loss/D"], trace["D_loss"][i].flatten(), 1e-4, f"D loss {i}")
        d.loss.backward()
        D_opt.step(lr)
        w_avg(d, 2 * i)
        update_ema(ema, G_opt.flat, G_ema, G, ema_beta(cfg, 4 * (i + 1)))
        G_opt.zero_grad()
        D.requires_grad_(False)
        r = g_step(G, D, LossConfig(), GeneratorInputs(trace["zG"][i], c, noise))
        D.requires_grad_(True)
        assert_close(r.stats["Loss/G"], trace["G_loss"][i].flatten(), 1e-4, f"G loss {i}")
        r.loss.backward()
        G_opt.step(lr)
        w_avg(r, 2 * i + 1)
        if form == "tf":
            _compare(trace, f"iter{i}/", G, D, G_ema)
    if form == "tf":
        _compare(trace, "final/", G, D, G_ema)


def _trace():
    with np.load(GOLDEN / "train_trace_c1.npz") as f:
        return {k: torch.from_numpy(f[k]) for k in f.files}


def _compare(trace, prefix, G, D, G_ema):
    """Every stored variable: 3e-5 of its largest value (mapping weights have std 100)."""
    networks = {"G": G, "D": D, "Gs": G_ema}
    found = 0
    for name in (k for k in trace if k.startswith(prefix)):
        net, _, variable = name[len(prefix) :].partition("/")
        key, expected = ours(networks[net], variable, trace[name].numpy())
        torch.testing.assert_close(networks[net].state_dict()[key], expected, rtol=1e-5, atol=3e-5)
        found += 1
    assert found >= 4
