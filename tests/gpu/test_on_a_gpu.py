"""What only a card can show: the same bits twice, the original's numbers, the memory that was forecast."""

import gc
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from config import PRESETS
from tests import runs
from tests.golden_data import CONFIGS, assert_close, golden
from training.ops import implementation
from training.precision import choose_kernels
from training.run.cost import estimate_cost
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")


@pytest.fixture(autouse=True)
def _visible():
    """Let the runs of these tests see the GPU, which others hide; let float32 mean float32."""
    torch.backends.cudnn.allow_tf32 = False
    with mock.patch.dict(runs.ENV, CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0")):
        yield
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_runs_repeat_their_bits_and_resume_exactly(tmp_path, precision):
    data = runs.make_dataset(tmp_path / "data")
    options = [*runs.SMALL, "--data", data, "--device", "cuda", "--precision", precision]

    # The same run twice.
    for name in ("a", "b"):
        runs.train(*options, "--result-dir", tmp_path / name)
    a, b = (runs.run_dirs(tmp_path / name)[0] for name in ("a", "b"))
    runs.assert_same_run(a, b)

    # And once more from its first checkpoint on.
    checkpoint = min(a.glob("checkpoint-*.pt"))
    runs.train(*options, "--result-dir", tmp_path / "c", "--resume", checkpoint)
    whole, resumed = (runs.tensors(runs.newest_checkpoint(run)) for run in (a, runs.run_dirs(tmp_path / "c")[0]))
    for key, tensor in whole.items():
        assert torch.equal(tensor, resumed[key]), key


@pytest.mark.parametrize("name", CONFIGS)
def test_images_and_scores_are_those_of_the_original(name):
    g = golden(name)
    G, D = (network.to(DEVICE) for network in g.networks())
    z, labels = g["z"].to(DEVICE), g["labels"].to(DEVICE)
    with torch.no_grad():
        images = G(z, labels, truncation_psi=1.0, truncation_cutoff=8, noise_mode="const")
        scores = D(images, labels)
    for r, x in zip(g.spec.resolutions, images, strict=True):
        expected = g[f"out/images_psi1_{r}"]
        assert_close(x[: len(expected)].cpu(), expected, 1e-4, f"{r}x{r}")
    assert_close(scores.cpu(), g["out/scores_gen_psi1"], 1e-4)


def small_state(precision, resolution=32):
    """Return the state of a small network of the published kind."""
    cfg = PRESETS["flowers256"]()
    cfg = replace(
        cfg,
        precision=precision,
        batch=8,
        micro_batch=None,
        G=replace(cfg.G, fmap_base=512, fmap_max=64),
        D=replace(cfg.D, fmap_base=512, fmap_max=64),
    )
    return TrainState(cfg, ImageSpec(resolution=resolution), DEVICE)


def losses(steps, kernels):
    """Return the losses of D [steps] in float32, with Triton kernels or without."""
    state = small_state("fp32")
    no_labels = np.zeros((8, 0), np.float32)
    updater = Updater(state, no_labels[:1])
    images = np.random.default_rng(0).integers(0, 256, (steps, 8, 3, 32, 32), dtype=np.uint8)

    curve = []
    with mock.patch.object(implementation, "_INSTALLED", kernels):
        for batch in images:
            updater.d_update(batch, no_labels, 0.001)
            updater.g_update(0.001)
            state.cur_nimg += 8
            curve.append(state.averages.take()["Loss/D"])
    return np.array(curve)


def test_kernels_and_reference_train_alike():
    choose_kernels(deterministic=True)
    reference, kernels = losses(200, kernels=False), losses(200, kernels=True)

    # Rounding grows from step to step: at first the losses are equal, and later they keep the same course.
    np.testing.assert_allclose(kernels[:5], reference[:5], rtol=1e-3)
    smooth = np.ones(20) / 20
    np.testing.assert_allclose(
        np.convolve(kernels, smooth, "valid"), np.convolve(reference, smooth, "valid"), rtol=0.2, atol=0.05
    )


def test_memory_is_what_was_forecast():
    gc.collect()
    torch.cuda.empty_cache()
    others = torch.cuda.memory_allocated()
    state = small_state("bf16", 256)
    no_labels = np.zeros((8, 0), np.float32)
    updater = Updater(state, no_labels[:1])

    # The first step also allocates what libraries keep.
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        updater.d_update(np.zeros((8, 3, 256, 256), np.uint8), no_labels, 0.001)
        updater.g_update(0.001)
    forecast = estimate_cost(state.cfg, state.spec).peak_bytes
    assert 0.3 * forecast <= torch.cuda.max_memory_allocated() - others <= 1.1 * forecast
