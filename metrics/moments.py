"""Sums over features, and distances between the Gaussians that they describe, all in float64."""

import zipfile
from enum import StrEnum
from pathlib import Path
from typing import IO

import numpy as np

from dnnlib.arrays import read_member

Gaussian = tuple[np.ndarray, np.ndarray]
"""Mean [F] and covariance [F,F]."""


class BiasKind(StrEnum):
    """What `bias` returns for a number of images."""

    ESTIMATED = "estimated"
    LOWER_BOUND = "a lower bound"


class Moments:
    """Sums over feature vectors [n,F], added up as they come, so that memory does not grow with n. The first and the
    second half of the images are kept apart, from which `bias` tells how much a distance owes to their number."""

    def __init__(self, features: int) -> None:
        # The first axis is the half.
        self.n = np.zeros(2)
        self.sum = np.zeros((2, features))
        self.outer = np.zeros((2, features, features))

    def add(self, features: np.ndarray, second: np.ndarray) -> None:
        """Add features [n,F]; those where `second` [n] is True belong to the second half."""
        x = features.astype(np.float64)
        for half, part in enumerate((x[~second], x[second])):
            self.n[half] += len(part)
            self.sum[half] += part.sum(0)
            self.outer[half] += part.T @ part

    def total(self) -> Gaussian:
        """Return the mean and covariance (divided by n-1) of all features."""
        return _gaussian(self.n.sum(), self.sum.sum(0), self.outer.sum(0))

    def half(self, k: int) -> Gaussian:
        """Return the mean and covariance of the first (0) or second half (1)."""
        return _gaussian(self.n[k], self.sum[k], self.outer[k])

    def save(self, file: IO[bytes]) -> None:
        """Write the sums into an open file."""
        np.savez(file, n=self.n, sum=self.sum, outer=self.outer)

    @staticmethod
    def load(path: Path) -> "Moments":
        """Return what `save` wrote; raise ValueError, or whatever numpy raises, for a damaged file."""
        with zipfile.ZipFile(path) as archive:
            n, total, outer = (read_member(archive, name) for name in ("n", "sum", "outer"))

        # Another shape would end the computation of a distance.
        moments = Moments(total.shape[-1])
        for array, expected in ((n, moments.n), (total, moments.sum), (outer, moments.outer)):
            if array.shape != expected.shape or array.dtype != expected.dtype or not np.isfinite(array).all():
                raise ValueError(f"{array.dtype} {list(array.shape)}, expected float64 {list(expected.shape)}")
        moments.n, moments.sum, moments.outer = n, total, outer
        return moments


def _gaussian(n: float, total: np.ndarray, outer: np.ndarray) -> Gaussian:
    """Return the mean and covariance of n vectors from sums over them."""
    mean = total / n

    # A single vector has a covariance of 0.
    return mean, (outer - n * np.outer(mean, mean)) / max(n - 1, 1)


def frechet(a: Gaussian, b: Gaussian) -> float:
    """Return the Fréchet distance between two Gaussians: |m-m'|^2 + tr(C + C' - 2 (C C')^(1/2)) (Dowson & Landau 1982).

    With C = A A^T and C' = B B^T, from their eigenvectors, the trace of the root is the sum of the singular values of
    A^T B: real and exact whatever the rank, so nothing has to be added to the diagonal when n < F.
    """
    # The trace of the root of the product.
    (mean, cov), (mean2, cov2) = a, b
    trace = np.linalg.svd(_root(cov).T @ _root(cov2), compute_uv=False).sum()

    return float(((mean - mean2) ** 2).sum() + np.trace(cov) + np.trace(cov2) - 2 * trace)


def _root(cov: np.ndarray) -> np.ndarray:
    """Return A with A A^T = cov."""
    values, vectors = np.linalg.eigh(cov)

    # Rounding makes some of the smallest eigenvalues negative.
    return vectors * np.sqrt(values.clip(min=0))  # type: ignore[no-any-return]


def bias(a: Moments, b: Moments, distance: float) -> float:
    """Return how much larger the distance of a to b is than it would be for infinitely many images.

    To first order the bias falls as 1/n (Chong & Forsyth 2020), so it is as much as the distance grows when only half
    of both is used. Below 2F images the distance grows more slowly than that, and this is a lower bound.
    """
    # Both halves are as good, and their mean varies less.
    halves = [frechet(a.half(k), b.half(k)) for k in (0, 1)]
    return float(np.mean(halves)) - distance
