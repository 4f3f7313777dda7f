"""Our training loop against BMSG-GAN's, written out anew in plain PyTorch."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import config
from tests.bmsg_gan_data import BMSGGAN
from training.ema import ema_beta, update_ema
from training.latents import generator_inputs
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater

SPEC = ImageSpec(resolution=32)


@pytest.fixture
def cfg():
    preset = config.progan_cifar10()
    return replace(
        preset, batch=4, micro_batch=None, precision="fp32",
        G=replace(preset.G, z_dim=16), D=replace(preset.D, features=16),
    )  # fmt: skip


def test_presets_are_the_published_settings():
    for name, resolution in (("cifar10", 32), ("flowers256", 256), ("celebahq1024", 1024)):
        c = config.PRESETS[f"progan-{name}"]()
        assert (c.resolution, c.ema_decay, c.G.z_dim, c.D.features) == (resolution, 0.999, 512, 512)
        assert c.loss.name == "relativistic-hinge" and c.loss.r1_gamma == 0 and c.loss.same_latents
        for opt in (c.G_opt, c.D_opt):
            assert (opt.lr, opt.beta1, opt.beta2, opt.eps, opt.form) == (0.003, 0.0, 0.99, 1e-8, "torch")


def test_three_iterations(cfg):
    """Weights after each iteration. Our average moves between the D and the G step, theirs after the G step: ours of
    one iteration is theirs of the one before."""
    G, _, D = BMSGGAN("depth4_latent16").networks()
    state = TrainState(cfg, SPEC, torch.device("cpu"))
    for net, source in ((state.G, G), (state.D, D), (state.G_ema, G)):
        net.load_state_dict(source.state_dict())
    updater = Updater(state, torch.zeros(1, 0).numpy())

    shadow = copy.deepcopy(G)
    shadow_before = copy.deepcopy(G)
    adam = {net: torch.optim.Adam(net.parameters(), lr=0.003, betas=(0.0, 0.99)) for net in (G, D)}
    for iteration in range(3):
        images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        # Ours.
        z = generator_inputs(state.G, torch.zeros(4, 0), (cfg.seed, "D", state.cur_nimg, 0)).z
        updater.d_update(images.numpy(), torch.zeros(4, 0).numpy(), cfg.D_opt.lr)
        state.cur_nimg += 4
        update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, ema_beta(cfg, state.cur_nimg))
        updater.g_update(cfg.G_opt.lr)
        # Theirs.
        full = images.float() / 255 * 2 - 1
        reals = [F.avg_pool2d(full, 2**i) for i in (3, 2, 1)] + [full]
        z = z / z.norm(dim=1, keepdim=True) * 16**0.5
        r, f = D(reals), D([x.detach() for x in G(z)])
        loss = F.relu(1 - (r - f.mean())).mean() + F.relu(1 + (f - r.mean())).mean()
        adam[D].zero_grad()
        loss.backward()
        adam[D].step()
        r, f = D(reals), D(G(z))
        loss = F.relu(1 + (r - f.mean())).mean() + F.relu(1 - (f - r.mean())).mean()
        adam[G].zero_grad()
        loss.backward()
        adam[G].step()
        shadow_before.load_state_dict(shadow.state_dict())
        with torch.no_grad():
            for average, weight in zip(shadow.parameters(), G.parameters(), strict=True):
                average.copy_(0.999 * average + 0.001 * weight)

        for ours, theirs in ((state.G, G), (state.D, D), (state.G_ema, shadow_before)):
            for key, expected in theirs.state_dict().items():
                torch.testing.assert_close(
                    ours.state_dict()[key], expected, rtol=1e-4, atol=1e-4, msg=f"{iteration} {key}"
                )
    moved = max((a - b).abs().max() for a, b in zip(G.parameters(), shadow.parameters(), strict=True))
    assert moved > 0.005


def test_g_step_of_a_relativistic_loss_sees_the_reals_of_the_d_step(cfg, monkeypatch):
    """With fresh latents, it compares fakes that have the labels of those reals; several micro-batches, two D steps."""
    cfg = replace(cfg, batch=8, micro_batch=4, d_repeats=2, loss=replace(cfg.loss, same_latents=False))
    state = TrainState(cfg, ImageSpec(resolution=32, c_dim=3), torch.device("cpu"))
    updater = Updater(state, torch.eye(3).numpy())
    seen = []

    def run_g(G, D, loss, inputs, reals):
        seen.append((inputs, reals))
        return g(G, D, loss, inputs, reals)

    g, updater.run_g = updater.run_g, run_g
    for _ in range(2):
        images, labels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.eye(3)[torch.randint(3, (8,))]
        updater.d_update(images.numpy(), labels.numpy(), 0.003)
        state.cur_nimg += 8
    updater.g_update(0.003)
    assert len(seen) == 2
    for j, (inputs, reals) in enumerate(seen):
        part = slice(4 * j, 4 * j + 4)
        torch.testing.assert_close(reals.pyramid[-1], images[part].float() * 2 / 255 - 1)
        assert torch.equal(reals.c, labels[part]) and torch.equal(inputs.c, labels[part])
        assert not torch.equal(inputs.z, generator_inputs(state.G, reals.c, (cfg.seed, "D", 8, j)).z)


def test_what_the_d_step_gets(cfg, monkeypatch):
    """R1 in every third step at three times the weight, times the schedule; fresh mixing factors for wgan-gp."""
    loss = replace(cfg.loss, name="wgan-gp", r1_gamma=1, reg_interval=3, gamma_end=0.5, gamma_kimg=0.024)
    state = TrainState(replace(cfg, loss=loss), SPEC, torch.device("cpu"))
    updater = Updater(state, torch.zeros(1, 0).numpy())
    weights, shares = [], []

    def run_d(G, D, loss, reals, inputs, reg_weight, share):
        weights.append(None if reg_weight is None else reg_weight.item())
        shares.append(share)
        return d(G, D, loss, reals, inputs, reg_weight, share)

    d, updater.run_d = updater.run_d, run_d
    for _ in range(7):
        updater.d_update(torch.zeros(4, 3, 32, 32, dtype=torch.uint8).numpy(), torch.zeros(4, 0).numpy(), 0.001)
        state.cur_nimg += 4
    assert weights == [3.0, None, None, pytest.approx(3 * 0.75), None, None, pytest.approx(3 * 0.5)]
    assert all(s.shape == (4,) for s in shares) and len({tuple(s.tolist()) for s in shares}) == 7
