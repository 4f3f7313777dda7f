"""Bias and activation. Every gradient order is supported."""

import torch
import torch.nn.functional as F

from training.ops.implementation import Impl, use_triton

SLOPES = {None: 1.0, "lrelu": 0.2, "relu": 0.0}
"""What each activation multiplies negative values by."""


def bias_act(x: torch.Tensor, bias: torch.Tensor, activation: str | None, impl: Impl = "auto") -> torch.Tensor:
    """Add bias [C] to x [N,C,H,W], then apply the activation; the dtype of x stays.

    activation: `lrelu` (slope 0.2), `relu` or None. The He gain sqrt(2) is part of the weights, not of the activation.
    """
    if use_triton(impl, x, when_compiling=False):
        from training.ops.triton import bias_act as kernels

        return kernels.bias_act(x, bias, SLOPES[activation])
    return activate(x + bias.to(x.dtype)[:, None, None], activation)


def activate(x: torch.Tensor, activation: str | None) -> torch.Tensor:
    """Apply the activation to x, in place, so that one tensor is kept for the gradient and not two."""
    if activation is None:
        return x
    return F.leaky_relu(x, SLOPES[activation], inplace=True) if activation == "lrelu" else F.relu(x, inplace=True)
