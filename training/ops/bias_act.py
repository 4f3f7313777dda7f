"""Bias and activation. Every gradient order is supported."""

import torch
import torch.nn.functional as F


def activate(x: torch.Tensor, activation: str) -> torch.Tensor:
    """Apply `lrelu` (slope 0.2) or `relu`. The He gain sqrt(2) is part of the weights, not of the activation."""
    return F.leaky_relu(x, 0.2) if activation == "lrelu" else F.relu(x)


def bias_act(x: torch.Tensor, bias: torch.Tensor, activation: str | None) -> torch.Tensor:
    """Add bias [C] to x [N,C] or [N,C,H,W], then apply the activation (None = linear). The dtype of x stays."""
    bias = bias.to(x.dtype)
    x = x + (bias if x.ndim == 2 else bias[:, None, None])
    return x if activation is None else activate(x, activation)
