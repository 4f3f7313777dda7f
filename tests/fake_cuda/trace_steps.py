"""What training steps do on CUDA tensors without values."""

import json
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import config
from tests.fake_cuda import fake_gpu
from training.config import TrainConfig
from training.latents import GeneratorInputs
from training.losses import LOSSES
from training.networks.architectures import build_discriminator, build_generator
from training.spec import ImageSpec
from training.step import RealBatch, StepResult, d_step, g_step

# Operations that touch no memory.
VIEWS = """
view view_as _unsafe_view _reshape_alias as_strided alias detach device expand permute transpose t
slice select narrow split split_with_sizes unsafe_split chunk unbind squeeze unsqueeze empty empty_like new_empty
promote_types
"""

# Operators of ours that launch more than one kernel, and those whose kernels read all maps twice.
LAUNCHES = {
    "stddev_mean": 2,
    "stddev_second_gradient": 2,
    "bias_act_gradient": 2,
    "epilogue_moments": 2,
    "epilogue_gradient": 4,
}
READS_TWICE = {"epilogue_gradient"}

LARGE = 2**20  # bytes
SOME_LOSSES = ("logistic", "wgan-gp", "relativistic-pairing")


class Trace(TorchDispatchMode):
    """Counts the kernels of a step and the bytes that they move, and looks at its convolutions and layouts."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images  # in a batch, which tells maps from weights
        self.kernels = 0
        self.bytes = 0
        self.largest_filter = 0
        self.grouped = 0
        self.nchw: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        if name.rstrip("_") in VIEWS.split() or name.startswith("prim"):
            return out

        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        outputs = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.kernels += LAUNCHES.get(name, 1)
        self.bytes += sum(map(_touched, inputs)) * (1 + (name in READS_TWICE)) + sum(t.nbytes for t in outputs)

        if name == "convolution":
            self.largest_filter = max(self.largest_filter, args[1].shape[-1])
            self.grouped += args[8] > 1
        for t in outputs:
            is_map = t.ndim == 4 and t.shape[0] == self.images and t.shape[1] > 1 and t.shape[2] == t.shape[3]
            if (
                name != "zeros"
                and is_map
                and t.nbytes > LARGE
                and not t.is_contiguous(memory_format=torch.channels_last)
            ):
                self.nchw.append(f"{name} {tuple(t.shape)}")
        return out


def _touched(t: torch.Tensor) -> int:
    """Return the bytes of a tensor, those of expanded dimensions once."""
    count = t.element_size()
    for size, stride in zip(t.shape, t.stride(), strict=True):
        count *= size if stride else 1
    return count


def trace(cfg: TrainConfig, resolution: int, images: int, bf16: bool) -> dict[str, dict[str, Any]]:
    """Return what the D step with and without penalties and the G step do."""
    spec = ImageSpec(resolution=resolution, c_dim=3)
    with FakeTensorMode():
        G = fake_gpu.to_gpu(build_generator(cfg.G, spec))
        D = fake_gpu.to_gpu(build_discriminator(cfg.D, spec))
        with fake_gpu.DEVICE:
            z, c = torch.zeros(images, cfg.G.z_dim), torch.zeros(images, spec.c_dim)
            noise = tuple(torch.zeros(shape) for shape in G.synthesis.noise_shapes(images))
            inputs = GeneratorInputs(z, c, noise, torch.zeros_like(z), torch.zeros((), dtype=torch.int64))
            channels_last = torch.channels_last
            levels = [torch.zeros(images, 3, r, r).contiguous(memory_format=channels_last) for r in spec.resolutions]
            reals = RealBatch(tuple(levels), c)
            weight, share = torch.ones(()), torch.zeros(images)

        steps: dict[str, Callable[[], StepResult]] = {
            "D with penalties": lambda: d_step(G, D, cfg.loss, reals, inputs, weight, share),
            "D": lambda: d_step(G, D, cfg.loss, reals, inputs, None, share),
            "G": lambda: g_step(G, D.requires_grad_(False), cfg.loss, inputs, reals),
        }
        return {name: _run(step, images, bf16) for name, step in steps.items()}


def _run(step: Callable[[], StepResult], images: int, bf16: bool) -> dict[str, Any]:
    """Run one step with its backward pass; return what it did, or the error that it raised."""
    seen = Trace(images)
    try:
        with seen:
            with fake_gpu.bf16_autocast() if bf16 else nullcontext():
                result = step()
            result.loss.backward()
        results = (result.loss, result.w_mean, *result.stats.values())
        assert all(t.device == fake_gpu.DEVICE for t in results), "a result on another device"
    except Exception as e:
        traceback.print_exc()
        return {"error": f"{type(e).__name__}: {e}"}
    return {
        "error": None,
        "kernels": seen.kernels,
        "GB per image": seen.bytes / images / 1e9,
        "largest filter": seen.largest_filter,
        "grouped convolutions": seen.grouped,
        "NCHW maps": sorted(set(seen.nchw)),
    }


def print_traces() -> None:
    """Print what each step of each kind of training does as JSON, one line for each step."""

    def show(network: str, what: str, cfg: TrainConfig, resolution: int, images: int = 8, bf16: bool = True) -> None:
        for step, seen in trace(cfg, resolution, images, bf16).items():
            print(json.dumps({"network": network, "case": what, "step": step, **seen}), flush=True)

    for preset in ("flowers256", "progan-flowers256"):
        cfg = config.PRESETS[preset]()
        both = replace(cfg, loss=replace(cfg.loss, r1_gamma=1.0, r2_gamma=1.0))

        # Losses with both penalties, every way to combine, and float32. All losses see the same kind of scores, so the
        # smaller network alone goes through all of them.
        for name in LOSSES if preset.startswith("progan") else SOME_LOSSES:
            show(preset, name, replace(both, loss=replace(both.loss, name=name)), 16)
        for combine in ("cat_lin", "lin_cat", "simple"):
            show(preset, combine, replace(both, D=replace(both.D, combine=combine)), 16)
        show(preset, "fp32", both, 16, bf16=False)

        # As published, at full size.
        show(preset, "published with R1", replace(cfg, loss=replace(cfg.loss, r1_gamma=10.0)), 256)
