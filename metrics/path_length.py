"""Perceptual path length (Karras et al. 2019, section 4.1, and 2020): how much images change along short steps in
latent space; low = smooth. Reference implementations: StyleGAN's and StyleGAN2's metrics."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from dnnlib.errors import UserError
from dnnlib.seeds import seed_of
from metrics.context import Context, Measurement
from metrics.samples import Fakes
from training.spec import size_text

EPSILON = 1e-4

# The pools of VGG16 leave nothing of smaller images, and larger ones are reduced by whole factors.
SMALLEST = 16
LARGEST = 256


def path_length(
    context: Context, n: int, space: str, sampling: str, crop: bool, epsilon: float = EPSILON
) -> Measurement:
    """Measure the mean of LPIPS / epsilon^2 over n pairs, without the lowest and highest percent; lower is better.

    space: z (spherical interpolation) or w (linear). sampling: where along the path between two latents a step begins,
    `full` = anywhere, `end` = at its start. crop: look at the region of an aligned face only, unless the context says
    otherwise. epsilon: length of a step.
    """
    fakes = context.generator()
    if context.settings.crop is not None:
        crop = context.settings.crop == "face"
    height, width = (edge // (2 if crop else 1) for edge in (fakes.G.spec.resolution, fakes.G.spec.width))
    if min(height, width) < SMALLEST:
        cut = " behind the crop" if crop else ""
        raise UserError(f"path length: images of {size_text(height, width)}{cut}, expected >= {SMALLEST}")
    detector = context.detectors["lpips"]

    def distances(indices: np.ndarray) -> np.ndarray:
        a, b = (reduce_size(cropped(x, crop)) for x in ends(fakes, indices, space, sampling, epsilon))
        return (detector(a, b)[0] / epsilon**2).cpu().numpy().astype(np.float64)

    batches = context.features.stream(n, distances, "pairs")
    values = np.concatenate(list(batches))

    # Few steps are so long that they would decide the mean.
    low = np.percentile(values, 1, method="lower")
    high = np.percentile(values, 99, method="higher")
    kept = values[(values >= low) & (values <= high)]
    facts = detector.facts | fakes.facts | {"num_pairs": n, "epsilon": epsilon, "crop": crop}
    return Measurement({"ppl": float(kept.mean())}, facts)


@torch.no_grad()
def ends(
    fakes: Fakes, indices: np.ndarray, space: str, sampling: str, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images of both ends of a step, float [n,C,H,W], 0 to 255, with the same noise and label."""
    G = fakes.G
    z0 = fakes.latents(indices, "start")
    z1 = fakes.latents(indices, "end")
    c = fakes.conditions(indices)

    # Where along the path the step begins.
    rngs = [np.random.default_rng(seed_of(fakes.seed, int(index), "place")) for index in indices]
    places = [rng.random() if sampling == "full" else 0.0 for rng in rngs]
    t = torch.tensor(places, dtype=torch.float32, device=fakes.device)[:, None]

    # z is interpolated between directions, then made as long as it was.
    if space == "w":
        w0, w1 = G.mapping(z0, c), G.mapping(z1, c)
        ws = [torch.lerp(w0, w1, (t + e)[:, :, None]) for e in (0, epsilon)]
    else:
        ws = [G.mapping(slerp(z0, z1, t + e) * G.cfg.z_dim**0.5, c) for e in (0, epsilon)]
    if fakes.psi != 1:
        ws = [G.mapping.truncate(w, fakes.psi, fakes.cutoff) for w in ws]

    noise = fakes.noise(indices)
    first, second = ((G.synthesis(w, noise=noise)[-1].float() + 1) * (255 / 2) for w in ws)
    return first, second


def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return unit vectors [n,z_dim] between the directions of a and b [n,z_dim], at the part t [n,1] of the angle."""
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    dot = (a * b).sum(1, keepdim=True)
    angle = t * torch.acos(dot)

    # In the plane of both, at a right angle to a.
    across = F.normalize(b - dot * a, dim=1)
    return F.normalize(a * torch.cos(angle) + across * torch.sin(angle), dim=1)


def cropped(x: torch.Tensor, crop: bool) -> torch.Tensor:
    """Return x [n,C,H,W] or, with `crop`, StyleGAN's region of aligned faces: the middle half of the columns, and the
    rows from 3/8 to 7/8."""
    row, column = x.shape[2] // 8, x.shape[3] // 8
    return x[:, :, 3 * row : 7 * row, 2 * column : 6 * column] if crop else x


def reduce_size(x: torch.Tensor) -> torch.Tensor:
    """Return means over square blocks of pixels, so that images are less than 512 pixels high."""
    factor = x.shape[2] // LARGEST
    return F.avg_pool2d(x, factor) if factor > 1 else x


ppl_zfull = partial(path_length, space="z", sampling="full", crop=True)
ppl_wfull = partial(path_length, space="w", sampling="full", crop=True)
ppl_zend = partial(path_length, space="z", sampling="end", crop=True)
ppl_wend = partial(path_length, space="w", sampling="end", crop=True)
ppl2_wend = partial(path_length, space="w", sampling="end", crop=False)
"""StyleGAN2's: end points, no crop."""
