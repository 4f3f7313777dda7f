"""Sums over features, and distances between the Gaussians that they describe; all in float64."""

from enum import StrEnum
from pathlib import Path

import numpy as np

from dnnlib.files import atomic


class BiasKind(StrEnum):
    """What `bias` returns for a number of images."""

    ESTIMATED = "estimated"
    LOWER_BOUND = "a lower bound"


class Moments:
    """Mean and covariance of feature vectors [n,F], added up as they come: memory does not grow with n. The first and
    the second half are kept apart, which tells how much a distance is biased by their number (`bias`)."""

    def __init__(self, features: int) -> None:
        self.n = np.zeros(2)
        self.sum = np.zeros((2, features))
        self.outer = np.zeros((2, features, features))

    def add(self, features: np.ndarray, second: np.ndarray) -> None:
        """Add features [n,F] of images of which those with `second` [n] belong to the second half."""
        x = features.astype(np.float64)
        for half, part in enumerate((x[~second], x[second])):
            if len(part):
                self.n[half] += len(part)
                self.sum[half] += part.sum(0)
                self.outer[half] += part.T @ part

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean [F] and covariance [F,F] (divided by n-1) of all."""
        return _moments(self.n.sum(), self.sum.sum(0), self.outer.sum(0))

    def half(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of the first (0) or second half (1)."""
        return _moments(self.n[k], self.sum[k], self.outer[k])

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        with atomic(path) as temporary, open(temporary, "wb") as f:
            np.savez(f, n=self.n, sum=self.sum, outer=self.outer)

    @staticmethod
    def load(path: Path) -> "Moments":
        """Return what `save` wrote; ValueError if it is damaged."""
        moments = Moments(0)
        try:
            with np.load(path, allow_pickle=False) as f:
                moments.n = f["n"]
                moments.sum = f["sum"]
                moments.outer = f["outer"]
        except Exception as e:  # numpy raises whatever a damaged file leads it to
            raise ValueError(str(e)) from e

        features = moments.sum.shape[-1]
        if moments.n.shape != (2,) or moments.outer.shape != (2, features, features):
            raise ValueError("not moments")
        if not np.isfinite(moments.outer).all():
            raise ValueError("moments that are not finite")
        return moments


def _moments(n: float, total: np.ndarray, outer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance from sums over n vectors."""
    mean = total / n
    return mean, (outer - n * np.outer(mean, mean)) / max(n - 1, 1)


def frechet(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the Fréchet distance between two Gaussians (mean [F], covariance [F,F]): |m-m'|^2 +
    tr(C + C' - 2 (C C')^(1/2)) (Dowson & Landau 1982).

    With C = A A^T and C' = B B^T, from their eigenvectors, the trace of the root is the sum of the singular values of
    A^T B: real and exact whatever the rank, so nothing has to be added to the diagonal when n < F.
    """
    (mean, cov), (mean2, cov2) = a, b
    trace = np.linalg.svd(_root(cov).T @ _root(cov2), compute_uv=False).sum()
    return float(((mean - mean2) ** 2).sum() + np.trace(cov) + np.trace(cov2) - 2 * trace)


def _root(cov: np.ndarray) -> np.ndarray:
    """Return A with A A^T = cov."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(min=0))  # type: ignore[no-any-return]


def bias(a: Moments, b: Moments, distance: float) -> float:
    """Return how much larger the distance of a to b is than it would be for infinitely many images.

    To first order the bias falls as 1/n (Chong & Forsyth 2020), so it is as much as the distance grows when only half
    of both is used. Below 2F images the distance grows more slowly than that, and this is a lower bound.
    """
    halves = [frechet(a.half(k), b.half(k)) for k in (0, 1)]
    return float(np.mean(halves)) - distance
