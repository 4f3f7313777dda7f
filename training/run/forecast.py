"""A forecast of what a run will cost in parameters, operations, memory and time, worked out without running it."""

import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from dnnlib.distributed import pick_device
from dnnlib.errors import UserError
from dnnlib.object_store import is_remote
from dnnlib.stats import format_time
from training.config import Precision, TrainConfig, as_dict
from training.data.dataset import open_dataset
from training.precision import HALF_DTYPES, choose_kernels, resolve_precision
from training.run.auto_precision import choose_precision
from training.run.cost import estimate_cost
from training.run.layer_table import describe_networks
from training.run.micro_batch import choose_micro_batch, free_memory, largest_fitting
from training.spec import ImageSpec, shape_text
from training.state import check_networks

# Share of the bare convolution rate that training of large networks reaches on a CPU, and the operations per pixel of
# the image with which a network reaches half of that (docs/performance.md).
CPU_EFFICIENCY = {"msg_stylegan": 0.6, "msg_progan": 0.8, "msg_r3gan": 0.6}
HALF_EFFICIENCY = 150e3


def convolution_rate(device: torch.device, precision: Precision) -> float:
    """Measure the operations per second of a 3x3 convolution, forward and backward.

    It has 64 channels at 32x32 on a CPU, and 256 channels at 64x64 on a GPU.
    """
    # A layer of the size that most of the time goes to, in the precision of the run.
    n, ch, r = (16, 64, 32) if device.type == "cpu" else (32, 256, 64)
    dtype = HALF_DTYPES.get(resolve_precision(precision, device), torch.float32)
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


def print_forecast(cfg: TrainConfig, is_scaled: bool = False) -> None:
    """Print what `--dry-run` shows: options, both networks layer by layer, memory and time.

    is_scaled: whether the images will be scaled to squares of the resolution before training.
    """
    spec = _spec(cfg, is_scaled)
    check_networks(cfg, spec)
    cfg = choose_micro_batch(cfg, spec)
    cfg = choose_precision(cfg, spec, pick_device(cfg.device))
    print(json.dumps(as_dict(cfg), indent=1))
    print(f"\n{describe_networks(cfg, spec)}")

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

    print(
        f"\nimages      {shape_text(spec.shape)}, {spec.c_dim or 'no'} label values\n"
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
    per_pixel = operations / (spec.resolution * spec.width)
    return CPU_EFFICIENCY[cfg.G.kind] * per_pixel / (per_pixel + HALF_EFFICIENCY)


def _spec(cfg: TrainConfig, is_scaled: bool) -> ImageSpec:
    """Return what the dataset's images are; if there is none yet, say so, and assume RGB without labels."""
    if (is_remote(cfg.data) or Path(cfg.data).exists()) and not is_scaled:
        return open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels, cfg.stream).spec

    try:
        spec = ImageSpec(resolution=cfg.resolution or 64)
    except ValueError as e:
        raise UserError(str(e)) from e
    what = "its images will be scaled, and labels are not looked at" if is_scaled else "not found"
    print(f"{cfg.data}: {what}; forecast for {spec.size_text} RGB without labels (--resolution: another size)\n")
    return spec
