"""Adversarial losses and gradient penalties. Pure: scores and pyramids in, one value per sample out.

To add a loss, write its two functions and a row of LOSSES, and name it in `training.config.LossConfig.name`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from training.ops.dtype import at_least_fp32
from training.pyramid import Pyramid, total_gradients

Scores = torch.Tensor


def d_logistic(real: Scores, fake: Scores) -> torch.Tensor:
    """softplus(fake) + softplus(-real) (Goodfellow et al. 2014, eq. 1, in terms of logits): scores [N,1] -> [N,1]."""
    return F.softplus(fake) + F.softplus(-real)


def g_logistic_nonsaturating(fake: Scores) -> torch.Tensor:
    """softplus(-fake) (Goodfellow et al. 2014, section 3, the non-saturating form): scores [N,1] -> [N,1]."""
    return F.softplus(-fake)


class Loss(NamedTuple):
    """What D minimises, of (real, fake) scores, and what G minimises, of fake scores."""

    d: Callable[[Scores, Scores], torch.Tensor]
    g: Callable[[Scores], torch.Tensor]


LOSSES = {
    "logistic": Loss(d_logistic, g_logistic_nonsaturating),
}


def scores_and_gradients(score: Callable[[Pyramid], Scores], pyramid: Sequence[torch.Tensor]) -> tuple[Scores, Pyramid]:
    """Scores [N,1] and the total derivatives of their sum with respect to every level, differentiable again.

    Through torch.func rather than autograd.grad, because torch.compile traces only that.
    """

    def summed(levels: Pyramid) -> tuple[torch.Tensor, Scores]:
        s = score(levels)
        return at_least_fp32(s).sum(), s

    partial, scores = torch.func.grad(summed, has_aux=True)(tuple(pyramid))
    return scores, total_gradients(partial)


def gradient_penalty(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """R1 or R2 (Mescheder et al. 2018, eq. 9) per sample: the squared norm of each level's gradient, averaged over
    levels, as MSG-StyleGAN does (a sum would grow with the number of levels). [N,C,h,w] each -> [N]."""
    return torch.stack([at_least_fp32(g).square().sum((1, 2, 3)) for g in gradients]).mean(0)
