"""One optimizer step: what it moves, and that micro-batches add up."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from config import PRESETS, tiny
from dnnlib.errors import UserError
from tests.runs import make_dataset
from training import pyramid
from training.data.dataset import open_dataset
from training.data.sampler import SampleOrder, read_batch
from training.latents import generator_inputs, random_labels
from training.losses import scores_and_gradients
from training.networks.architectures import build_discriminator
from training.precision import autocast
from training.spec import ImageSpec
from training.state import TrainState, check_networks
from training.update import Updater

CPU = torch.device("cpu")
progan_robohash = PRESETS["progan-robohash"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs")


def test_each_step_moves_its_own_network():
    state = TrainState(replace(tiny(), resolution=8, batch=4, precision="fp32"), ImageSpec(resolution=8), CPU)
    updater = Updater(state, np.zeros((1, 0), np.float32))
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    G, D = state.G_opt.flat.clone(), state.D_opt.flat.clone()

    updater.d_update(images, np.zeros((4, 0), np.float32), 0.01)
    assert torch.equal(state.G_opt.flat, G) and not torch.equal(state.D_opt.flat, D)

    D = state.D_opt.flat.clone()
    updater.g_update(0.01)
    assert not torch.equal(state.G_opt.flat, G) and torch.equal(state.D_opt.flat, D)
    assert all(p.requires_grad for p in state.D.parameters())
    averages = state.averages.take()
    assert {name for name in averages if name.startswith("Loss")} == {
        *("Loss/D", "Loss/G", "Loss/scores/real", "Loss/scores/fake", "Loss/r1_penalty")
    }
    assert averages["Progress/skipped_share_D"] == averages["Progress/skipped_share_G"] == 0


def test_what_is_frozen_stays_as_it_is():
    """The largest levels of D, and of G all but the mapping network."""
    cfg = replace(tiny(), resolution=16, batch=4, freeze_d=2, mapping_only=True, init=("old.pkl",))
    state = TrainState(cfg, ImageSpec(resolution=16), CPU)
    updater = Updater(state, np.zeros((1, 0), np.float32))
    before = {name: copy.deepcopy(net.state_dict()) for name, net in (("G", state.G), ("D", state.D))}
    for _ in range(2):
        updater.d_update(np.full((4, 3, 16, 16), 9, np.uint8), np.zeros((4, 0), np.float32), 0.01)
        updater.g_update(0.01)

    for name, net, frozen in (("G", state.G, ("synthesis.",)), ("D", state.D, ("b16.", "b8."))):
        for key, parameter in net.named_parameters():
            assert torch.equal(parameter, before[name][key]) == key.startswith(frozen), key
    assert not state.G_opt.skipped and not state.D_opt.skipped


def test_freezing_everything_is_an_error():
    for preset, change, message in (
        (tiny(), {"freeze_d": 3}, "freeze_d: found 3, expected less than 3"),
        (progan_robohash(), {"mapping_only": True}, "no mapping network to train"),
    ):
        with pytest.raises(UserError, match=message):
            check_networks(replace(preset, init=("old.pkl",), **change), ImageSpec(resolution=16))


def test_updates_repeat_bit_for_bit():
    """They follow from the seed and the progress, not from torch's global generator."""
    weights = []
    for seed in (1, 2):
        state = TrainState(replace(tiny(), resolution=8, batch=4), ImageSpec(resolution=8), CPU)
        updater = Updater(state, np.zeros((1, 0), np.float32))
        torch.manual_seed(seed)
        updater.d_update(np.zeros((4, 3, 8, 8), np.uint8), np.zeros((4, 0), np.float32), 0.01)
        updater.g_update(0.01)
        weights.append(torch.cat([state.G_opt.flat, state.D_opt.flat]))
    assert torch.equal(*weights)


