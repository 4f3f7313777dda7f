"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al. 2018, section 5; reference
implementation: Progressive GAN's metrics/sliced_wasserstein.py). Needs no weights: the default offline."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.seeds import seed_of
from metrics.context import Context, Measurement
from metrics.samples import Reals, Samples, progress
from metrics.tables import Table, on_disk

SMALLEST = 16  # pixels of the last level
SIZE, PATCHES = 7, 128  # pixels of a patch, patches of an image and level
REPEATS, DIRECTIONS = 4, 128
BLOCK = 2**14  # patches looked at together
PROJECTIONS = 2**24  # held at a time, of each set
KERNEL = (1, 4, 6, 4, 1)


def swd(context: Context, n: int) -> Measurement:
    """Measure the distance x 1000 for each level, named by its height, and the mean over levels; lower is better."""
    reals = context.draw_reals(n)
    fakes = context.draw_fakes(n)
    n = min(fakes.n, reals.n)  # a set of images may have fewer

    spec = context.dataset().spec
    if isinstance(fakes.samples, Reals):
        actual = (fakes.samples.dataset.spec.channels, fakes.samples.dataset.spec.resolution)
        expected = (spec.channels, spec.resolution)
        if actual != expected:
            raise UserError(f"swd: images of (channels, size) {actual}, expected {expected} as the reals")

    halvings = range(spec.resolution.bit_length())
    sizes = [spec.resolution >> k for k in halvings if spec.resolution >> k >= SMALLEST] or [spec.resolution]
    fake = _patches(context, fakes.samples, n, range(len(sizes)), "fakes")

    # Of reals one level at a time: all of them would fill the disk, and reading is cheap.
    distances = {}
    for level, size in enumerate(sizes):
        (real,) = _patches(context, reals.samples, n, [level], f"reals {size}x{size}")
        distances[f"swd_{size}"] = 1000 * sliced_wasserstein(fake[level], real, context.seed, context.device)

    mean = float(np.mean(list(distances.values())))
    facts = reals.facts | fakes.facts | {"num_reals": n, "num_fakes": n}
    return Measurement({"swd": mean, **distances}, facts)


def _patches(context: Context, samples: Samples, n: int, levels: Iterable[int], title: str) -> tuple[Table, ...]:
    """Return, for each level, patches [n*PATCHES,C,SIZE,SIZE] of its images."""

    def patches(images: torch.Tensor, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        x = images.to(context.device).float()
        seeds = [seed_of(context.seed, int(index), "swd") for index in indices]
        by_level = []
        for level in levels:
            band = laplacian(x, level).cpu().numpy()
            by_level.append(np.stack([cut(image, seed) for image, seed in zip(band, seeds, strict=True)]))
        return tuple(by_level)

    batches = context.features.stream(samples, n, patches, title)
    tables = on_disk(batches, n)  # each [n,PATCHES,C,SIZE,SIZE]
    return tuple(table.reshape(-1, *table.shape[2:]) for table in tables)


def laplacian(x: torch.Tensor, level: int) -> torch.Tensor:
    """Return level k of the Laplacian pyramid of [N,C,h,w]: what is lost by reducing once more; the smallest is the
    reduced image itself."""
    for _ in range(level):
        x = down(x)
    last = x.shape[2] // 2 < SMALLEST
    return x if last else x - up(down(x))


def _filter(x: torch.Tensor, gain: float) -> torch.Tensor:
    k = torch.tensor(KERNEL, dtype=x.dtype, device=x.device) / 16
    weight = (k[:, None] * k * gain).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, groups=x.shape[1])


def down(x: torch.Tensor) -> torch.Tensor:
    """Reduce by a low-pass filter and taking every second pixel."""
    return _filter(x, 1)[:, :, ::2, ::2]


def up(x: torch.Tensor) -> torch.Tensor:
    """Enlarge by zeros in between and a low-pass filter."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, 2 * h, 2 * w)
    wide[:, :, ::2, ::2] = x
    return _filter(wide, 4)


def cut(image: np.ndarray, seed: int) -> np.ndarray:
    """Cut random patches [PATCHES,C,SIZE,SIZE] of an image [C,h,w]."""
    _, h, w = image.shape
    rng = np.random.default_rng(seed)
    ys, xs = (rng.integers(0, s - SIZE + 1, PATCHES) for s in (h, w))
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (1, 2))  # [C,h',w',SIZE,SIZE]
    return np.ascontiguousarray(windows[:, ys, xs].swapaxes(0, 1))


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int, device: torch.device) -> float:
    """Return the mean distance between the sorted projections of two sets [M,C,s,s] of equal size, each normalised,
    onto random directions. Each process takes some directions."""
    scales = [channel_moments(x) for x in (a, b)]
    directions = unit_vectors(a[0].size, seed)
    width = min(16, max(1, PROJECTIONS // len(a)))
    groups = [directions[:, start : start + width] for start in range(0, directions.shape[1], width)]

    def distance(index: int) -> float:
        group = torch.from_numpy(groups[index]).to(device)
        p, q = (_sorted_projections(x, *scale, group) for x, scale in zip((a, b), scales, strict=True))
        return float((p - q).abs().double().mean(1).sum())

    total = 0.0
    with progress(len(groups), "projections", "group") as bar:
        for group_total in distributed.striped(len(groups), distance):
            total += group_total
            bar.update()
    return total / directions.shape[1]


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each channel of [M,C,s,s], float64 [C]."""
    parts = [slice(i, i + BLOCK) for i in range(0, len(x), BLOCK)]
    count = x.size / x.shape[1]
    mean = sum(x[p].sum((0, 2, 3), dtype=np.float64) for p in parts) / count
    deviations = (np.square(x[p] - mean[:, None, None]).sum((0, 2, 3)) for p in parts)  # type: ignore[index]
    return mean, np.sqrt(sum(deviations) / count)  # type: ignore[return-value]


def unit_vectors(features: int, seed: int) -> np.ndarray:
    """Return random directions, float32 [F,512]."""
    directions = np.random.default_rng(seed).normal(size=(features, REPEATS * DIRECTIONS))
    lengths = np.sqrt(np.square(directions).sum(0))
    return (directions / lengths).astype(np.float32)  # type: ignore[no-any-return]


def _sorted_projections(x: np.ndarray, mean: np.ndarray, std: np.ndarray, directions: torch.Tensor) -> torch.Tensor:
    """Return sorted projections [directions,M] of patches [M,C,s,s], made mean 0 and deviation 1 in each channel."""
    shift, scale = (torch.from_numpy(v).to(directions)[:, None, None] for v in (mean, np.maximum(std, 1e-12)))
    out = directions.new_empty(directions.shape[1], len(x))
    for start in range(0, len(x), BLOCK):
        part = (torch.from_numpy(np.array(x[start : start + BLOCK])).to(directions) - shift) / scale
        out[:, start : start + BLOCK] = (part.flatten(1) @ directions).T

    if out.device.type != "cpu":
        return out.sort(1).values
    out.numpy().sort(1)  # 14 times as fast as torch's
    return out
