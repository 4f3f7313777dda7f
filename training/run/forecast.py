"""A forecast of what a run will cost in parameters, operations, memory and time, worked out without running it."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from dnnlib.distributed import pick_device
from dnnlib.stats import format_time
from training.config import Precision, TrainConfig, as_dict
from training.data.dataset import open_dataset
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import Discriminator, Generator
from training.networks.layers import Combine, Conv2d, ConvDown2d, ConvUp2d, Dense, DenseInput
from training.networks.msg_stylegan import SynthesisLayer
from training.precision import choose_kernels, resolve_precision
from training.run.auto_precision import choose_precision
from training.run.cost import estimate_cost
from training.run.micro_batch import choose_micro_batch, free_memory, largest_fitting
from training.spec import ImageSpec
from training.state import check_networks

# What counts as one layer in the table.
LAYERS = (SynthesisLayer, Conv2d, ConvUp2d, ConvDown2d, Dense, DenseInput, Combine)

# Share of the bare convolution rate that training of large networks reaches on a CPU, and the operations per pixel of
# the image with which a network reaches half of that (docs/performance.md).
CPU_EFFICIENCY = {"msg_stylegan": 0.6, "msg_progan": 0.8}
HALF_EFFICIENCY = 150e3


class LayerRow(NamedTuple):
    """One layer of a network, or one parameter outside of all layers."""

    name: str
    parameters: int  # how many values
    output: list[int]  # shape without the batch; empty if it is no layer
    weight: list[int]  # shape


def convolution_rate(device: torch.device, precision: Precision) -> float:
    """Measure the operations per second of a 3x3 convolution, forward and backward.

    It has 64 channels at 32x32 on a CPU, and 256 channels at 64x64 on a GPU.
    """
    # A layer of the size that most of the time goes to, in the precision of the run.
    n, ch, r = (16, 64, 32) if device.type == "cpu" else (32, 256, 64)
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    x = torch.randn(n, ch, r, r, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(ch, ch, 3, 3, device=device, dtype=dtype, requires_grad=True)
    x.requires_grad_()

    # The best of as many as fit into a second.
    best, end = float("inf"), time.perf_counter() + 1.0
    while time.perf_counter() < end:
        start = time.perf_counter()
        y = F.conv2d(x, w, padding=1)
        torch.autograd.grad(y, (x, w), torch.ones_like(y))
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)

    # Two operations per multiply-add, and three convolutions: output, gradient of the input, gradient of the weight.
    return 3 * 2 * 9 * n * ch * ch * r * r / best


def layer_table(net: Generator | Discriminator, spec: ImageSpec) -> list[LayerRow]:
    """Return the parameters outside of all layers, then the layers in the order of evaluation.

    Evaluates the network once, and leaves hooks in it.
    """
    rows: dict[str, LayerRow] = {}

    def record(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        parameters = dict(module.named_parameters())
        total = sum(p.numel() for p in parameters.values())
        weights = [list(p.shape) for key, p in parameters.items() if key.endswith(("weight", "const"))]
        rows[name] = LayerRow(name, total, list(output.shape[1:]), weights[0] if weights else [])

    # Watch the outermost modules that count as layers.
    prefixes: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if isinstance(module, LAYERS) and not name.startswith(prefixes):
            prefixes += (f"{name}.",)
            module.register_forward_hook(partial(record, name))

    c = torch.zeros(1, spec.c_dim)
    if isinstance(net, Generator):
        net(torch.zeros(1, net.cfg.z_dim), c)
    else:
        net([torch.zeros(1, spec.channels, r, r) for r in spec.resolutions], c)

    # Parameters outside of all layers, such as the embedding of labels.
    named = net.named_parameters()
    loose = [LayerRow(key, p.numel(), [], list(p.shape)) for key, p in named if not key.startswith(prefixes)]
    return loose + list(rows.values())


def print_forecast(cfg: TrainConfig) -> None:
    """Print what `--dry-run` shows: options, both networks layer by layer, memory and time."""
    spec = _spec(cfg)
    check_networks(cfg, spec)
    cfg = choose_micro_batch(cfg, spec)
    cfg = choose_precision(cfg, spec, pick_device(cfg.device))
    print(json.dumps(as_dict(cfg), indent=1))
    with FakeTensorMode():
        _print_layers("G", layer_table(build_generator(cfg.G, spec), spec))
        _print_layers("D", layer_table(build_discriminator(cfg.D, spec), spec))

    # Time from the operations and the measured rate; processes on a CPU share the cores that were measured.
    cost = estimate_cost(cfg, spec)
    device = pick_device(cfg.device)
    choose_kernels(cfg.deterministic)
    rate = convolution_rate(device, cfg.precision)
    processors = cfg.gpus if device.type == "cuda" else 1
    operations = cost.d_flops + cost.g_flops / cfg.d_repeats  # per image
    efficiency = _efficiency(cfg, spec, device, operations)
    seconds = operations / (rate * (efficiency or 1) * processors)  # per image

    # Without a share, the time is that of the convolutions alone.
    about = "about" if efficiency else "at least"
    share = f"{efficiency:.0%}" if efficiency else "all (what training reaches has not been measured on a GPU)"

    # What would fit, if it is not what is asked for.
    free = free_memory(cfg)
    largest, peak = largest_fitting(cfg, spec, free)
    is_advised = largest != cfg.images_per_pass and peak <= free
    advice = f" ({largest} would fit: --micro-batch auto)" if is_advised else ""

    size = f"{spec.channels}x{spec.resolution}x{spec.resolution}"
    print(
        f"\nimages      {size}, {spec.c_dim or 'no'} label values\n"
        f"operations  D step {cost.d_flops / 1e9:.2f}, G step {cost.g_flops / 1e9:.2f} GFLOP per image\n"
        f"memory      about {cost.peak_bytes / 2**30:.2f} GiB per process at {cfg.images_per_pass} images a pass"
        f"{advice}\n"
        f"time        {about} {1000 * seconds:.1f} s/kimg, {format_time(seconds * cfg.total_kimg * 1000)} for "
        f"{cfg.total_kimg:g} kimg at {share} of the {rate / 1e12:.2f} TFLOP/s that convolutions reach here"
    )


def _efficiency(cfg: TrainConfig, spec: ImageSpec, device: torch.device, operations: float) -> float | None:
    """Return the share of the bare convolution rate that training reaches; None on a GPU, where it was not measured.

    operations: those of an image in a D and a G step.
    """
    if device.type != "cpu":
        return None
    per_pixel = operations / spec.resolution**2
    return CPU_EFFICIENCY[cfg.G.kind] * per_pixel / (per_pixel + HALF_EFFICIENCY)


def _print_layers(title: str, rows: list[LayerRow]) -> None:
    """Print a network's layers as a table, with the total of its parameters."""
    print(f"\n{title:<28} {'parameters':>12}  {'output':<18} weight")
    for row in rows:
        output, weight = ("x".join(map(str, shape)) or "-" for shape in (row.output, row.weight))
        print(f"{row.name:<28} {row.parameters:>12,}  {output:<18} {weight}")
    print(f"{'total':<28} {sum(row.parameters for row in rows):>12,}")


def _spec(cfg: TrainConfig) -> ImageSpec:
    """Return what the dataset's images are; if there is no dataset, say so, and assume RGB without labels."""
    if Path(cfg.data).exists():
        return open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels).spec

    spec = ImageSpec(resolution=cfg.resolution or 64)
    size = f"{spec.resolution}x{spec.resolution}"
    print(f"{cfg.data}: not found; forecast for {size} RGB without labels (--resolution: another size)\n")
    return spec
