"""Stability of training (MSG-GAN, Karnewar & Wang 2020, section 4.3, figure 5): how much the images of fixed latents
change from one snapshot to the next. Needs two successive snapshots of a run."""

import numpy as np
import torch

from metrics.context import Context
from metrics.samples import Fakes, NoImages


def stability(ctx: Context, before: Fakes, n: int) -> dict[str, float]:
    """Mean squared difference between the fakes of `ctx` and those of the snapshot before, same latents and noise,
    images in [-1,1]: for each level, named by its height, and for the largest; falls as training settles."""
    fakes = ctx.generator()
    ctx.fakes_of(n)

    def differences(images: torch.Tensor, indices: np.ndarray) -> np.ndarray:
        pairs = zip(before.pyramid(indices), fakes.pyramid(indices), strict=True)
        return torch.stack([(a - b).square().mean((1, 2, 3)) for a, b in pairs], 1).double().cpu().numpy()

    found = np.concatenate(list(ctx.stream(NoImages(), n, differences, "fakes"))).mean(0)
    levels = {f"stability_{4 << k}": float(v) for k, v in enumerate(found)}
    return {"stability": float(found[-1]), **levels}
