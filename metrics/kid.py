"""Kernel inception distance (Bińkowski et al. 2018; reference implementations: MMD-GAN's compute_scores.py,
StyleGAN2-ADA, torch-fidelity): unbiased, so also meaningful for small sets."""

import numpy as np

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.context import Context


def kid(ctx: Context, n: int, subsets: int = 100, subset_size: int = 1000) -> dict[str, float]:
    """Mean over subsets of the unbiased squared distance, kernel (x.y/F + 1)^3, and its standard error."""
    detector = ctx.detector("inception")
    reals, n_real = ctx.reals_of(None)
    n_real = min(n_real, n)
    fakes, n = ctx.fakes_of(n)
    real = ctx.table(reals, n_real, detector, "reals")
    fake = ctx.table(fakes, n, detector, "fakes")
    size = min(subset_size, min(n, n_real) // 2)  # half at most, which leaves something to vary
    if size < 2:
        raise UserError(f"kid: {n} fakes and {n_real} reals, expected at least 4 of both")
    ctx.facts |= {"num_reals": n_real, "subsets": subsets, "subset_size": size}
    mean, error = distributed.on_main(lambda: polynomial_mmd(fake, real, subsets, size, ctx.seed))
    return {"kid": mean, "kid_standard_error": error}


def polynomial_mmd(x: np.ndarray, y: np.ndarray, subsets: int, size: int, seed: int) -> tuple[float, float]:
    """Mean over random subsets of features [N,F], [M,F], and its standard error: that of drawing the subsets, and that
    of the sets themselves, of which subsets of size s vary by (N-s)/s times as much."""
    rng = np.random.RandomState(seed % 2**32)
    found = []
    for _ in range(subsets):
        a = np.asarray(x[rng.choice(len(x), size, replace=False)], np.float64)
        b = np.asarray(y[rng.choice(len(y), size, replace=False)], np.float64)
        aa, bb, ab = ((u @ v.T / a.shape[1] + 1) ** 3 for u, v in ((a, a), (b, b), (a, b)))
        inside = (aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)) / (size * (size - 1))
        found.append(inside - 2 * ab.mean())
    left = min(len(x), len(y)) - size
    return float(np.mean(found)), float(np.std(found) * np.sqrt(1 / subsets + size / max(left, 1)))
