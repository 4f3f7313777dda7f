"""Improved precision and recall (Kynkäänniemi et al. 2019; reference implementations: the authors' and StyleGAN2-ADA's
pr50k3): are fakes within the reals' manifold, and reals within that of the fakes?"""

from collections.abc import Callable

import numpy as np
import torch

from dnnlib import distributed
from metrics.context import Context
from metrics.samples import progress

ROWS = 2048  # features that are compared with as many others at a time


def precision_recall(ctx: Context, n: int, k: int = 3) -> dict[str, float]:
    """Share of fakes that are no further from some real than its k-th nearest real, and the other way round; features
    are VGG16's second fully connected layer."""
    detector = ctx.detector("vgg16")
    reals, n_real = ctx.reals_of(None)
    n_real = min(n_real, n)
    fakes, n = ctx.fakes_of(n)
    ctx.facts["num_reals"] = n_real
    real = ctx.table(reals, n_real, detector, "reals")
    fake = ctx.table(fakes, n, detector, "fakes")
    return {"precision": covered(fake, real, k, ctx.device), "recall": covered(real, fake, k, ctx.device)}


def covered(points: np.ndarray, manifold: np.ndarray, k: int, device: torch.device) -> float:
    """Share of `points` [N,F] within one of the balls around those of `manifold` [M,F] that reach to their k-th
    neighbour there."""
    k = min(k, len(manifold) - 1)

    def radius(x: torch.Tensor) -> torch.Tensor:
        nearest = torch.full((len(x), k + 1), torch.inf, device=device)  # with itself
        for start in range(0, len(manifold), ROWS):
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))  # [rows,ROWS]
            nearest = torch.cat([nearest, distances], 1).topk(k + 1, largest=False).values
        return nearest[:, -1]

    radii = _on(by_rows(manifold, radius, device), device)

    def inside(x: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(x), dtype=torch.bool, device=device)
        for start in range(0, len(manifold), ROWS):
            distances = squared_distances(x, _on(manifold[start : start + ROWS], device))
            found |= (distances <= radii[start : start + ROWS]).any(1)
        return found

    return float(by_rows(points, inside, device).mean())


def by_rows(points: np.ndarray, compute: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> np.ndarray:
    """`compute` on blocks of rows of [N,F], divided among the processes: [N]."""
    starts = range(0, len(points), ROWS)
    out = []
    ranks, rank = distributed.world_size(), distributed.rank()
    with progress(len(starts), "neighbours", "block") as bar:
        for i in range(0, len(starts), ranks):
            mine = None
            if i + rank < len(starts):
                start = starts[i + rank]
                mine = compute(_on(points[start : start + ROWS], device)).cpu().numpy()
            out += [part for part in distributed.gather_objects(mine) if part is not None]
            bar.update(len(out) - bar.n)
    return np.concatenate(out)


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Between all rows of float64 [n,F] and [m,F]: [n,m]. Of equal rows exactly 0, which |a|^2 + |b|^2 - 2 a.b by
    itself is not."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    distances = lengths - 2 * a @ b.T
    return distances.where(distances > 1e-12 * lengths, 0)


def _on(x: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(x)).to(device, torch.float64)
