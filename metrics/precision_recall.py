"""Improved precision and recall (Kynkäänniemi et al. 2019; reference implementations: the authors' and StyleGAN2-ADA's
pr50k3): are fakes within the reals' manifold, and reals within that of the fakes?"""

from collections.abc import Callable

import numpy as np
import torch

from dnnlib import distributed
from metrics.context import Context, Measurement
from metrics.samples import progress

ROWS = 2048  # features that are compared with as many others at a time


def precision_recall(context: Context, n: int, k: int = 3) -> Measurement:
    """Measure the share of fakes that are no further from some real than its k-th nearest real, and the other way
    round; features are VGG16's second fully connected layer."""
    detector = context.detector("vgg16")
    reals = context.draw_reals(None)
    fakes = context.draw_fakes(n)

    n_real = min(reals.n, n)
    real = context.features.table(reals.samples, n_real, detector, "reals")
    fake = context.features.table(fakes.samples, fakes.n, detector, "fakes")

    precision = covered(fake, real, k, context.device)
    recall = covered(real, fake, k, context.device)
    facts = detector.facts | reals.facts | fakes.facts | {"num_reals": n_real}
    return Measurement({"precision": precision, "recall": recall}, facts)


def covered(points: np.ndarray, manifold: np.ndarray, k: int, device: torch.device) -> float:
    """Return the share of `points` [N,F] within one of the balls around those of `manifold` [M,F] that reach to their
    k-th neighbour there."""
    k = min(k, len(manifold) - 1)

    def radius(x: torch.Tensor) -> torch.Tensor:
        nearest = torch.full((len(x), k + 1), torch.inf, device=device)  # each point is its own nearest
        for start in range(0, len(manifold), ROWS):
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))  # [rows,ROWS]
            nearest = torch.cat([nearest, distances], 1).topk(k + 1, largest=False).values
        return nearest[:, -1]

    radii = _on(by_rows(manifold, radius, device), device)

    def inside(x: torch.Tensor) -> torch.Tensor:
        covered_rows = torch.zeros(len(x), dtype=torch.bool, device=device)
        for start in range(0, len(manifold), ROWS):
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))
            covered_rows |= (distances <= radii[start : start + ROWS]).any(1)
        return covered_rows

    return float(by_rows(points, inside, device).mean())


def by_rows(points: np.ndarray, compute: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> np.ndarray:
    """Return `compute` of blocks of rows of [N,F], divided among the processes: [N]."""
    starts = range(0, len(points), ROWS)

    def block(index: int) -> np.ndarray:
        rows = points[starts[index] : starts[index] + ROWS]
        return compute(_on(rows, device)).cpu().numpy()

    blocks = []
    with progress(len(starts), "neighbours", "block") as bar:
        for values in distributed.striped(len(starts), block):
            blocks.append(values)
            bar.update()
    return np.concatenate(blocks)


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return those between all rows of float64 [n,F] and [m,F]: [n,m]. Of equal rows they are exactly 0, which
    |a|^2 + |b|^2 - 2 a.b by itself is not."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    distances = lengths - 2 * a @ b.T
    return distances.where(distances > 1e-12 * lengths, 0)


def _on(x: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(x)).to(device, torch.float64)
