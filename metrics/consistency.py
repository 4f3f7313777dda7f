"""How well the levels of a sample agree (MSG-GAN, Karnewar & Wang 2020, section 3: the images of all scales become
synchronised by themselves)."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from metrics.context import Context, Measurement


def consistency(context: Context, n: int) -> Measurement:
    """Measure the mean squared difference between each level and the 2x2 means of the next larger one, images in
    [-1,1]; 0 = the levels are one image. Values are the mean over levels, and each level, named by its height."""
    generator = context.generator()
    fakes = context.draw_fakes(n)

    def differences(indices: np.ndarray) -> np.ndarray:
        # From the smallest level to the largest.
        levels = generator.pyramid(indices)
        squares = [(small - F.avg_pool2d(large, 2)).square().mean((1, 2, 3)) for small, large in pairwise(levels)]
        return torch.stack(squares, 1).double().cpu().numpy()  # [n,levels-1]

    # The last level has none to be compared with.
    batches = context.features.stream(n, differences, "fakes")
    means = np.concatenate(list(batches)).mean(0)
    levels = {f"consistency_{4 << level}": float(mean) for level, mean in enumerate(means)}
    return Measurement({"consistency": float(means.mean()), **levels}, fakes.facts)
