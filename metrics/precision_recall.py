"""Improved precision and recall (Kynkäänniemi et al. 2019; reference implementations: the authors' and StyleGAN2-ADA's
pr50k3): are fakes within the reals' manifold, and reals within that of the fakes?"""

from collections.abc import Callable

import numpy as np
import torch

from metrics.blocks import in_blocks
from metrics.context import Context, Measurement

ROWS = 2048  # features that are compared with as many others at a time


def precision_recall(context: Context, n: int, k: int = 3) -> Measurement:
    """Measure the share of fakes that are no further from some real than its k-th nearest real (precision), and the
    same the other way round (recall); higher is better. Features are VGG16's second fully connected layer."""
    detector = context.detectors["vgg16"]
    reals = context.draw_reals_once(n)
    fakes = context.draw_fakes(n)
    real = context.features.table(reals, detector)
    fake = context.features.table(fakes, detector)
    precision = covered(fake, real, k, context.device)
    recall = covered(real, fake, k, context.device)
    return Measurement({"precision": precision, "recall": recall}, detector.facts | reals.facts | fakes.facts)


def covered(points: np.ndarray, manifold: np.ndarray, k: int, device: torch.device) -> float:
    """Return the share of `points` [N,F] within one of the balls around those of `manifold` [M,F] that reach to their
    k-th neighbour there."""
    k = min(k, len(manifold) - 1)
    starts = range(0, len(manifold), ROWS)

    # Each point is its own nearest, so one more is looked for.
    def radius(x: torch.Tensor) -> torch.Tensor:
        nearest = torch.full((len(x), k + 1), torch.inf, device=device)
        for start in starts:
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))  # [rows,ROWS]
            nearest = torch.cat([nearest, distances], 1).topk(k + 1, largest=False).values
        return nearest[:, -1]

    radii = _on(by_rows(manifold, radius, device), device)

    # A point is covered if it lies in any of the balls.
    def inside(x: torch.Tensor) -> torch.Tensor:
        is_covered = torch.zeros(len(x), dtype=torch.bool, device=device)
        for start in starts:
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))  # [rows,ROWS]
            is_covered |= (distances <= radii[start : start + ROWS]).any(1)
        return is_covered

    return float(by_rows(points, inside, device).mean())


def by_rows(points: np.ndarray, compute: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> np.ndarray:
    """Return `compute` of blocks of rows of [N,F], divided among the processes: [N]."""

    def block(start: int, end: int) -> np.ndarray:
        return compute(_on(points[start:end], device)).cpu().numpy()

    return np.concatenate(list(in_blocks(len(points), ROWS, block, "neighbours", "img")))


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the squared distances [n,m] between all rows of float64 [n,F] and [m,F]."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    distances = lengths - 2 * a @ b.T
    # Rounding leaves some distance between equal rows, which must be at none.
    return distances.where(distances > 1e-12 * lengths, 0)


def _on(x: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return rows of a table on a device, as float64."""
    return torch.from_numpy(np.array(x)).to(device, torch.float64)
