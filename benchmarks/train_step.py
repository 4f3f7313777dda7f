"""Measure images per second of the D step, the G step, both together and sampling, for several settings in one run.

python benchmarks/train_step.py [--fmap-base 2048] [--settings plain-fp32 fp32 bf16 bf16-compile] [--json FILE]

Settings are fp32 and bf16, either of them followed by `-compile` and, on a GPU, by `-ref`, which leaves out the Triton
kernels; and `plain-fp32`: the network as a plain PyTorch port would have it, in contiguous NCHW, with resampling and
convolution apart, and all derivatives left to autograd. `share` is the fraction of the convolution rate, measured
beside it, that the operations of the step reach; it counts the operations of our form. On a GPU the table also has the
most memory that tensors took, beside the forecast of `train.py --dry-run`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from timing import machine, save, time_in_turns

from config import PRESETS
from dnnlib.distributed import pick_device
from training.config import TrainConfig
from training.ops import implementation
from training.ops.epilogue import instance_norm_style_ref
from training.precision import autocast, choose_kernels
from training.run.cost import Cost, estimate_cost
from training.run.forecast import convolution_rate
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater

Device = Literal["auto", "cuda", "cpu"]


def _plain_up(x: torch.Tensor, weight: torch.Tensor, rotate: bool) -> torch.Tensor:
    """Do what `conv_up2d` does, in two operations."""
    w = weight.rot90(2, (2, 3)) if rotate else weight
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), w, padding=1)


def _plain_down(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Do what `conv_down2d` does, in two operations."""
    return F.avg_pool2d(F.conv2d(x, weight, padding=1), 2)