def test_w_avg_and_gradients_average_over_everything(data):
    """Micro-batches of one step add up to its mean: w_avg after one D and one G evaluation, by hand."""
    cfg = replace(tiny(), batch=8, micro_batch=4, precision="fp32")
    dataset = open_dataset(data)
    state = TrainState(cfg, dataset.spec, torch.device("cpu"))
    G = state.G
    means = []
    images, labels = read_batch(dataset, SampleOrder(len(dataset), 0, False), 0, 8)
    for j in range(2):
        c = torch.from_numpy(labels[4 * j : 4 * j + 4])
        means.append(G.mapping(generator_inputs(G, c, (0, "D", 0, j)).z, c)[:, 0].mean(0))
    expected = 0.005 * torch.stack(means).mean(0)
    updater = Updater(state, dataset.labels)
    updater.d_update(images, labels, 0.003)
    torch.testing.assert_close(G.mapping.w_avg, expected.detach())
    state.cur_nimg += 8
    means = []
    for j in range(2):
        key = (0, "G", 8, j)
        c = torch.from_numpy(random_labels(dataset.labels, 4, key))
        means.append(G.mapping(generator_inputs(G, c, key).z, c)[:, 0].mean(0))
    expected = 0.995 * expected + 0.005 * torch.stack(means).mean(0)
    updater.g_update(0.003)
    torch.testing.assert_close(G.mapping.w_avg, expected.detach())


@pytest.mark.parametrize("preset", [tiny, progan_robohash])
def test_gradients_in_fp16_are_those_in_fp32(data, preset):
    """Up to the digits of fp16: of D with R1, and of G, whose constant input multiplies gradients by 10^4 at first."""
    dataset = open_dataset(data)
    images, labels = read_batch(dataset, SampleOrder(len(dataset), 0, False), 0, 8)
    gradients = {}
    for precision in ("fp32", "fp16"):
        cfg = replace(preset(), batch=8, precision=precision, resolution=16, gradient_norms=True)
        if preset is progan_robohash:
            cfg = replace(cfg, G=replace(cfg.G, z_dim=16), D=replace(cfg.D, features=16))
        state = TrainState(cfg, dataset.spec, CPU)
        state.G_opt.log2_scale.fill_(8)  # where it comes to lie after some steps
        state.D_opt.log2_scale.fill_(8)
        updater = Updater(state, dataset.labels)
        updater.d_update(images, labels, 0.0)
        updater.g_update(0.0)
        scales = [opt.loss_scale for opt in (state.D_opt, state.G_opt)]
        stats = state.averages.take()
        gradients[precision] = [stats[f"Gradients/{name}"] for name in "DG"]
        moments = [opt.m / (1 - opt.cfg.beta1) for opt in (state.D_opt, state.G_opt)]
        gradients[f"{precision} moments"] = moments
        assert state.D_opt.skipped == state.G_opt.skipped == 0
        assert precision == "fp32" or min(scales) > 200
    for a, b in zip(gradients["fp32"], gradients["fp16"], strict=True):
        assert b == pytest.approx(a, rel=0.02)
    for a, b in zip(gradients["fp32 moments"], gradients["fp16 moments"], strict=True):
        assert ((a - b).norm() / a.norm()).item() < 0.03


def test_a_restored_fp16_run_goes_on_with_the_same_bits(data):
    dataset = open_dataset(data)
    cfg = replace(tiny(), batch=8, precision="fp16", resolution=16)
    order = SampleOrder(len(dataset), 0, False)

    def steps(state, start, end):
        updater = Updater(state, dataset.labels)
        for step in range(start, end):
            state.cur_nimg = 8 * step
            updater.d_update(*read_batch(dataset, order, 8 * step, 8), 0.003)
            updater.g_update(0.003)

    whole = TrainState(cfg, dataset.spec, CPU)
    steps(whole, 0, 4)
    kept = copy.deepcopy(whole.state_dict())
    steps(whole, 4, 8)
    again = TrainState(cfg, dataset.spec, CPU)
    again.load_state_dict(kept)
    steps(again, 4, 8)
    for a, b in ((whole.G_opt, again.G_opt), (whole.D_opt, again.D_opt)):
        assert torch.equal(a.flat, b.flat) and torch.equal(a.log2_scale, b.log2_scale) and a.log2_scale != 16


def test_gradients_by_pixels_of_large_images_do_not_vanish_in_fp16():
    """At 512x512 nearly all of them are below what fp16 can hold."""
    spec = ImageSpec(resolution=512)
    torch.manual_seed(0)
    D = build_discriminator(tiny().D, spec)
    images = pyramid.from_images(torch.rand(4, 3, 512, 512) * 2 - 1)
    gradients = {}
    for precision in ("fp32", "fp16"):
        with autocast(precision, CPU):
            _, levels = scores_and_gradients(D, images)
        gradients[precision] = levels[-1].detach()
    assert gradients["fp32"].abs().median() < 2**-24  # the smallest number of fp16
    error = (gradients["fp16"] - gradients["fp32"]).norm() / gradients["fp32"].norm()
    assert error < 0.2  # 0.7 if the scores are not scaled
