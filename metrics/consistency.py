"""How synchronised the levels of a sample are (MSG-GAN, Karnewar & Wang 2020, section 3: the images of all scales come
to agree without being told to), measured."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from metrics.context import Context, Measurement
from metrics.samples import NoImages


def consistency(context: Context, n: int) -> Measurement:
    """Measure the mean squared difference between each level and the 2x2 means of the next larger one, images in
    [-1,1]: named by the smaller level's height, and the mean over levels; 0 = the levels are one image."""
    generator = context.generator()
    fakes = context.draw_fakes(n)

    def differences(images: torch.Tensor, indices: np.ndarray) -> np.ndarray:
        levels = generator.pyramid(indices)
        squares = [(small - F.avg_pool2d(large, 2)).square().mean((1, 2, 3)) for small, large in pairwise(levels)]
        return torch.stack(squares, 1).double().cpu().numpy()  # [n,levels-1]

    batches = context.features.stream(NoImages(), n, differences, "fakes")
    means = np.concatenate(list(batches)).mean(0)
    levels = {f"consistency_{4 << level}": float(mean) for level, mean in enumerate(means)}
    return Measurement({"consistency": float(means.mean()), **levels}, fakes.facts)
