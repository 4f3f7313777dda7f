"""Minibatch standard deviation (ProGAN, section 3). Every gradient order is supported."""

import torch

from training.ops.dtype import at_least_fp32


def minibatch_stddev(x: torch.Tensor, group_size: int, num_features: int) -> torch.Tensor:
    """Append `num_features` maps to x [N,C,H,W] -> [N,C+num_features,H,W]: the mean over a group of channels and all
    pixels of the standard deviation over a group of samples.

    Sample i belongs to group i mod (N / group_size). Statistics are taken in at least float32, eps 1e-8 in the root. N
    must be at most `group_size` or a multiple of it.
    """
    n, c, h, w = x.shape
    g, f = min(group_size, n), num_features
    if n % g:
        raise ValueError(f"minibatch stddev: found {n} images, expected at most {g} or a multiple of it")
    if c % f:
        raise ValueError(f"minibatch stddev: found {c} channels, expected a multiple of num_features {f}")
    y = at_least_fp32(x).reshape(g, n // g, f, c // f, h, w)  # [g,M,f,c,H,W]
    y = y - y.mean(0, keepdim=True)  # [g,M,f,c,H,W]
    y = (y.square().mean(0) + 1e-8).sqrt()  # [M,f,c,H,W]
    y = y.mean((2, 3, 4))[:, :, None, None]  # [M,f,1,1]
    y = y.repeat(g, 1, h, w).to(x.dtype)  # [N,f,H,W]
    return torch.cat([x, y], 1)  # [N,C+f,H,W]
