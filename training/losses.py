"""Adversarial losses and gradient penalties. Pure: scores and pyramids in, one value per sample out.

To add a loss, write its functions and a row of LOSSES, and name it in `training.config.LossName`. Means over the batch
are over the micro-batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from training.config import LossName
from training.ops.dtype import at_least_fp32
from training.pyramid import Pyramid

Scores = torch.Tensor


def d_logistic(real: Scores, fake: Scores) -> torch.Tensor:
    """softplus(fake) + softplus(-real) (Goodfellow et al. 2014, eq. 1, in terms of logits)."""
    return F.softplus(fake) + F.softplus(-real)


def g_logistic_nonsaturating(fake: Scores) -> torch.Tensor:
    """softplus(-fake) (Goodfellow et al. 2014, section 3, the non-saturating form)."""
    return F.softplus(-fake)


def g_logistic_saturating(fake: Scores) -> torch.Tensor:
    """-softplus(fake) = log(1 - sigmoid(fake)) (Goodfellow et al. 2014, eq. 1)."""
    return -F.softplus(fake)


def d_standard_gan(real: Scores, fake: Scores) -> torch.Tensor:
    """Binary cross-entropy, the mean of that of reals and that of fakes: half the logistic loss."""
    return d_logistic(real, fake) / 2


def d_wgan(real: Scores, fake: Scores) -> torch.Tensor:
    """fake - real (Arjovsky et al. 2017, algorithm 1)."""
    return fake - real


def g_wgan(fake: Scores) -> torch.Tensor:
    """-fake (Arjovsky et al. 2017, algorithm 1)."""
    return -fake


def d_hinge(real: Scores, fake: Scores) -> torch.Tensor:
    """relu(1 - real) + relu(1 + fake) (Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real) + F.relu(1 + fake)


def d_lsgan(real: Scores, fake: Scores) -> torch.Tensor:
    """((real - 1)^2 + fake^2) / 2 (Mao et al. 2017, eq. 9)."""
    return ((real - 1).square() + fake.square()) / 2


def g_lsgan(fake: Scores) -> torch.Tensor:
    """(fake - 1)^2 / 2 (Mao et al. 2017, eq. 9)."""
    return (fake - 1).square() / 2


def _batch_mean(scores: Scores) -> Scores:
    """The mean score in place of each: squaring it is what BMSG-GAN does where LSGAN takes the mean of squares."""
    return scores.mean(0, keepdim=True).expand_as(scores)


def d_relativistic_hinge(real: Scores, fake: Scores) -> torch.Tensor:
    """relu(1 - (real - mean fake)) + relu(1 + (fake - mean real)) (Jolicoeur-Martineau 2018, section 4.3, with the
    hinge of Miyato et al.)."""
    return F.relu(1 - (real - fake.mean())) + F.relu(1 + (fake - real.mean()))


def g_relativistic_hinge(real: Scores, fake: Scores) -> torch.Tensor:
    """d_relativistic_hinge with reals and fakes exchanged."""
    return d_relativistic_hinge(fake, real)


def d_relativistic_pairing(real: Scores, fake: Scores) -> torch.Tensor:
    """softplus(fake - real), each fake against one real (R3GAN: Huang et al. 2024, eq. 2)."""
    return F.softplus(fake - real)


class Loss(NamedTuple):
    """What D and G minimise: scores [N,1] -> values [N,1]."""

    d: Callable[[Scores, Scores], torch.Tensor]
    """Of the scores of reals and of fakes."""
    g: Callable[[Scores, Scores], torch.Tensor]
    """Of the same; without `g_compares` the scores of reals are not computed and it gets those of fakes twice."""
    g_compares: bool = False
    """Does G's loss compare fakes with reals?"""
    mixed_penalty: bool = False
    """Add `mixed_gradient_penalty`, weighted by LossConfig.gp_weight?"""
    drift: bool = False
    """Add the squared score of reals, weighted by LossConfig.drift (ProGAN, appendix A.1)?"""


def _of_fakes(g: Callable[[Scores], torch.Tensor]) -> Callable[[Scores, Scores], torch.Tensor]:
    return lambda real, fake: g(fake)


