"""Kernel inception distance (Bińkowski et al. 2018; reference implementations: MMD-GAN's compute_scores.py,
StyleGAN2-ADA, torch-fidelity): unbiased, so also meaningful for small sets."""

import numpy as np

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.context import Context, Measurement


def kid(context: Context, n: int, subsets: int = 100, subset_size: int = 1000) -> Measurement:
    """Measure the mean over subsets of the unbiased squared distance, kernel (x.y/F + 1)^3, and its standard error;
    lower is better. Reals are as many as there are, but n at most."""
    detector = context.detectors["inception"]
    reals = context.draw_reals_once(n)
    fakes = context.draw_fakes(n)

    # A subset is half of a set at most, which leaves something to vary.
    size = min(subset_size, min(fakes.n, reals.n) // 2)
    if size < 2:
        raise UserError(f"kid: {fakes.n} fakes and {reals.n} reals, expected at least 4 of both")

    real = context.features.table(reals, detector)
    fake = context.features.table(fakes, detector)
    mean, error = distributed.on_main(lambda: polynomial_mmd(fake, real, subsets, size, context.seed))
    facts = detector.facts | reals.facts | fakes.facts | {"subsets": subsets, "subset_size": size}
    return Measurement({"kid": mean, "kid_standard_error": error}, facts)


def polynomial_mmd(x: np.ndarray, y: np.ndarray, subsets: int, size: int, seed: int) -> tuple[float, float]:
    """Return the mean over random subsets of features [N,F], [M,F], and its standard error."""
    rng = np.random.RandomState(seed % 2**32)
    distances = []
    for _ in range(subsets):
        a = np.asarray(x[rng.choice(len(x), size, replace=False)], np.float64)
        b = np.asarray(y[rng.choice(len(y), size, replace=False)], np.float64)
        aa, bb, ab = ((u @ v.T / a.shape[1] + 1) ** 3 for u, v in ((a, a), (b, b), (a, b)))  # [size,size]

        # Without the diagonals the estimate is unbiased.
        within = (aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)) / (size * (size - 1))
        distances.append(within - 2 * ab.mean())

    # The error of drawing subsets, and that of the sets themselves: subsets of size s vary (N-s)/s times as much.
    unused = min(len(x), len(y)) - size
    error = np.std(distances) * np.sqrt(1 / subsets + size / max(unused, 1))
    return float(np.mean(distances)), float(error)
