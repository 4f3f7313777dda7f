"""The losses of one D and one G step on one micro-batch: pure functions of networks and tensors, so they compile."""

from typing import NamedTuple

import torch

from training.config import LossConfig
from training.losses import LOSSES, gradient_penalty, mixed_gradient_penalty, scores_and_gradients
from training.networks.base import Discriminator, Generator
from training.ops.dtype import at_least_fp32
from training.pyramid import Pyramid, total_gradients


class GeneratorInputs(NamedTuple):
    """Everything random that one evaluation of G needs."""

    z: torch.Tensor  # [N,z_dim]
    c: torch.Tensor  # [N,c_dim]
    noise: tuple[torch.Tensor, ...]  # [N,1,h,w] a layer, empty without noise
    z_mix: torch.Tensor | None = None  # [N,z_dim], for style mixing
    mix_from: torch.Tensor | None = None  # [], first layer that follows z_mix


class StepResult(NamedTuple):
    """loss [] to differentiate; stats: per-sample values [N]; w_mean [w_dim]: batch mean of w before mixing."""

    loss: torch.Tensor
    stats: dict[str, torch.Tensor]
    w_mean: torch.Tensor


def run_generator(G: Generator, inputs: GeneratorInputs) -> tuple[Pyramid, torch.Tensor]:
    """Images and the batch mean of w [w_dim]; style mixing (StyleGAN, section 3.1) if `z_mix` is given."""
    w = G.mapping(inputs.z, inputs.c)  # [N,num_ws,w_dim]
    w_mean = w[:, 0].detach().mean(0)  # [w_dim]
    if inputs.z_mix is not None and inputs.mix_from is not None:
        layer = torch.arange(w.shape[1], device=w.device)[:, None]  # [num_ws,1]
        w = torch.where(layer < inputs.mix_from, w, G.mapping(inputs.z_mix, inputs.c))
    return G.synthesis(w, noise=inputs.noise), w_mean


class Reals(NamedTuple):
    """What a step sees of the dataset."""

    pyramid: Pyramid
    c: torch.Tensor  # [N,c_dim]


def d_step(
    G: Generator,
    D: Discriminator,
    cfg: LossConfig,
    reals: Reals,
    inputs: GeneratorInputs,
    reg_weight: torch.Tensor | None = None,
    share: torch.Tensor | None = None,
) -> StepResult:
    """Loss of D. Fakes carry the labels of the reals (as in the original).

    reg_weight []: None = no R1/R2 in this step, else what r1_gamma and r2_gamma are multiplied with. share [N]: mixing
    factors of the gradient penalty of wgan-gp and hinge-gp.
    """
    loss_of, c = LOSSES[cfg.name], reals.c
    with torch.no_grad():
        fakes, w_mean = run_generator(G, inputs)
    penalty = torch.zeros((), device=c.device)
    stats = {}

    def scores(levels: Pyramid, gamma: float, name: str) -> torch.Tensor:
        nonlocal penalty
        if not gamma or reg_weight is None:
            return at_least_fp32(D(levels, c))
        s, gradients = scores_and_gradients(lambda x: D(x, c), levels)
        p = gradient_penalty(total_gradients(gradients) if name == "r1" else gradients)  # [N]
        penalty = penalty + p.mean() * (gamma / 2 * reg_weight)
        stats[f"Loss/{name}_penalty"] = p.detach()
        return at_least_fp32(s)

    real_scores = scores(reals.pyramid, cfg.r1_gamma, "r1")  # [N,1]
    fake_scores = scores(fakes, cfg.r2_gamma, "r2")  # [N,1]
    if loss_of.mixed_penalty:
        assert share is not None
        p = mixed_gradient_penalty(lambda levels: D(levels, c), reals.pyramid, fakes, share, cfg.gp_target)  # [N]
        penalty = penalty + p.mean() * cfg.gp_weight
        stats["Loss/gradient_penalty"] = p.detach()
    if loss_of.drift:
        penalty = penalty + real_scores.square().mean() * cfg.drift
    loss = loss_of.d(real_scores, fake_scores) + penalty  # [N,1]
    stats["Loss/scores/real"] = real_scores.detach().flatten()
    stats["Loss/scores/fake"] = fake_scores.detach().flatten()
    stats["Loss/D"] = loss.detach().flatten()
    return StepResult(loss.mean(), stats, w_mean)


def g_step(
    G: Generator, D: Discriminator, cfg: LossConfig, inputs: GeneratorInputs, reals: Reals | None = None
) -> StepResult:
    """Loss of G. `reals`, whose labels the inputs carry, only for losses that compare fakes with them."""
    loss_of = LOSSES[cfg.name]
    fakes, w_mean = run_generator(G, inputs)
    fake_scores = at_least_fp32(D(fakes, inputs.c))  # [N,1]
    real_scores = fake_scores
    if loss_of.g_compares:
        assert reals is not None
        real_scores = at_least_fp32(D(reals.pyramid, reals.c))  # [N,1]
    loss = loss_of.g(real_scores, fake_scores)  # [N,1]
    return StepResult(loss.mean(), {"Loss/G": loss.detach().flatten()}, w_mean)
