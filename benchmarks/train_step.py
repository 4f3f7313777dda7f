"""Images per second of the D step, the G step, both together and sampling, for several settings in one run.

python benchmarks/train_step.py [--fmap-base 2048] [--settings plain-fp32 fp32 bf16 bf16-compile] [--json FILE]

Settings: fp32, bf16, and with `-compile`. `plain-fp32` is the network as a plain PyTorch port would write it:
contiguous NCHW, resampling and convolution apart, AdaIN and minibatch stddev left to autograd and concatenation.
`share` is the fraction of the convolution rate measured beside it that the operations of the step reach; it counts the
operations of our form.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
import tyro

sys.path.insert(0, str(Path(__file__).parent.parent))

from config import PRESETS
from dnnlib.distributed import pick_device
from training.config import Precision, TrainConfig
from training.networks.config import ProGANDiscriminatorConfig, ProGANGeneratorConfig
from training.ops.epilogue import instance_norm_style_ref
from training.precision import autocast
from training.run.forecast import convolution_rate, count
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater


@dataclass(frozen=True)
class Options:
    """What to measure."""

    preset: str = "robohash"
    """Preset that the networks and losses come from."""
    fmap_base: int = 2048
    """Feature maps of G and D, see `train.py --help`."""
    fmap_max: int = 128
    """Most feature maps in any layer."""
    resolution: int = 64
    """Pixels."""
    batch: int = 16
    """Images a step."""
    settings: tuple[str, ...] = ("plain-fp32", "fp32", "bf16")
    """Which of plain-fp32, fp32, bf16, fp32-compile, bf16-compile, in turn."""
    repeats: int = 5
    """Timed steps of each kind; the median counts."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where."""
    json: Path | None = field(default=None)
    """Also write the figures here."""


def _plain_up(x: torch.Tensor, weight: torch.Tensor, rotate: bool) -> torch.Tensor:
    w = weight.rot90(2, (2, 3)) if rotate else weight
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), w, padding=1)


def _plain_down(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(F.conv2d(x, weight, padding=1), 2)


def _plain_constants(x: torch.Tensor, constants: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    maps = constants.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return F.conv2d(torch.cat([x, maps], 1), weight, padding=weight.shape[-1] // 2)


def _plain_stddev(x: torch.Tensor, group_size: int, num_features: int) -> torch.Tensor:
    n, c, h, w = x.shape
    g = min(group_size, n)
    y = x.reshape(g, n // g, num_features, c // num_features, h, w)
    y = y - y.mean(0, keepdim=True)
    return (y.square().mean(0) + 1e-8).sqrt().mean((2, 3, 4)).repeat(g, 1)


@contextmanager
def _plain() -> Iterator[None]:
    contiguous = torch.Tensor.contiguous
    with (
        mock.patch("training.networks.layers.conv_up2d", _plain_up),
        mock.patch("training.networks.layers.conv_down2d", _plain_down),
        mock.patch("training.networks.layers.conv2d_with_constants", _plain_constants),
        mock.patch("training.networks.msg_stylegan.minibatch_stddev", _plain_stddev),
        mock.patch("training.networks.msg_progan.minibatch_stddev", _plain_stddev),
        mock.patch("training.ops.epilogue.instance_norm_style", instance_norm_style_ref),
        mock.patch.object(torch.Tensor, "contiguous", lambda x, memory_format=None: contiguous(x)),
    ):
        yield


def _seconds(step: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median time of a step after two that warm up (and compile)."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def measure(cfg: TrainConfig, spec: ImageSpec, device: torch.device, repeats: int) -> dict[str, float]:
    """img/s of each kind of step."""
    rng = np.random.default_rng(0)
    table = np.eye(max(spec.c_dim, 1), spec.c_dim, dtype=np.float32)
    state = TrainState(cfg, spec, device)
    updater = Updater(state, table)
    images = rng.integers(0, 256, (cfg.batch, spec.channels, spec.resolution, spec.resolution), dtype=np.uint8)
    labels = table[rng.integers(len(table), size=cfg.batch)]
    sampler = torch.compile(state.G_ema, dynamic=False) if cfg.compile else state.G_ema
    z = torch.randn(cfg.batch, cfg.G.z_dim, device=device)
    c = torch.from_numpy(labels).to(device)

    def sample() -> None:
        with torch.no_grad(), autocast(cfg.precision, device):
            sampler(z, c, noise_mode="const")

    d = _seconds(lambda: updater.d_update(images, labels, 0.001), device, repeats)
    g = _seconds(lambda: updater.g_update(0.001), device, repeats)
    s = _seconds(sample, device, repeats)
    n = cfg.batch
    return {"D step": n / d, "G step": n / g, "train": n / (d + g), "sample": n / s}


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    device = pick_device(options.device)
    cfg = PRESETS[options.preset]()
    spec = ImageSpec(resolution=options.resolution, c_dim=5 if options.preset == "robohash" else 0)
    base, most = options.fmap_base, options.fmap_max
    cfg = replace(
        cfg, batch=options.batch, micro_batch=None, loss=replace(cfg.loss, reg_interval=1), device=options.device,
        G=replace(cfg.G, z_dim=most) if isinstance(cfg.G, ProGANGeneratorConfig)
        else replace(cfg.G, fmap_base=base, fmap_max=most),
        D=replace(cfg.D, features=most) if isinstance(cfg.D, ProGANDiscriminatorConfig)
        else replace(cfg.D, fmap_base=base, fmap_max=most),
    )  # fmt: skip
    cost = count(cfg, spec)
    rows: list[dict[str, Any]] = []
    for name in options.settings:
        precision: Precision = "bf16" if "bf16" in name else "fp32"
        one = replace(cfg, precision=precision, compile=name.endswith("-compile"))
        rate = convolution_rate(device, precision)
        if name.startswith("plain"):
            with _plain():
                speed = measure(one, spec, device, options.repeats)
        else:
            speed = measure(one, spec, device, options.repeats)
        share = speed["train"] * (cost.d_flops + cost.g_flops) / rate
        rows.append({"setting": name, **speed, "conv TFLOP/s": rate / 1e12, "share": share})
        print(f"{name} done", file=sys.stderr)
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.cpu.get_capabilities()["cpu_name"]
    size = f"z and feature maps {most}" if cfg.G.kind == "msg_progan" else f"fmap_base {base}, fmap_max {most}"
    penalty = "R1 in every step" if cfg.loss.r1_gamma else "no penalty"
    facts = {
        "hardware": f"{hardware}, {torch.get_num_threads()} threads" if device.type == "cpu" else hardware,
        "torch": torch.__version__,
        "network": f"{cfg.G.kind} {spec.resolution}x{spec.resolution}, {size}, batch {options.batch}, {penalty}",
        "GFLOP per image": {
            "D step": cost.d_flops / 1e9,
            "G step": cost.g_flops / 1e9,
            "sample": cost.sample_flops / 1e9,
        },
    }
    print(f"{facts['hardware']}, torch {facts['torch']}; {facts['network']}")
    print(f"GFLOP per image: D step {cost.d_flops / 1e9:.2f}, G step {cost.g_flops / 1e9:.2f}\n")
    print("| setting | D step | G step | train img/s | against first | sample img/s | conv TFLOP/s | share |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['setting']} | {r['D step']:.1f} | {r['G step']:.1f} | {r['train']:.1f} | "
            f"{r['train'] / rows[0]['train']:.2f}x | {r['sample']:.0f} | {r['conv TFLOP/s']:.2f} | {r['share']:.0%} |"
        )
    if options.json:
        options.json.write_text(json.dumps({**facts, "results": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
