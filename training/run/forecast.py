"""What a run will cost, worked out without running it: parameters, operations, memory, time."""

import json
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from dnnlib.distributed import pick_device
from dnnlib.stats import format_time
from training.config import Precision, TrainConfig, as_dict
from training.data.dataset import open_dataset
from training.latents import GeneratorInputs
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import Generator
from training.networks.layers import Combine, Conv2d, ConvDown2d, ConvUp2d, Dense, DenseInput
from training.networks.msg_stylegan import SynthesisLayer
from training.precision import autocast, resolve_precision
from training.spec import ImageSpec
from training.state import check_networks
from training.step import RealBatch, d_step, g_step

EFFICIENCY = 0.44  # share of the bare convolution rate that training reaches (docs/performance.md)


@dataclass(frozen=True)
class Cost:
    """Floating-point operations per image of one step, and peak bytes of its tensors."""

    d_flops: float
    g_flops: float
    sample_flops: float
    peak_bytes: int


class _Meter(TorchDispatchMode):
    """Counts floating-point operations, and the bytes of storages that are alive: `peak` is the most at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                storage = t.untyped_storage()
                key = storage._cdata
                if key not in self.alive:
                    self.alive[key] = storage.nbytes()
                    self.now += self.alive[key]
                    weakref.finalize(storage, self._free, key)
        self.peak = max(self.peak, self.now)
        return out

    def _free(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)


def count(cfg: TrainConfig, spec: ImageSpec) -> Cost:
    """Count the cost of the D and the G step on fake tensors: nothing is computed or allocated."""
    n = cfg.images_per_pass
    device = torch.device("cpu")

    with FakeTensorMode(), autocast(resolve_precision(cfg.precision, pick_device(cfg.device)), device):
        G, D = build_generator(cfg.G, spec), build_discriminator(cfg.D, spec)
        z, c = torch.zeros(n, cfg.G.z_dim), torch.zeros(n, spec.c_dim)
        inputs = GeneratorInputs(z, c, tuple(torch.zeros(s) for s in G.synthesis.noise_shapes(n)))
        reals = RealBatch(tuple(torch.zeros(n, spec.channels, r, r) for r in spec.resolutions), c)
        share = torch.zeros(n)

        # D steps with and without R1 and R2, a G step, and sampling.
        with _Meter() as d_reg:
            d_step(G, D, cfg.loss, reals, inputs, torch.ones(()), share).loss.backward()
        with _Meter() as d_plain:
            d_step(G, D, cfg.loss, reals, inputs, None, share).loss.backward()
        D.requires_grad_(False)
        with _Meter() as g:
            g_step(G, D, cfg.loss, inputs, reals).loss.backward()
        with _Meter() as sampling, torch.no_grad():
            G(z, c)

        # G: weights, gradients, two moments and the average; D: the same without an average.
        weights = sum(p.numel() for p in G.parameters()) * 5 + sum(p.numel() for p in D.parameters()) * 4

    k = cfg.loss.reg_interval
    return Cost(
        d_flops=(d_reg.flops + (k - 1) * d_plain.flops) / k / n,
        g_flops=g.flops / n,
        sample_flops=sampling.flops / n,
        peak_bytes=max(d_reg.peak, d_plain.peak, g.peak) + 4 * weights,
    )


def convolution_rate(device: torch.device, precision: Precision) -> float:
    """Measure the operations per second of a 3x3 convolution, forward and backward.

    It has 64 channels at 32x32 on a CPU, and 256 channels at 64x64 on a GPU.
    """
    n, ch, r = (16, 64, 32) if device.type == "cpu" else (32, 256, 64)
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    x = torch.randn(n, ch, r, r, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(ch, ch, 3, 3, device=device, dtype=dtype, requires_grad=True)
    x.requires_grad_()

    def run() -> None:
        y = F.conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), torch.ones_like(y))
        if device.type == "cuda":
            torch.cuda.synchronize()

    # The best of as many as fit into a second.
    best, end = float("inf"), time.perf_counter() + 1.0
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return 3 * 2 * 9 * n * ch * ch * r * r / best


def layer_table(net: torch.nn.Module, spec: ImageSpec) -> list[tuple[str, int, list[int], list[int]]]:
    """Return (layer, parameters, output shape, weight shape) of a network, in the order of evaluation."""
    rows: dict[str, tuple[str, int, list[int], list[int]]] = {}
    kinds = (SynthesisLayer, Conv2d, ConvUp2d, ConvDown2d, Dense, DenseInput, Combine)

    def watch(name: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, out: torch.Tensor) -> None:
            weights = [list(p.shape) for k, p in module.named_parameters() if k.endswith(("weight", "const"))]
            total = sum(p.numel() for p in module.parameters())
            rows[name] = (name, total, list(out.shape[1:]), weights[0] if weights else [])

        return hook

    # Watch the outermost modules that count as layers.
    taken: list[str] = []
    for name, module in net.named_modules():
        if isinstance(module, kinds) and not any(name.startswith(t + ".") for t in taken):
            taken.append(name)
            module.register_forward_hook(watch(name))

    # Evaluate the network once, on one image.
    if isinstance(net, Generator):
        net(torch.zeros(1, net.cfg.z_dim), torch.zeros(1, spec.c_dim))
    else:
        net([torch.zeros(1, spec.channels, r, r) for r in spec.resolutions], torch.zeros(1, spec.c_dim))

    # Parameters that belong to no layer come first.
    named = dict(net.named_parameters())
    loose = [(k, p) for k, p in named.items() if not any(k.startswith(t + ".") for t in taken)]
    return [(k, p.numel(), [], list(p.shape)) for k, p in loose] + list(rows.values())


def print_forecast(cfg: TrainConfig) -> None:
    """Print what `--dry-run` promises: options, both networks layer by layer, memory and time."""
    spec = _spec(cfg)
    check_networks(cfg, spec)
    print(json.dumps(as_dict(cfg), indent=1))
    with FakeTensorMode():
        for title, net in (("G", build_generator(cfg.G, spec)), ("D", build_discriminator(cfg.D, spec))):
            rows = layer_table(net, spec)
            print(f"\n{title:<28} {'parameters':>12}  {'output':<18} weight")
            for name, n, out, weight in rows:
                print(f"{name:<28} {n:>12,}  {'x'.join(map(str, out)) or '-':<18} {'x'.join(map(str, weight)) or '-'}")
            print(f"{'total':<28} {sum(r[1] for r in rows):>12,}")

    # Time from the operations and the measured rate; processes on a CPU share the cores that were measured.
    cost = count(cfg, spec)
    device = pick_device(cfg.device)
    rate = convolution_rate(device, cfg.precision)
    per_image = (cost.d_flops + cost.g_flops / cfg.d_repeats) / (rate * EFFICIENCY)
    if device.type == "cuda":
        per_image /= cfg.gpus
    print(f"\nimages      {spec.channels}x{spec.resolution}x{spec.resolution}, {spec.c_dim or 'no'} label values")
    print(f"operations  D step {cost.d_flops / 1e9:.2f}, G step {cost.g_flops / 1e9:.2f} GFLOP per image")
    print(f"memory      about {cost.peak_bytes / 2**30:.2f} GiB per process at {cfg.images_per_pass} images a pass")
    print(
        f"time        about {1000 * per_image:.1f} s/kimg, {format_time(per_image * cfg.total_kimg * 1000)} for "
        f"{cfg.total_kimg:g} kimg at {EFFICIENCY:.0%} of the {rate / 1e12:.2f} TFLOP/s that convolutions reach here"
    )


def _spec(cfg: TrainConfig) -> ImageSpec:
    """Return what the dataset's images are, or without a dataset what the options say."""
    if Path(cfg.data).exists():
        return open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels).spec
    spec = ImageSpec(resolution=cfg.resolution or 64)
    size = f"{spec.resolution}x{spec.resolution}"
    print(f"{cfg.data}: nothing there; forecast for {size} RGB without labels (--resolution: another size)\n")
    return spec
