"""Kernel inception distance (Bińkowski et al. 2018; reference implementations: MMD-GAN's compute_scores.py,
StyleGAN2-ADA, torch-fidelity): unbiased, so also meaningful for small sets."""

import numpy as np

from metrics.context import Context


def kid(ctx: Context, n: int, subsets: int = 100, subset_size: int = 1000) -> dict[str, float]:
    """Mean over subsets of the unbiased squared distance, kernel (x.y/F + 1)^3, and its standard error."""
    detector = ctx.detector("inception")
    reals, n_real = ctx.reals_of(None)
    n_real = min(n_real, n)
    fakes, n = ctx.fakes_of(n)
    real = ctx.table(reals, n_real, detector, "reals")
    fake = ctx.table(fakes, n, detector, "fakes")
    ctx.facts["num_reals"] = n_real
    mean, error = polynomial_mmd(fake, real, subsets, min(subset_size, max(2, min(n, n_real) // 2)), ctx.seed)
    return {"kid": mean, "kid_standard_error": error}


def polynomial_mmd(x: np.ndarray, y: np.ndarray, subsets: int, size: int, seed: int) -> tuple[float, float]:
    """Mean over random subsets of features [N,F], [M,F], and its standard error. Subsets overlap: only as many of them
    as fit into a set without doing so count as independent."""
    rng = np.random.RandomState(seed % 2**32)
    found = []
    for _ in range(subsets):
        a = np.asarray(x[rng.choice(len(x), size, replace=False)], np.float64)
        b = np.asarray(y[rng.choice(len(y), size, replace=False)], np.float64)
        aa, bb, ab = ((u @ v.T / a.shape[1] + 1) ** 3 for u, v in ((a, a), (b, b), (a, b)))
        inside = (aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)) / (size * (size - 1))
        found.append(inside - 2 * ab.mean())
    independent = max(1, min(subsets, min(len(x), len(y)) // size))
    return float(np.mean(found)), float(np.std(found) / np.sqrt(independent))
