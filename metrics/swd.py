"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al. 2018, section 5; reference
implementation: Progressive GAN's metrics/sliced_wasserstein.py). It needs no weights and is the default metric."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.errors import UserError
from dnnlib.seeds import seed_of
from metrics.blocks import in_blocks
from metrics.context import Context, Measurement
from metrics.features import Drawn
from metrics.samples import Reals
from metrics.tables import Table, on_disk
from training.spec import shape_text

SMALLEST = 16  # least height and width of the smallest level
SIZE = 7  # height and width of a patch
PATCHES = 128  # of each image and level
DIRECTIONS = 512  # random directions to project on

# The low-pass filter of the pyramid, along one axis.
KERNEL = (1, 4, 6, 4, 1)

# How many patches are looked at together, and how many projections of a set are held at a time.
BLOCK = 2**14
PROJECTIONS = 2**24


def swd(context: Context, n: int) -> Measurement:
    """Measure the distance x 1000; lower is better.

    Values are the mean over levels (`swd`) and that of each level (`swd_64` and so on, by its height).
    """
    fakes = context.draw_fakes(n)
    reals = context.draw_reals(fakes.n)

    # Two sets of images may differ in size, while networks were checked before.
    spec = context.dataset().spec
    if isinstance(fakes.samples, Reals):
        actual, expected = shape_text(fakes.samples.dataset.spec.shape), shape_text(spec.shape)
        if actual != expected:
            raise UserError(f"swd: images of {actual}, expected {expected} as for the reals")
    if min(spec.resolution, spec.width) < SIZE:
        raise UserError(f"swd: images of {spec.size_text}, expected at least {SIZE}x{SIZE}")

    # Images smaller than the smallest level are a level of their own.
    sizes = [height for height, width in reversed(spec.sizes) if min(height, width) >= SMALLEST] or [spec.resolution]
    fake = _patches(context, fakes, range(len(sizes)), "fakes")

    # Fakes are expensive, so their patches of all levels are kept. Reals are read again for each level, to save disk.
    distances = {}
    for level, size in enumerate(sizes):
        (real,) = _patches(context, reals, [level], f"reals of height {size}")
        distances[f"swd_{size}"] = 1000 * sliced_wasserstein(fake[level], real, context.seed, context.device)

    mean = float(np.mean(list(distances.values())))
    return Measurement({"swd": mean, **distances}, reals.facts | fakes.facts)


def _patches(context: Context, drawn: Drawn, levels: Sequence[int], title: str) -> tuple[Table, ...]:
    """Return, for each level, patches [n*PATCHES,C,SIZE,SIZE] of its images."""

    def patches(images: torch.Tensor, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        x = images.to(context.device).float()

        # Image i of fakes and of reals is cut at the same places, of which each level has its own number.
        seeds = [seed_of(context.seed, int(index), "swd") for index in indices]
        bands = [laplacian(x, level).cpu().numpy() for level in levels]
        return tuple(np.stack([cut(*pair) for pair in zip(band, seeds, strict=True)]) for band in bands)

    batches = context.features.stream_images(drawn, patches, title)
    tables = on_disk(batches, drawn.n)  # each [n,PATCHES,C,SIZE,SIZE]
    return tuple(table.reshape(-1, *table.shape[2:]) for table in tables)


def laplacian(x: torch.Tensor, level: int) -> torch.Tensor:
    """Return one level of the Laplacian pyramid of [N,C,h,w], 0 = largest: what is lost by reducing once more, or the
    reduced image itself if that would be too small."""
    for _ in range(level):
        x = down(x)
    is_last = min(x.shape[2:]) // 2 < SMALLEST
    return x if is_last else x - up(down(x))


def _smooth(x: torch.Tensor, gain: float) -> torch.Tensor:
    """Return x [N,C,h,w] through the low-pass filter, times `gain`."""
    k = torch.tensor(KERNEL, dtype=x.dtype, device=x.device) / 16
    weight = (k[:, None] * k * gain).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), weight, groups=x.shape[1])


def down(x: torch.Tensor) -> torch.Tensor:
    """Return x [N,C,h,w] reduced to half its size: every second pixel behind the filter."""
    return _smooth(x, 1)[:, :, ::2, ::2]


def up(x: torch.Tensor) -> torch.Tensor:
    """Return x [N,C,h,w] enlarged to twice its size: zeros in between, then the filter."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, 2 * h, 2 * w)
    wide[:, :, ::2, ::2] = x

    # One of four pixels is not zero.
    return _smooth(wide, 4)


def cut(image: np.ndarray, seed: int) -> np.ndarray:
    """Cut random patches [PATCHES,C,SIZE,SIZE] out of an image [C,h,w]."""
    _, h, w = image.shape
    rng = np.random.default_rng(seed)
    ys, xs = (rng.integers(0, s - SIZE + 1, PATCHES) for s in (h, w))
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIZE, SIZE), (1, 2))  # [C,h',w',SIZE,SIZE]
    return np.ascontiguousarray(windows[:, ys, xs].swapaxes(0, 1))


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int, device: torch.device) -> float:
    """Return the mean distance between the sorted projections of two sets [M,C,s,s] of equal size onto random
    directions; each set is normalised first."""
    scales = [channel_moments(x) for x in (a, b)]
    directions = unit_vectors(a[0].size, seed)

    def distance(start: int, end: int) -> float:
        group = torch.from_numpy(directions[:, start:end]).to(device)
        p, q = (_sorted_projections(x, *scale, group) for x, scale in zip((a, b), scales, strict=True))
        return float((p - q).abs().double().mean(1).sum())

    # Each process takes some of the directions, as many at a time as memory allows.
    width = min(16, max(1, PROJECTIONS // len(a)))
    totals = in_blocks(DIRECTIONS, width, distance, "projections", "direction")
    return sum(totals) / DIRECTIONS


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each channel of [M,C,s,s]: float64 [C]."""
    # A table does not fit into memory, so it is read in parts, twice.
    parts = [slice(i, i + BLOCK) for i in range(0, len(x), BLOCK)]
    count = x.size / x.shape[1]
    mean = sum(x[p].sum((0, 2, 3), dtype=np.float64) for p in parts) / count
    deviations = (np.square(x[p] - mean[:, None, None]).sum((0, 2, 3)) for p in parts)  # type: ignore[index]
    return mean, np.sqrt(sum(deviations) / count)  # type: ignore[return-value]


def unit_vectors(features: int, seed: int) -> np.ndarray:
    """Return random directions, float32 [F,DIRECTIONS]."""
    directions = np.random.default_rng(seed).normal(size=(features, DIRECTIONS))
    lengths = np.sqrt(np.square(directions).sum(0))
    return (directions / lengths).astype(np.float32)  # type: ignore[no-any-return]


def _sorted_projections(x: np.ndarray, mean: np.ndarray, std: np.ndarray, directions: torch.Tensor) -> torch.Tensor:
    """Return sorted projections [directions,M] of patches [M,C,s,s], with mean 0 and deviation 1 in each channel."""
    shift, scale = (torch.from_numpy(v).to(directions)[:, None, None] for v in (mean, np.maximum(std, 1e-12)))
    projections = directions.new_empty(directions.shape[1], len(x))
    for start in range(0, len(x), BLOCK):
        part = (torch.from_numpy(np.array(x[start : start + BLOCK])).to(directions) - shift) / scale
        projections[:, start : start + BLOCK] = (part.flatten(1) @ directions).T

    # On the CPU numpy sorts 14 times as fast as torch.
    if projections.device.type != "cpu":
        return projections.sort(1).values
    projections.numpy().sort(1)
    return projections
