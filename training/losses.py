"""Adversarial losses and gradient penalties. Pure: scores and pyramids in, one value per sample out.

To add a loss, write its functions and a row of LOSSES. Means over the batch are means over the micro-batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from training.ops.dtype import at_least_fp32
from training.pyramid import Pyramid
from training.step_config import LossConfig

Scores = torch.Tensor

FP16_INNER_SCALE = 2.0**10

# Adversarial losses: what D minimises (d_), from scores [N,1] of reals and fakes, and what G minimises (g_).


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
    """Put the mean score in place of each: BMSG-GAN squares the mean where LSGAN takes the mean of squares."""
    return scores.mean(0, keepdim=True).expand_as(scores)


def d_relativistic_hinge(real: Scores, fake: Scores) -> torch.Tensor:
    """relu(1 - (real - mean fake)) + relu(1 + (fake - mean real)) (Jolicoeur-Martineau 2018, section 4.3).

    The hinge is that of Miyato et al. 2018.
    """
    return F.relu(1 - (real - fake.mean())) + F.relu(1 + (fake - real.mean()))


def d_relativistic_pairing(real: Scores, fake: Scores) -> torch.Tensor:
    """softplus(fake - real), each fake against one real (R3GAN: Huang et al. 2024, eq. 2)."""
    return F.softplus(fake - real)


# Further terms of a loss, and the table.


class PenaltyInputs(NamedTuple):
    """Arguments of the penalties that a loss has of its own; R1 and R2, which any loss can have, are separate."""

    score: Callable[[Pyramid], Scores]
    """D as a function of a pyramid alone -> scores [N,1]."""
    reals: Pyramid
    fakes: Pyramid
    real_scores: Scores  # [N,1]
    share: torch.Tensor | None  # [N], uniform in [0,1)
    config: LossConfig


class Penalty(NamedTuple):
    """One term that is added to the loss of D: weight * mean(values)."""

    values: torch.Tensor  # [N]
    weight: float
    statistic: str | None = None  # name under which the values are reported


class Loss(NamedTuple):
    """What D and G minimise: scores [N,1] -> values [N,1]."""

    d: Callable[[Scores, Scores], torch.Tensor]
    """D's loss, from the scores of reals and of fakes."""
    g: Callable[[Scores, Scores], torch.Tensor]
    """G's loss, from the same; without `g_compares` the scores of reals are not computed, and it gets those of fakes
    twice."""
    g_compares: bool = False
    """Whether G's loss compares fakes with reals."""
    undecided: float | None = 0.0
    """The score of an image that D takes for real and for fake alike; None = a score means nothing by itself."""
    compares_means: bool = False
    """Whether a score is compared with means over the micro-batch, which then is part of the mathematics."""
    penalties: tuple[Callable[[PenaltyInputs], Penalty], ...] = ()
    """Further terms of D's loss."""


def interpolation_penalty(inputs: PenaltyInputs) -> Penalty:
    """The penalty of WGAN-GP: `mixed_gradient_penalty`, weighted by LossConfig.gp_weight."""
    assert inputs.share is not None
    target = inputs.config.gp_target
    values = mixed_gradient_penalty(inputs.score, inputs.reals, inputs.fakes, inputs.share, target)  # [N]
    return Penalty(values, inputs.config.gp_weight, "Loss/gradient_penalty")


def drift_penalty(inputs: PenaltyInputs) -> Penalty:
    """Keep the scores of reals near 0: their squares, weighted by LossConfig.drift (ProGAN, appendix A.1)."""
    return Penalty(inputs.real_scores.square().flatten(), inputs.config.drift)


def _of_fakes(g: Callable[[Scores], torch.Tensor]) -> Callable[[Scores, Scores], torch.Tensor]:
    """Adapt a loss of the scores of fakes to the arguments (real, fake)."""
    return lambda real, fake: g(fake)


