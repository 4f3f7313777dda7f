"""MSG-StyleGAN against the numbers of the original TensorFlow code."""

import numpy as np
import pytest
import torch

from tests.golden_data import CONFIGS, assert_close, golden, ours, rows
from training import pyramid
from training.latents import GeneratorInputs
from training.losses import scores_and_gradients, squared_gradient_norm
from training.step import RealBatch, d_step, g_step
from training.step_config import LossConfig

FORWARD, GRADIENT = 1e-4, 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_mapping_and_truncation(name):
    g = golden(name)
    G, _ = g.networks()
    w = G.mapping(g["z"], g["labels"])
    assert_close(w, g["out/dlatents"], FORWARD)
    assert_close(G.mapping.truncate(w, 0.7, 8), g["out/dlatents_psi0.7"], FORWARD)
    if "out/dlatents_psi0.5_cutoff3" in g:
        assert_close(G.mapping.truncate(w, 0.5, 3), g["out/dlatents_psi0.5_cutoff3"], FORWARD)
    if "extra/labels_soft" in g:
        assert_close(G.mapping(g["z"], g["extra/labels_soft"]), g["extra/dlatents_soft"], FORWARD)
        assert_close(G.mapping(g["z"], None), g["extra/dlatents_nolabel"], FORWARD)


@pytest.mark.parametrize("psi", [1.0, 0.7])
@pytest.mark.parametrize("name", CONFIGS)
def test_images_and_scores_of_generated(name, psi):
    g = golden(name)
    G, D = g.networks()
    tag = f"psi{psi:g}"
    with torch.no_grad():
        images = G(g["z"], g["labels"], truncation_psi=psi, truncation_cutoff=8, noise_mode="const")
        scores = D(images, g["labels"])
    for level, (r, x) in enumerate(zip(g.spec.resolutions, images, strict=True)):
        expected = g[f"out/images_{tag}_{r}"]
        assert_close(x[: len(expected)], expected, FORWARD, f"{r}x{r}")
        stats = torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3), correction=0), x.abs().amax((1, 2, 3))], 1)
        assert_close(stats, g[f"out/images_{tag}_stats"][level], FORWARD, f"{r}x{r} stats")
        if f"extra/uint8_pil_{tag}_{r}" in g:
            pixels = pyramid.to_uint8(x).permute(0, 2, 3, 1).int()
            assert (pixels - g[f"extra/uint8_pil_{tag}_{r}"].int()).abs().max() <= 1  # float rounding
            assert (pixels != g[f"extra/uint8_pil_{tag}_{r}"].int()).float().mean() < 1e-3
    assert_close(scores, g[f"out/scores_gen_{tag}"], FORWARD)


@pytest.mark.parametrize("name", CONFIGS)
def test_pyramid_and_scores(name):
    g = golden(name)
    _, D = g.networks()
    reals = pyramid.from_uint8(g["in/reals_u8"])
    for r, x in zip(g.spec.resolutions, reals, strict=True):
        assert_close(x, g[f"in/reals_{r}"], 1e-6, f"{r}x{r}")
    with torch.no_grad():
        assert_close(D(reals, g["labels"]), g["out/scores_real"], FORWARD)
        assert_close(D(g.pyramid("in/rand"), g["labels"]), g["out/scores_rand"], FORWARD)
        if "extra/labels_soft" in g:
            scores = D(g.pyramid("in/rand"), g["extra/labels_soft"])
            assert_close(scores, g["extra/scores_rand_soft"], FORWARD)


@pytest.mark.parametrize("n", [8, 4, 3, 2, 1])
@pytest.mark.parametrize("name", ["c1", "c8"])
def test_minibatch_stddev_groups(name, n):
    g = golden(name)
    _, D = g.networks()
    if f"extra/scores_rand8_batch{n}" not in g:
        with pytest.raises(ValueError, match="expected at most"):
            D(tuple(x[:n] for x in g.pyramid("extra/rand8")), g["extra/labels8"][:n])
        return
    with torch.no_grad():
        scores = D(tuple(x[:n] for x in g.pyramid("extra/rand8")), g["extra/labels8"][:n])
    assert_close(scores, g[f"extra/scores_rand8_batch{n}"], FORWARD)


