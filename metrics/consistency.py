"""How synchronised the levels of a sample are (MSG-GAN, Karnewar & Wang 2020, section 3: the images of all scales come
to agree without being told to), measured."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from metrics.context import Context
from metrics.samples import NoImages


def consistency(ctx: Context, n: int) -> dict[str, float]:
    """Mean squared difference between each level and the 2x2 means of the next larger one, images in [-1,1]: named by
    the smaller level's height, and the mean over levels; 0 = the levels are one image."""
    fakes = ctx.generator()
    ctx.fakes_of(n)

    def differences(images: torch.Tensor, indices: np.ndarray) -> np.ndarray:
        levels = fakes.pyramid(indices)
        found = [(a - F.avg_pool2d(b, 2)).square().mean((1, 2, 3)) for a, b in pairwise(levels)]
        return torch.stack(found, 1).double().cpu().numpy()

    found = np.concatenate(list(ctx.stream(NoImages(), n, differences, "fakes"))).mean(0)
    levels = {f"consistency_{4 << k}": float(v) for k, v in enumerate(found)}
    return {"consistency": float(found.mean()), **levels}