def _plain_constants(x: torch.Tensor, constants: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Do what `conv2d_with_constants` does, by concatenation."""
    maps = constants.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return F.conv2d(torch.cat([x, maps], 1), weight, padding=weight.shape[-1] // 2)


def _plain_blur(x: torch.Tensor, taps: tuple[int, ...], impl: str = "ref") -> torch.Tensor:
    """Do what `blur2d` does for an odd number of taps, as a convolution of each map."""
    if not taps:
        return x
    f = torch.tensor(taps, dtype=x.dtype, device=x.device) / sum(taps)
    weight = torch.outer(f, f).expand(x.shape[1], 1, len(taps), len(taps))
    return F.conv2d(x, weight, padding=len(taps) // 2, groups=x.shape[1])


def _plain_stddev(x: torch.Tensor, group_size: int | None, num_features: int) -> torch.Tensor:
    """Do what `minibatch_stddev` does, with the derivatives of autograd."""
    n, c, h, w = x.shape
    g = min(group_size or n, n)
    members = x.float().reshape(g, n // g, num_features, c // num_features, h, w)
    return (members.var(0, correction=0) + 1e-8).sqrt().mean((2, 3, 4)).repeat(g, 1)


def _plain_pixel_norm(x: torch.Tensor, dim: int = 1, impl: str = "ref") -> torch.Tensor:
    """Do what `pixel_norm` does, with the derivatives of autograd."""
    return x * (x.square().mean(dim, keepdim=True) + 1e-8).rsqrt()


@contextmanager
def plain_operations() -> Iterator[None]:
    """Replace the fast operations of our networks by those that a plain port would use."""
    # Without channels_last, tensors stay NCHW.
    contiguous = torch.Tensor.contiguous
    with (
        mock.patch("training.networks.layers.conv_up2d", _plain_up),
        mock.patch("training.networks.layers.conv_down2d", _plain_down),
        mock.patch("training.networks.layers.conv2d_with_constants", _plain_constants),
        mock.patch("training.networks.layers.conv2d", F.conv2d),
        mock.patch("training.networks.layers.conv1x1", F.conv2d),
        mock.patch("training.networks.layers.blur2d", _plain_blur),
        mock.patch("training.networks.msg_stylegan.minibatch_stddev", _plain_stddev),
        mock.patch("training.networks.msg_progan.minibatch_stddev", _plain_stddev),
        mock.patch("training.networks.msg_progan.mean2d", lambda x: F.avg_pool2d(x, 2)),
        mock.patch("training.networks.msg_progan.pixel_norm", _plain_pixel_norm),
        mock.patch("training.ops.epilogue.pixel_norm", _plain_pixel_norm),
        mock.patch("training.ops.epilogue.instance_norm_style", instance_norm_style_ref),
        mock.patch.object(torch.Tensor, "contiguous", lambda x, memory_format=None: contiguous(x)),
    ):
        yield


def prepare_steps(cfg: TrainConfig, spec: ImageSpec, device: torch.device) -> dict[str, Callable[[], None]]:
    """Return a function for each kind of step, for new networks and a batch of noise with random labels."""
    state = TrainState(cfg, spec, device)
    sampler = torch.compile(state.G_ema, dynamic=False) if cfg.compile else state.G_ema

    rng = np.random.default_rng(0)
    table = np.eye(max(spec.c_dim, 1), spec.c_dim, dtype=np.float32)
    images = rng.integers(0, 256, (cfg.batch, spec.channels, spec.resolution, spec.resolution), dtype=np.uint8)
    labels = table[rng.integers(len(table), size=cfg.batch)]
    z = torch.randn(cfg.batch, cfg.G.z_dim, device=device)
    c = torch.from_numpy(labels).to(device)

    def sample() -> None:
        with torch.no_grad(), autocast(cfg.precision, device):
            sampler(z, c, noise_mode="const")

    updater = Updater(state, table)
    return {
        "D step": lambda: updater.d_update(images, labels, 0.001),
        "G step": lambda: updater.g_update(0.001),
        "sample": sample,
    }


def measure(cfg: TrainConfig, spec: ImageSpec, device: torch.device, repeats: int) -> dict[str, float]:
    """Return the images per second of each kind of step."""
    # The first steps allocate memory, and compile.
    steps = prepare_steps(cfg, spec, device)
    seconds = {name: timing.seconds for name, timing in time_in_turns(steps, repeats, warm_up=2).items()}
    seconds["train"] = seconds["D step"] + seconds["G step"]
    return {name: cfg.batch / seconds[name] for name in ("D step", "G step", "train", "sample")}


def configure(preset: str, fmap_base: int, fmap_max: int, batch: int, device: Device) -> TrainConfig:
    """Return the options of the preset with the sizes asked for, and a gradient penalty in every step."""
    cfg = PRESETS[preset]()

    # The two systems name their sizes differently.
    G = D = {"fmap_base": fmap_base, "fmap_max": fmap_max}
    if cfg.G.kind == "msg_progan":
        G, D = {"z_dim": fmap_max}, {"features": fmap_max}
    return replace(
        cfg,
        batch=batch,
        micro_batch=None,
        device=device,
        loss=replace(cfg.loss, reg_interval=1),
        G=replace(cfg.G, **G),  # type: ignore[arg-type]
        D=replace(cfg.D, **D),  # type: ignore[arg-type]
    )


def main(
    preset: str = "flowers256",
    fmap_base: int = 2048,
    fmap_max: int = 128,
    resolution: int = 64,
    batch: int = 16,
    settings: tuple[str, ...] = ("plain-fp32", "fp32", "bf16"),
    repeats: int = 5,
    device: Device = "auto",
    json: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        preset: Preset that the networks and losses come from, but for their sizes.
        fmap_base: Feature maps of G and D, see `train.py --help`.
        fmap_max: Most feature maps in any layer.
        resolution: Width and height of the images in pixels.
        batch: Images a step.
        settings: Which of plain-fp32, fp32, bf16, fp32-compile, bf16-compile, bf16-ref, bf16-compile-ref, ..., in turn.
        repeats: Timed steps of each kind; the median counts.
        device: Device to measure on; auto = cuda if there is one.
        json: Also write the figures to this file.
    """
    cfg = configure(preset, fmap_base, fmap_max, batch, device)
    spec = ImageSpec(resolution=resolution, c_dim=5 if cfg.use_labels else 0)
    cost = estimate_cost(cfg, spec)
    used_device = pick_device(device)
    facts = machine(used_device)
    choose_kernels(cfg.deterministic)

    # All settings, in turn.
    rows = []
    for name in settings:
        rows.append(_row(name, cfg, spec, cost, used_device, repeats))
        print(f"{name} done", file=sys.stderr)

    # What was measured, and where.
    base = "z and feature maps" if cfg.G.kind == "msg_progan" else f"fmap_base {fmap_base}, fmap_max"
    penalty = "R1 in every step" if cfg.loss.r1_gamma else "no R1"
    figures = {
        **facts,
        "network": f"{cfg.G.kind} {resolution}x{resolution}, {base} {fmap_max}, batch {batch}, {penalty}",
        "GFLOP per image": {
            "D step": cost.d_flops / 1e9,
            "G step": cost.g_flops / 1e9,
            "sample": cost.sample_flops / 1e9,
        },
        "results": rows,
    }
    save(figures, json)

    _print_table(rows)


def _row(
    name: str, cfg: TrainConfig, spec: ImageSpec, cost: Cost, device: torch.device, repeats: int
) -> dict[str, Any]:
    """Return the figures of one setting, with the rate of a bare convolution at that moment."""
    setting = replace(cfg, precision="bf16" if "bf16" in name else "fp32", compile="compile" in name)
    rate = convolution_rate(device, setting.precision)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)

    kernels = implementation._INSTALLED and not name.startswith("plain") and not name.endswith("-ref")
    with (
        plain_operations() if name.startswith("plain") else nullcontext(),
        mock.patch.object(implementation, "_INSTALLED", kernels),
    ):
        speed = measure(setting, spec, device, repeats)

    # Everything is counted in operations of our form, also in the plain form, which needs more.
    share = speed["train"] * (cost.d_flops + cost.g_flops) / rate
    row = {"setting": name, **speed, "conv TFLOP/s": rate / 1e12, "share": share}
    if device.type == "cuda":
        row["peak GB"] = torch.cuda.max_memory_allocated(device) / 1e9
        row["forecast GB"] = estimate_cost(setting, spec).peak_bytes / 1e9
    return row


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print the table of docs/performance.md."""
    memory_heads = [key for key in ("peak GB", "forecast GB") if key in rows[0]]
    heads = ["setting", "D step", "G step", "train img/s", "s/kimg", "against first", "sample img/s", "conv TFLOP/s"]
    heads += ["share", *memory_heads]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        cells = [f"{row['setting']}", f"{row['D step']:.1f}", f"{row['G step']:.1f}", f"{row['train']:.1f}"]
        cells += [f"{1000 / row['train']:.1f}", f"{row['train'] / rows[0]['train']:.2f}x", f"{row['sample']:.0f}"]
        cells += [f"{row['conv TFLOP/s']:.2f}", f"{row['share']:.0%}", *(f"{row[key]:.2f}" for key in memory_heads)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
