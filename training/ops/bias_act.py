"""Bias and activation. Every gradient order is supported."""

import torch
import torch.nn.functional as F


def bias_act(x: torch.Tensor, bias: torch.Tensor, activation: str | None) -> torch.Tensor:
    """Add bias [C] to x [N,C] or [N,C,H,W], then apply the activation; the dtype of x stays.

    activation: `lrelu` (slope 0.2), `relu` or None. The He gain sqrt(2) is part of the weights, not of the activation.
    """
    bias = bias.to(x.dtype)
    x = x + (bias if x.ndim == 2 else bias[:, None, None])

    if activation is None:
        return x

    # In place, so that one map is kept for the gradient and not two.
    return F.leaky_relu(x, 0.2, inplace=True) if activation == "lrelu" else F.relu(x, inplace=True)