LOSSES = {
    "logistic": Loss(d_logistic, _of_fakes(g_logistic_nonsaturating)),
    "logistic-saturating": Loss(d_logistic, _of_fakes(g_logistic_saturating)),
    "standard-gan": Loss(d_standard_gan, _of_fakes(g_logistic_nonsaturating)),
    "wgan": Loss(d_wgan, _of_fakes(g_wgan), undecided=None, penalties=(drift_penalty,)),
    "wgan-gp": Loss(d_wgan, _of_fakes(g_wgan), undecided=None, penalties=(interpolation_penalty, drift_penalty)),
    "hinge": Loss(d_hinge, _of_fakes(g_wgan)),
    "hinge-gp": Loss(d_hinge, _of_fakes(g_wgan), penalties=(interpolation_penalty,)),
    # As BMSG-GAN computes them, on mean scores; the forms of the paper are named `-per-sample`.
    "lsgan": Loss(
        lambda real, fake: d_lsgan(_batch_mean(real), _batch_mean(fake)),
        lambda real, fake: g_lsgan(_batch_mean(fake)),
        undecided=0.5,
        compares_means=True,
    ),
    "lsgan-per-sample": Loss(d_lsgan, _of_fakes(g_lsgan), undecided=0.5),
    "lsgan-sigmoid": Loss(
        lambda real, fake: d_lsgan(_batch_mean(real.sigmoid()), _batch_mean(fake.sigmoid())),
        lambda real, fake: g_lsgan(_batch_mean(fake.sigmoid())),
        compares_means=True,
    ),
    "lsgan-sigmoid-per-sample": Loss(
        lambda real, fake: d_lsgan(real.sigmoid(), fake.sigmoid()),
        lambda real, fake: g_lsgan(fake.sigmoid()),
    ),
    # Each score is compared with those of the other side; for G the sides are exchanged.
    "relativistic-hinge": Loss(
        d_relativistic_hinge,
        lambda real, fake: d_relativistic_hinge(fake, real),
        g_compares=True,
        undecided=None,
        compares_means=True,
    ),
    "relativistic-pairing": Loss(
        d_relativistic_pairing,
        lambda real, fake: d_relativistic_pairing(fake, real),
        g_compares=True,
        undecided=None,
    ),
}


# Gradient penalties.


def mixed_gradient_penalty(
    score: Callable[[Pyramid], Scores],
    reals: Sequence[torch.Tensor],
    fakes: Sequence[torch.Tensor],
    share: torch.Tensor,
    target: float,
) -> torch.Tensor:
    """Return ((|gradient| - target) / target)^2 per sample [N], averaged over levels.

    With a target of 1 this is the penalty of Gulrajani et al. 2017, eq. 3; the form with a target is that of
    Progressive GAN. The gradient is that of the score of a pyramid between reals and fakes, one factor `share` [N]
    in [0,1] for all levels of a sample (0 = reals). The levels are independent inputs, so these are partial
    derivatives, unlike R1's.
    """
    # Pyramids somewhere between the reals and the fakes.
    mixed = tuple(
        torch.lerp(real, fake, share.to(real.dtype)[:, None, None, None])  # [N,C,h,w]
        for real, fake in zip(reals, fakes, strict=True)
    )

    scale = inner_scale(mixed[0].device)
    scaled = torch.func.grad(lambda levels: at_least_fp32(score(levels)).sum() * scale)(mixed)
    partial = [gradient / scale for gradient in scaled] if scale != 1 else scaled
    norms = [torch.linalg.vector_norm(at_least_fp32(gradient), dim=(1, 2, 3)) for gradient in partial]  # [N] each

    return (torch.stack(norms) / target - 1).square().mean(0)


def scores_and_gradients(score: Callable[[Pyramid], Scores], pyramid: Sequence[torch.Tensor]) -> tuple[Scores, Pyramid]:
    """Return the scores [N,1], and the partial derivatives of their sum with respect to every level.

    The derivatives can be differentiated again. They come from torch.func rather than from autograd.grad, because
    torch.compile can trace only that.
    """

    scale = inner_scale(pyramid[0].device)

    def summed(levels: Pyramid) -> tuple[torch.Tensor, Scores]:
        scores = score(levels)
        return at_least_fp32(scores).sum() * scale, scores

    # Samples do not depend on one another, minibatch stddev aside: the gradient of the sum holds that of each score.
    partial, scores = torch.func.grad(summed, has_aux=True)(tuple(pyramid))
    return scores, tuple(gradient / scale for gradient in partial) if scale != 1 else partial


def inner_scale(device: torch.device) -> float:
    """Return what scores are multiplied by before they are differentiated with respect to images: 1 except in fp16.

    The derivative by a pixel of a large image is smaller than what fp16 can hold. The factor is about the square root
    of the scale of losses, so that neither the inner gradient nor the one of the outer pass through it vanishes.
    """
    is_fp16 = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
    return FP16_INNER_SCALE if is_fp16 else 1.0


def squared_gradient_norm(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return R1 or R2 per sample (Mescheder et al. 2018, eq. 9): [N,C,h,w] each -> [N].

    It is the squared norm of each level's gradient, averaged over levels as in MSG-StyleGAN; a sum would grow with the
    number of levels. R1 takes total derivatives (`pyramid.total_gradients`), because the levels of a real are pooled
    from one another; R2 takes partial ones, because the levels of a fake are outputs of G beside each other.
    """
    norms = [at_least_fp32(gradient).square().sum((1, 2, 3)) for gradient in gradients]  # [N] each
    return torch.stack(norms).mean(0)
