"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al. 2018, section 5; reference
implementation: Progressive GAN's metrics/sliced_wasserstein.py). Needs no weights: the default offline."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.context import Context, on_disk
from metrics.samples import Reals, Samples, stream
from training.latents import seed_of

SMALLEST = 16  # pixels of the last level
SIZE, PATCHES = 7, 128  # pixels of a patch, patches of an image and level
REPEATS, DIRECTIONS = 4, 128
KERNEL = (1, 4, 6, 4, 1)


def swd(ctx: Context, n: int) -> dict[str, float]:
    """Distance x 1000 for each level, named by its height, and the mean over levels; lower is better."""
    reals, n_real = ctx.reals_of(n)
    fakes, n = ctx.fakes_of(n)
    n = min(n, n_real)  # a set of images may have fewer
    ctx.facts |= {"num_reals": n, "num_fakes": n}
    resolution = ctx.dataset().spec.resolution
    if isinstance(fakes, Reals):
        found, expected = ((d.spec.channels, d.spec.resolution) for d in (fakes.dataset, ctx.dataset()))
        if found != expected:
            raise UserError(f"swd: images of (channels, size) {found}, expected {expected} as the reals")
    sizes = [resolution >> k for k in range(resolution.bit_length()) if resolution >> k >= SMALLEST] or [resolution]
    out = {}
    for level, size in enumerate(sizes):  # one level at a time: patches of all would be too many
        a, b = (_descriptors(ctx, s, n, level, f"{size}x{size} {t}") for s, t in ((reals, "reals"), (fakes, "fakes")))
        out[f"swd_{size}"] = 1000 * sliced_wasserstein(a, b, ctx.seed, ctx.device)
    return {"swd": float(np.mean(list(out.values()))), **out}


def _descriptors(ctx: Context, samples: Samples, n: int, level: int, title: str) -> np.ndarray:
    """Patches [n*PATCHES,C*SIZE*SIZE] of one level of each image, normalised by channel."""

    def patches(images: torch.Tensor, indices: np.ndarray) -> np.ndarray:
        x = laplacian(images.to(ctx.device).float(), level)
        return np.stack(
            [cut(y.cpu().numpy(), seed_of(ctx.seed, int(i), "swd")) for y, i in zip(x, indices, strict=True)]
        )

    found = on_disk(stream(n, ctx.batch, samples, patches, title), n)  # [n,PATCHES,C,SIZE,SIZE]
    return normalize(found.reshape(-1, *found.shape[2:]))


def laplacian(x: torch.Tensor, level: int) -> torch.Tensor:
    """Level k of the Laplacian pyramid of [N,C,h,w]: what is lost by reducing once more; the smallest is as it is."""
    for _ in range(level):
        x = down(x)
    last = x.shape[2] // 2 < SMALLEST
    return x if last else x - up(down(x))


def _filter(x: torch.Tensor, gain: float) -> torch.Tensor:
    k = torch.tensor(KERNEL, dtype=x.dtype, device=x.device) / 16
    weight = (k[:, None] * k * gain).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, groups=x.shape[1])


def down(x: torch.Tensor) -> torch.Tensor:
    """Low-pass filter, every second pixel."""
    return _filter(x, 1)[:, :, ::2, ::2]


def up(x: torch.Tensor) -> torch.Tensor:
    """Zeros in between, low-pass filter."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, 2 * h, 2 * w)
    wide[:, :, ::2, ::2] = x
    return _filter(wide, 4)


def cut(image: np.ndarray, seed: int) -> np.ndarray:
    """Random patches [PATCHES,C,SIZE,SIZE] of an image [C,h,w]."""
    _, h, w = image.shape
    rng = np.random.default_rng(seed)
    ys, xs = (rng.integers(0, s - SIZE + 1, PATCHES) for s in (h, w))
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (1, 2))  # [C,h',w',SIZE,SIZE]
    return np.ascontiguousarray(windows[:, ys, xs].swapaxes(0, 1))


def normalize(x: np.ndarray) -> np.ndarray:
    """Patches [M,C,s,s] with mean 0 and deviation 1 in each channel: [M,C*s*s]; changes x."""
    parts = [slice(i, i + 2**16) for i in range(0, len(x), 2**16)]
    count = x.size / x.shape[1]
    mean = sum(x[p].sum((0, 2, 3), dtype=np.float64) for p in parts) / count
    deviations = (np.square(x[p] - mean[:, None, None]).sum((0, 2, 3)) for p in parts)  # type: ignore[index]
    std = np.sqrt(sum(deviations) / count)
    for p in parts:
        x[p] = (x[p] - mean[:, None, None]) / np.maximum(std, 1e-12)[:, None, None]  # type: ignore[index]
    return x.reshape(len(x), -1)


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int, device: torch.device) -> float:
    """Mean distance between the sorted projections of two sets [M,F] of equal size onto random directions. Each process
    takes some directions."""
    total = 0.0
    groups = list(_directions(a.shape[1], seed))
    ranks, rank = distributed.world_size(), distributed.rank()
    for start in range(0, len(groups), ranks):
        mine = 0.0
        if start + rank < len(groups):
            p, q = (_sorted_projections(x, groups[start + rank], device) for x in (a, b))
            mine = float((p - q).abs().double().mean(0).sum())
        total += sum(distributed.gather_objects(mine))
    return total / (REPEATS * DIRECTIONS)


def _directions(features: int, seed: int, group: int = 16) -> Iterator[np.ndarray]:
    """Random unit vectors [F,group]."""
    rng = np.random.default_rng(seed)
    for _ in range(REPEATS * DIRECTIONS // group):
        d = rng.normal(size=(features, group))
        yield (d / np.sqrt(np.square(d).sum(0))).astype(np.float32)


def _sorted_projections(x: np.ndarray, directions: np.ndarray, device: torch.device) -> torch.Tensor:
    parts = [np.asarray(x[i : i + 2**16]) @ directions for i in range(0, len(x), 2**16)]
    return torch.from_numpy(np.concatenate(parts)).to(device).sort(0).values
