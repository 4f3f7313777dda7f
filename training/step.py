"""The losses of one D and one G step on one micro-batch: pure functions of networks and tensors, so they compile."""

from typing import NamedTuple

import torch

from training.augment.steps import Augmentation, augmented
from training.latents import GeneratorInputs
from training.losses import LOSSES, PenaltyInputs, Scores, scores_and_gradients, squared_gradient_norm
from training.networks.base import Discriminator, Generator
from training.ops.dtype import at_least_fp32
from training.pyramid import Pyramid, total_gradients
from training.step_config import LossConfig

REAL_SIGNS = "Loss/signs/real"  # name of a statistic


class RealBatch(NamedTuple):
    """What a step sees of the dataset."""

    pyramid: Pyramid
    c: torch.Tensor  # [N,c_dim]
    augmentation: Augmentation = ()  # before D sees the images


class StepResult(NamedTuple):
    """What one step gives to the optimizer, the statistics and the running mean of w."""

    loss: torch.Tensor  # [], to differentiate
    stats: dict[str, torch.Tensor]  # values per sample [N], by the name under which they are reported
    w_mean: torch.Tensor  # [w_dim], batch mean of w before mixing


def run_generator(G: Generator, inputs: GeneratorInputs) -> tuple[Pyramid, torch.Tensor]:
    """Return the images and the batch mean of w [w_dim]; with `z_mix`, styles are mixed (StyleGAN, section 3.1)."""
    w = G.mapping(inputs.z, inputs.c)  # [N,num_ws,w_dim]
    w_mean = w[:, 0].detach().mean(0)  # [w_dim]

    # Style mixing: the layers from `mix_from` on follow the second latent.
    if inputs.z_mix is not None and inputs.mix_from is not None:
        layer = torch.arange(w.shape[1], device=w.device)[:, None]  # [num_ws,1]
        w = torch.where(layer < inputs.mix_from, w, G.mapping(inputs.z_mix, inputs.c))

    return G.synthesis(w, noise=inputs.noise), w_mean


def scores_and_penalty(
    D: Discriminator, pyramid: Pyramid, c: torch.Tensor, augmentation: Augmentation, pooled: bool
) -> tuple[Scores, torch.Tensor]:
    """Return the scores [N,1] of a pyramid that is augmented first, and its gradient penalty per sample [N].

    The penalty is that of the images before augmentation (Karras et al. 2020, appendix B).
    pooled: whether the levels were pooled from one another, as those of reals are, so that total derivatives count.
    """
    scores, gradients = scores_and_gradients(lambda levels: D(augmented(levels, augmentation), c), pyramid)
    if pooled:
        gradients = total_gradients(gradients)
    return at_least_fp32(scores), squared_gradient_norm(gradients)


def d_step(
    G: Generator,
    D: Discriminator,
    cfg: LossConfig,
    reals: RealBatch,
    inputs: GeneratorInputs,
    reg_weight: torch.Tensor | None = None,
    share: torch.Tensor | None = None,
) -> StepResult:
    """Return the loss of D. Fakes carry the labels of the reals, as in msg-stylegan-tf, so `inputs` must have them too.

    reg_weight []: what r1_gamma and r2_gamma are multiplied by in this step; None = no R1 and R2 in this step.
    share [N]: mixing factors, for losses with penalties of their own.
    """
    loss_functions = LOSSES[cfg.name]
    c = reals.c
    stats: dict[str, torch.Tensor] = {}
    penalty = torch.zeros((), device=c.device)

    # Fakes, without gradients for G.
    with torch.no_grad():
        fakes, w_mean = run_generator(G, inputs)

    # Scores of reals, with R1.
    if cfg.r1_gamma and reg_weight is not None:
        real_scores, r1 = scores_and_penalty(D, reals.pyramid, c, reals.augmentation, pooled=True)  # [N,1], [N]
        penalty = penalty + r1.mean() * (cfg.r1_gamma / 2 * reg_weight)
        stats["Loss/r1_penalty"] = r1.detach()
    else:
        real_scores = at_least_fp32(D(augmented(reals.pyramid, reals.augmentation), c))  # [N,1]

    # Scores of fakes, with R2.
    if cfg.r2_gamma and reg_weight is not None:
        fake_scores, r2 = scores_and_penalty(D, fakes, c, inputs.augmentation, pooled=False)  # [N,1], [N]
        penalty = penalty + r2.mean() * (cfg.r2_gamma / 2 * reg_weight)
        stats["Loss/r2_penalty"] = r2.detach()
    else:
        fake_scores = at_least_fp32(D(augmented(fakes, inputs.augmentation), c))  # [N,1]

    # Further penalties that this loss has.
    if loss_functions.penalties:
        seen = augmented(reals.pyramid, reals.augmentation), augmented(fakes, inputs.augmentation)
        penalty_inputs = PenaltyInputs(lambda levels: D(levels, c), *seen, real_scores, share, cfg)
        for compute in loss_functions.penalties:
            values, weight, statistic = compute(penalty_inputs)
            penalty = penalty + values.mean() * weight
            if statistic:
                stats[statistic] = values.detach()

    # Altogether.
    loss = loss_functions.d(real_scores, fake_scores) + penalty  # [N,1]
    stats["Loss/scores/real"] = real_scores.detach().flatten()
    stats["Loss/scores/fake"] = fake_scores.detach().flatten()
    stats["Loss/D"] = loss.detach().flatten()

    # How sure D is of the reals, which ADA follows.
    if reals.augmentation:
        undecided = fake_scores if loss_functions.undecided is None else loss_functions.undecided
        stats[REAL_SIGNS] = (real_scores - undecided).detach().sign().flatten()
    return StepResult(loss.mean(), stats, w_mean)


def g_step(
    G: Generator, D: Discriminator, cfg: LossConfig, inputs: GeneratorInputs, reals: RealBatch | None = None
) -> StepResult:
    """Return the loss of G. `reals`, whose labels the inputs carry, are for losses that compare fakes with them."""
    loss_functions = LOSSES[cfg.name]

    fakes, w_mean = run_generator(G, inputs)
    fake_scores = at_least_fp32(D(augmented(fakes, inputs.augmentation), inputs.c))  # [N,1]

    # Losses that do not compare look at the scores of fakes only.
    real_scores = fake_scores
    if loss_functions.g_compares:
        assert reals is not None
        real_scores = at_least_fp32(D(augmented(reals.pyramid, reals.augmentation), reals.c))  # [N,1]

    loss = loss_functions.g(real_scores, fake_scores)  # [N,1]
    return StepResult(loss.mean(), {"Loss/G": loss.detach().flatten()}, w_mean)
