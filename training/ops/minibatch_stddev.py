"""Minibatch standard deviation (ProGAN, section 3). Every gradient order is supported."""

import torch

from training.ops.convolution import conv2d
from training.ops.dtype import at_least_fp32


def minibatch_stddev(x: torch.Tensor, group_size: int | None, num_features: int) -> torch.Tensor:
    """Return the spread of each group of samples, x [N,C,H,W] -> [N,num_features].

    A feature is the mean, over a group of channels and all pixels, of the standard deviation over a group of samples.
    The original appends the features to x as constant maps; here `conv2d_with_constants` takes them. Sample i belongs
    to group i mod (N / group_size); None = one group. Statistics are taken in at least float32, with eps 1e-8 in the
    root. Raises ValueError unless N is at most `group_size` or a multiple of it, and C a multiple of `num_features`.
    """
    n, c, h, w = x.shape
    g = min(group_size or n, n)  # samples in a group
    f = num_features
    if n % g:
        raise ValueError(f"minibatch stddev: found {n} images, expected at most {g} or a multiple of it")
    if c % f:
        raise ValueError(f"minibatch stddev: found {c} channels, expected a multiple of num_features {f}")

    # The standard deviation over the members of each group; a list of tensors is faster here than one large tensor.
    members = at_least_fp32(x).reshape(g, n // g, c, h, w).unbind(0)  # g times [M,C,H,W]
    mean = sum(members[1:], members[0]) / g  # [M,C,H,W]
    squares = [(m - mean).square() for m in members]
    y = (sum(squares[1:], squares[0]) / g + 1e-8).sqrt()  # [M,C,H,W]

    # Its mean over channels and pixels, handed back to every member.
    return y.reshape(n // g, f, c // f, h, w).mean((2, 3, 4)).repeat(g, 1)  # [N,f]


def conv2d_with_constants(x: torch.Tensor, constants: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolve x [N,C,H,W] with `constants` [N,F] appended as maps of one value each, padding SAME: [N,O,H,W].

    weight: [O,C+F,k,k]. The convolution of a constant map differs between samples by that constant only, so it is taken
    once, of ones [1,1,H,W]: nothing is concatenated, and C stays a number of channels that convolutions are fast at.
    """
    c = x.shape[1]
    pad = weight.shape[-1] // 2
    y = conv2d(x, weight[:, :c], padding=pad)  # [N,O,H,W]

    # Zero padding makes the convolution of ones fall off at the border, so it is a map and not a number.
    ones = torch.ones(1, 1, *x.shape[2:], device=x.device, dtype=x.dtype)
    for i, constant in enumerate(constants.unbind(1)):
        of_ones = conv2d(ones, weight[:, c + i : c + i + 1], padding=pad)  # [1,O,H,W]
        y = torch.addcmul(y, constant.to(y.dtype)[:, None, None, None], of_ones)
    return y
