"""Finding the latents whose images come closest to given ones, by gradient descent on all levels at once.

After the projection of StyleGAN2 (Karras et al. 2020, appendix D), from which the schedule of the learning rate and the
regularisation of noise are taken. What differs: the error of every level counts, each in relation to the variance of
the image at that level, and the search begins at the best of many random latents in place of the mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from training.networks.base import Generator
from training.pyramid import Pyramid

CANDIDATES = 256  # random latents that the search may begin at
NOISE_WEIGHT = 0.1  # of the regularisation of noise: more leaves the noise as it is, none paints the image into it
LEARNING_RATE = 0.1
RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions:
    """How latents are searched."""

    steps: int = 500
    """Steps of gradient descent."""
    space: Literal["w", "w+"] = "w+"
    """w+ = a latent for each layer, which comes closer; w = one for all layers, which can be edited better."""
    noise: Literal["none", "const", "search"] = "none"
    """Noise of the image: none, the noise stored with the network, or one that is searched as well."""
    levels: tuple[int, ...] | None = None
    """Levels of the pyramid whose error counts, 0 = smallest; None = all."""
    perceptual: float = 0.0
    """Weight of the perceptual distance at full resolution."""


class Projection(NamedTuple):
    """The latents that were found."""

    w: torch.Tensor  # [N,num_ws,w_dim]
    noise: list[torch.Tensor]  # [N,1,h,w] for each layer; empty unless it was searched
    images: Pyramid  # what the network makes of them


def project(
    G: Generator,
    reals: Pyramid,
    options: ProjectionOptions,
    c: torch.Tensor | None = None,
    distance: Distance | None = None,
    on_step: Callable[[int, Pyramid], None] | None = None,
    seed: int = 0,
) -> Projection:
    """Search the latents of N images, given as the pyramid that D would see; each is searched as if it were alone.

    c [c_dim]: the class that the search begins in; None = any, those of the closest random images.
    distance: perceptual distance [N] of two batches of images, float 0 to 255, that `options.perceptual` weighs.
    on_step: called with the number of each step and the images before it.
    """
    n = len(reals[0])

    # Where the search begins. Steps are in units of the deviation of w.
    with torch.no_grad():
        candidates = _candidates(G, c, seed)  # [K,w_dim]
        deviation = (candidates - candidates.mean(0)).square().mean().sqrt()
        start = _closest(G, candidates, reals, options)  # [N,1,w_dim]
    layers = G.synthesis.num_ws if options.space == "w+" else 1
    offset = torch.zeros(n, layers, start.shape[2], device=start.device, requires_grad=True)

    # Noise begins random, the same for every image.
    noise = []
    if options.noise == "search":
        rng = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(shape, generator=rng) for shape in G.synthesis.noise_shapes(1)]
        noise = [x.to(start.device).repeat(n, 1, 1, 1).requires_grad_() for x in drawn]

    def images() -> Pyramid:
        w = (start + deviation * offset).expand(-1, G.synthesis.num_ws, -1)
        return G.synthesis(w, "none" if options.noise == "none" else "const", noise or None)

    # Adam works value by value, so that the sum over images leaves each of them alone.
    optimizer = torch.optim.Adam([offset, *noise], betas=(0.9, 0.999))
    for step in range(options.steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * _schedule(step / options.steps)
        found = images()
        if on_step:
            on_step(step, found)

        loss = pyramid_error(found, reals, options.levels).sum()
        if distance:
            pixels = [(x[-1] + 1) * 127.5 for x in (found, reals)]
            loss = loss + options.perceptual * distance(*pixels).sum()
        if noise:
            loss = loss + NOISE_WEIGHT * torch.stack([noise_correlation(x) for x in noise]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        # Noise keeps the mean and deviation that the network was trained with.
        with torch.no_grad():
            for x in noise:
                x -= x.mean((1, 2, 3), keepdim=True)
                x *= x.square().mean((1, 2, 3), keepdim=True).rsqrt()

    with torch.no_grad():
        w = (start + deviation * offset).expand(-1, G.synthesis.num_ws, -1).contiguous()
        return Projection(w, [x.detach() for x in noise], images())


def level_errors(found: Sequence[torch.Tensor], reals: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean squared error of each level of each image, in relation to the variance of the image: [N,levels].

    Variances count as at least those of a fortieth of the range of values, so that plain images have a finite error.
    """
    errors = []
    for x, real in zip(found, reals, strict=True):
        variance = real.var((1, 2, 3), correction=0).clamp(min=(2 / 40) ** 2)  # [N]
        errors.append((x - real).square().mean((1, 2, 3)) / variance)
    return torch.stack(errors, 1)  # [N,levels]


def pyramid_error(found: Pyramid, reals: Pyramid, levels: Sequence[int] | None) -> torch.Tensor:
    """Return the mean of the errors of some levels, None = all: [N]."""
    chosen = range(len(reals)) if levels is None else levels
    return level_errors([found[i] for i in chosen], [reals[i] for i in chosen]).mean(1)


def noise_correlation(x: torch.Tensor) -> torch.Tensor:
    """Return how much noise [N,1,h,w] resembles itself, shifted by one pixel, at all sizes down to 8x8: [N].

    It is near 0 for white noise, and keeps a search from painting the image into the noise (StyleGAN2, appendix D).
    """
    total = x.new_zeros(len(x))
    while True:
        for dim in (2, 3):
            total = total + (x * x.roll(1, dim)).mean((1, 2, 3)).square()
        if min(x.shape[2:]) <= 8 or x.shape[2] % 2 or x.shape[3] % 2:
            return total
        # A mean of four has half the deviation.
        x = F.avg_pool2d(x, 2) * 2


def _candidates(G: Generator, c: torch.Tensor | None, seed: int) -> torch.Tensor:
    """Return w [K,w_dim] of random latents, of one class or of all classes in turn."""
    device = G.mapping.w_avg.device
    z = torch.randn(CANDIDATES, G.cfg.z_dim, generator=torch.Generator().manual_seed(seed)).to(device)

    labels = torch.zeros(CANDIDATES, G.spec.c_dim, device=device)
    if c is not None:
        labels[:] = c
    elif G.spec.c_dim:
        labels[torch.arange(CANDIDATES), torch.arange(CANDIDATES) % G.spec.c_dim] = 1
    return G.mapping(z, labels)[:, 0]


def _closest(G: Generator, candidates: torch.Tensor, reals: Pyramid, options: ProjectionOptions) -> torch.Tensor:
    """Return for each target the candidate whose image is closest to it: [N,1,w_dim]."""
    best = torch.full((len(reals[0]),), math.inf, device=candidates.device)
    start = candidates.new_zeros(len(best), candidates.shape[1])

    # A few at a time, as large images fill the memory.
    at_once = max(1, min(16, 2**20 // (G.spec.resolution * G.spec.width)))
    for part in candidates.split(at_once):
        found = G.synthesis(part[:, None].expand(-1, G.synthesis.num_ws, -1), "none")
        for w, *levels in zip(part, *found, strict=True):
            # One candidate against all targets.
            same = tuple(level.expand_as(real) for level, real in zip(levels, reals, strict=True))
            error = pyramid_error(same, reals, options.levels)  # [N]
            closer = error < best
            best = torch.where(closer, error, best)
            start[closer] = w
    return start[:, None]


def _schedule(progress: float) -> float:
    """Return the factor on the learning rate after this share of the steps."""
    down = min(1.0, (1 - progress) / RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, progress / RAMP_UP)