LOSSES: dict[LossName, Loss] = {
    "logistic": Loss(d_logistic, _of_fakes(g_logistic_nonsaturating)),
    "logistic-saturating": Loss(d_logistic, _of_fakes(g_logistic_saturating)),
    "standard-gan": Loss(d_standard_gan, _of_fakes(g_logistic_nonsaturating)),
    "wgan": Loss(d_wgan, _of_fakes(g_wgan), drift=True),
    "wgan-gp": Loss(d_wgan, _of_fakes(g_wgan), mixed_penalty=True, drift=True),
    "hinge": Loss(d_hinge, _of_fakes(g_wgan)),
    "hinge-gp": Loss(d_hinge, _of_fakes(g_wgan), mixed_penalty=True),
    "lsgan": Loss(
        lambda real, fake: d_lsgan(_batch_mean(real), _batch_mean(fake)),
        lambda real, fake: g_lsgan(_batch_mean(fake)),
    ),
    "lsgan-per-sample": Loss(d_lsgan, _of_fakes(g_lsgan)),
    "lsgan-sigmoid": Loss(
        lambda real, fake: d_lsgan(_batch_mean(real.sigmoid()), _batch_mean(fake.sigmoid())),
        lambda real, fake: g_lsgan(_batch_mean(fake.sigmoid())),
    ),
    "lsgan-sigmoid-per-sample": Loss(
        lambda real, fake: d_lsgan(real.sigmoid(), fake.sigmoid()),
        lambda real, fake: g_lsgan(fake.sigmoid()),
    ),
    "relativistic-hinge": Loss(d_relativistic_hinge, g_relativistic_hinge, g_compares=True),
    "relativistic-pairing": Loss(
        d_relativistic_pairing, lambda real, fake: d_relativistic_pairing(fake, real), g_compares=True
    ),
}


def mixed_gradient_penalty(
    score: Callable[[Pyramid], Scores],
    reals: Sequence[torch.Tensor],
    fakes: Sequence[torch.Tensor],
    share: torch.Tensor,
    target: float,
) -> torch.Tensor:
    """((|gradient| - target) / target)^2 per sample [N], averaged over levels (Gulrajani et al. 2017, eq. 3).

    The gradient is that of the score of a pyramid between reals and fakes, one factor `share` [N] in [0,1] for all
    levels of a sample (0 = reals); the levels are independent inputs, so these are partial derivatives, unlike R1's.
    """
    mixed = tuple(torch.lerp(r, f, share.to(r.dtype)[:, None, None, None]) for r, f in zip(reals, fakes, strict=True))
    partial = torch.func.grad(lambda levels: at_least_fp32(score(levels)).sum())(mixed)
    norms = torch.stack([torch.linalg.vector_norm(at_least_fp32(g), dim=(1, 2, 3)) for g in partial])  # [levels,N]
    return (norms / target - 1).square().mean(0)


def scores_and_gradients(score: Callable[[Pyramid], Scores], pyramid: Sequence[torch.Tensor]) -> tuple[Scores, Pyramid]:
    """Scores [N,1] and the partial derivatives of their sum with respect to every level, differentiable again.

    Through torch.func rather than autograd.grad, because torch.compile traces only that.
    """

    def summed(levels: Pyramid) -> tuple[torch.Tensor, Scores]:
        s = score(levels)
        return at_least_fp32(s).sum(), s

    partial, scores = torch.func.grad(summed, has_aux=True)(tuple(pyramid))
    return scores, partial


def gradient_penalty(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """R1 or R2 (Mescheder et al. 2018, eq. 9) per sample: the squared norm of each level's gradient, averaged over
    levels, as MSG-StyleGAN does (a sum would grow with the number of levels). [N,C,h,w] each -> [N].

    R1 takes total derivatives (`pyramid.total_gradients`), because the levels of a real are pooled from one another; R2
    partial ones, because the levels of a fake are outputs of G beside each other.
    """
    return torch.stack([at_least_fp32(g).square().sum((1, 2, 3)) for g in gradients]).mean(0)
