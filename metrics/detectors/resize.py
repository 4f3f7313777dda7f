"""Ways to resize images to the input of a detector. FID depends on it (Parmar et al. 2022), so each way has a name."""

from functools import lru_cache

import torch
import torch.nn.functional as F


@lru_cache(16)
def _tf1_weights(n: int, size: int) -> torch.Tensor:
    """Return the matrix [size,n] of TensorFlow 1's bilinear interpolation, which samples at i * n / size without
    antialiasing."""
    position = torch.arange(size, dtype=torch.float32) * torch.tensor(n / size, dtype=torch.float32)
    low = position.long()
    fraction = position - low

    # Each output pixel is a mean of two input pixels; the last one is its own neighbour.
    weights = torch.zeros(size, n)
    rows = torch.arange(size)
    weights[rows, low] += 1 - fraction
    weights[rows, (low + 1).clamp(max=n - 1)] += fraction
    return weights


def legacy(x: torch.Tensor, size: int) -> torch.Tensor:
    """Resize uint8 [N,C,h,w] to float [N,C,size,size], 0 to 255, as the Inception graph of 2015 and torch-fidelity do:
    aliased when it reduces."""
    x = x.float()

    # Two matrix products resize rows and columns.
    rows, columns = (_tf1_weights(n, size).to(x.device) for n in x.shape[2:])
    return rows @ (x @ columns.T)


def clean(x: torch.Tensor, size: int) -> torch.Tensor:
    """Resize uint8 [N,C,h,w] to float [N,C,size,size], 0 to 255, as clean-fid does, with Pillow's antialiased bicubic
    filter and no rounding in between."""
    return F.interpolate(x.float(), (size, size), mode="bicubic", antialias=True).clamp(0, 255)


RESIZES = {"legacy": legacy, "clean": clean}