def _check_gradients(g, network, prefix, norms, names):
    grads = {k: p.grad for k, p in network.named_parameters()}
    checked = 0
    for name in (k[len(prefix) :] for k in g.arrays if k.startswith(prefix)):
        key, expected = ours(network, name, g.arrays[prefix + name])
        assert_close(grads[key], expected, GRADIENT, name)
        checked += 1
    keys = [rows(network)[n].ours for n in names]
    total = np.array([grads[k].double().sum().item() for k in keys])
    scale = g.arrays[norms].max()
    np.testing.assert_allclose(total, g.arrays[norms.replace("norm", "sum")], rtol=GRADIENT, atol=GRADIENT * scale)
    norm = np.array([grads[k].double().norm().item() for k in keys])
    np.testing.assert_allclose(norm, g.arrays[norms], rtol=GRADIENT, atol=GRADIENT * scale * 1e-2)
    assert checked >= 5


@pytest.mark.parametrize("total", [False, True], ids=["partial", "total"])
@pytest.mark.parametrize("name", CONFIGS)
def test_r1(name, total):
    """R1 and its gradients, with independent levels and with total derivatives through the pyramid."""
    g = golden(name)
    _, D = g.networks()
    tag = ("_autodiff" if name == "c4" else "") + ("_pyramid" if total else "")
    reals, fakes, c = g.pyramid("in/reals"), g.pyramid("in/rand"), g["labels"]
    real_scores, gradients = scores_and_gradients(lambda x: D(x, c), reals)
    if total:
        gradients = pyramid.total_gradients(gradients)
    for r, x in zip(g.spec.resolutions, gradients, strict=True):
        if f"loss/real_grad_{r}{tag}" in g:
            assert_close(x, g[f"loss/real_grad_{r}{tag}"], GRADIENT, f"{r}x{r}")
    per_level = torch.stack([x.square().sum((1, 2, 3)) for x in gradients])
    assert_close(per_level, g[f"loss/r1_sqsum_per_scale{tag}"], GRADIENT)
    r1 = squared_gradient_norm(gradients).mean()
    assert_close(r1, g[f"loss/r1_penalty{tag}"], GRADIENT)
    fake_scores = D(fakes, c)
    loss = torch.nn.functional.softplus(fake_scores) + torch.nn.functional.softplus(-real_scores) + 5 * r1
    assert_close(loss, g[f"loss/D_loss{tag}"], FORWARD if name != "c4" else GRADIENT)
    loss.mean().backward()
    _check_gradients(g, D, f"grad_D{tag}/", f"gradnorm_D{tag}", g.meta["gradnorm_names_D"])


@pytest.mark.parametrize("name", CONFIGS)
def test_d_step_is_the_original_loss(name, monkeypatch):
    """The loss that training uses, with the golden fakes in place of G's."""
    g = golden(name)
    G, D = g.networks()
    fakes = g.pyramid("in/rand")
    monkeypatch.setattr("training.step.run_generator", lambda G, inputs: (fakes, torch.zeros(1)))
    inputs = GeneratorInputs(g["z"], g["labels"], ())
    reals = RealBatch(g.pyramid("in/reals"), g["labels"])
    result = d_step(G, D, LossConfig(r1_gamma=10.0), reals, inputs, torch.ones(()))
    tag = "_autodiff_pyramid" if name == "c4" else "_pyramid"
    assert_close(result.stats["Loss/D"], g[f"loss/D_loss{tag}"].flatten(), FORWARD)
    assert_close(result.stats["Loss/scores/real"], g[f"loss/real_scores{tag}"].flatten(), FORWARD)
    assert_close(result.stats["Loss/scores/fake"], g[f"loss/fake_scores{tag}"].flatten(), FORWARD)
    assert_close(result.stats["Loss/r1_penalty"].mean(), g[f"loss/r1_penalty{tag}"], GRADIENT)


@pytest.mark.parametrize("name", CONFIGS)
def test_g_step(name):
    g = golden(name)
    G, D = g.networks()
    noise = [layer.noise_const for layer in G.synthesis.layers()] if G.cfg.use_noise else []
    result = g_step(G, D, LossConfig(), GeneratorInputs(g["z"], g["labels"], tuple(noise)))
    tag = "_autodiff" if name == "c4" else ""
    assert_close(result.stats["Loss/G"], g[f"loss/G_loss{tag}"].flatten(), FORWARD)
    w_avg = torch.lerp(result.w_mean, G.mapping.w_avg, G.cfg.w_avg_beta)
    assert_close(w_avg, g["loss/dlatent_avg_after"], FORWARD)
    result.loss.backward()
    _check_gradients(g, G, f"grad_G{tag}/", f"gradnorm_G{tag}", g.meta["gradnorm_names_G"])
