"""Minibatch standard deviation (ProGAN, section 3). Every gradient order is supported."""

import torch
import torch.nn.functional as F

from training.ops.dtype import at_least_fp32


def minibatch_stddev(x: torch.Tensor, group_size: int, num_features: int) -> torch.Tensor:
    """x [N,C,H,W] -> [N,num_features]: the mean over a group of channels and all pixels of the standard deviation over
    a group of samples. The original appends them to x as maps; see `conv2d_with_constants`.

    Sample i belongs to group i mod (N / group_size). Statistics are taken in at least float32, eps 1e-8 in the root. N
    must be at most `group_size` or a multiple of it.
    """
    n, c, h, w = x.shape
    g, f = min(group_size, n), num_features
    if n % g:
        raise ValueError(f"minibatch stddev: found {n} images, expected at most {g} or a multiple of it")
    if c % f:
        raise ValueError(f"minibatch stddev: found {c} channels, expected a multiple of num_features {f}")
    members = at_least_fp32(x).reshape(g, n // g, c, h, w).unbind(0)  # g times [M,C,H,W]; faster than one tensor
    mean = sum(members[1:], members[0]) / g  # [M,C,H,W]
    squares = [(m - mean).square() for m in members]
    y = (sum(squares[1:], squares[0]) / g + 1e-8).sqrt()  # [M,C,H,W]
    return y.reshape(n // g, f, c // f, h, w).mean((2, 3, 4)).repeat(g, 1)  # [N,f]


def conv2d_with_constants(x: torch.Tensor, constants: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """SAME convolution of x [N,C,H,W] with `constants` [N,F] appended as maps of one value each: [N,O,H,W].

    weight [O,C+F,k,k]. The convolution of a constant map differs between samples by that constant only, so it is taken
    once, of ones [1,1,H,W]: nothing is concatenated, and C stays a number of channels that convolutions are fast at.
    """
    c, pad = x.shape[1], weight.shape[-1] // 2
    y = F.conv2d(x, weight[:, :c], padding=pad)  # [N,O,H,W]
    ones = torch.ones(1, 1, *x.shape[2:], device=x.device, dtype=x.dtype)
    for i, constant in enumerate(constants.unbind(1)):
        of_ones = F.conv2d(ones, weight[:, c + i : c + i + 1], padding=pad)  # [1,O,H,W]
        of_ones = of_ones.contiguous(memory_format=torch.channels_last)
        y = torch.addcmul(y, constant.to(y.dtype)[:, None, None, None], of_ones)
    return y
