"""The figures of the StyleGAN paper (Karras et al. 2019), made from any network, with the paper's seeds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import enlarge, labelled, opaque, save_image, sheet, to_pil
from generation.mixing import mixing_table
from generation.output import Format, check_outdir
from generation.sampling import Options, Sampler

# Seeds and numbers of the figures, as in the paper's own for FFHQ.
MOSAIC_SEED = 5
MOSAIC_ROWS = 3
MOSAIC_HALVINGS = (0, 1, 2, 2, 3, 3)  # of each column of sizes
MIXING_ROWS = (888, 829, 1898, 1733, 1614, 845)
MIXING_COLUMNS = (639, 701, 687, 615, 2268)
NOISE_SEEDS = (1157, 1012)
NOISE_SAMPLES = 100
COMPONENT_SEEDS = (1967, 1555)
TRUNCATION_SEEDS = (91, 388)
TRUNCATION_PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)

CROP = (0.635, 0.176, 0.25)  # of noise detail: left, top and size as shares of the image


def figures(
    kinds: Annotated[
        tuple[Literal["mosaic", "mixing", "noise-detail", "noise-components", "truncation"], ...], tyro.conf.Positional
    ] = (),
    *,
    sampling: Options,
    size: int = 128,
    outdir: Path = Path("figures"),
    format: Format = "png",
    overwrite: Switch = False,
) -> None:
    """Make the figures of the StyleGAN paper: mosaic, mixing, noise-detail, noise-components, truncation.

    Args:
        kinds: Figures to make. Default: all that this kind of network can show.
        size: Smallest height of each image in pixels; smaller images are enlarged by a whole factor.
        outdir: Folder for the figures: OUTDIR/mosaic.png and so on.
        format: Kind of the files.
        overwrite: Replace files that exist.
    """
    if not 1 <= size <= 4096:
        raise UserError(f"--size {size}: expected 1 to 4096")
    check_outdir(outdir, [f"{kind}.{format}" for kind in kinds or FIGURES], overwrite)

    # What a network cannot show is an error only if it was asked for.
    sampler = Sampler(sampling)
    hindrances = {kind: _hindrance(kind, sampler) for kind in kinds or FIGURES}
    for kind, reason in hindrances.items():
        if reason and kinds:
            raise UserError(f"figures {kind}: {reason}")

    for kind, reason in hindrances.items():
        if reason:
            print(f"{kind}: left out, because {reason}")
            continue

        path = make_dir(outdir) / f"{kind}.{format}"
        save_image(FIGURES[kind](sampler, size), path)
        print(path)


def mosaic(sampler: Sampler, size: int) -> np.ndarray:
    """Return columns of uncurated images at several sizes (figures 2 and 10 to 12), uint8 [C,H,W]."""
    counts = [MOSAIC_ROWS * 2**halvings for halvings in MOSAIC_HALVINGS]
    samples = sampler.draw(sampler.random_state(MOSAIC_SEED, sum(counts)))
    images = [enlarge(sample.images[-1], size) for sample in samples]

    # All columns are equally high; smaller images are filtered down.
    full = images[0].shape[1:]
    columns = []
    for halvings, count in zip(MOSAIC_HALVINGS, counts, strict=True):
        column = [_resized(image, max(1, full[0] >> halvings), max(1, full[1] >> halvings)) for image in images[:count]]
        columns.append(sheet(np.stack(column), 1))
        del images[:count]

    height = max(column.shape[1] for column in columns)
    padded = [np.pad(c, [(0, 0), (0, height - c.shape[1]), (0, 0)], constant_values=255) for c in columns]
    return np.concatenate(padded, 2)


def mixing(sampler: Sampler, size: int) -> np.ndarray:
    """Return a table of coarse, middle and fine styles of the columns' seeds (figure 3), uint8 [C,H,W]."""
    # Three rows take the coarse layers of their columns, two the middle ones, and one the fine ones, if there are any.
    last = sampler.G.synthesis.num_ws - 1
    rows = [(seed, (a, min(b, last))) for seed, a, b in zip(MIXING_ROWS, *_MIXED_LAYERS, strict=True) if a <= last]
    seeds = [seed for seed, _ in rows]
    ranges = [layers for _, layers in rows]

    cells = mixing_table(sampler, seeds, list(MIXING_COLUMNS), ranges, -1)
    return sheet(np.stack([enlarge(cell, size) for cell in cells]), len(MIXING_COLUMNS) + 1)


# First and last layer of each row: 4x4 and 8x8, 16x16 and 32x32, 64x64 and above.
_MIXED_LAYERS = ((0, 0, 0, 4, 4, 8), (3, 3, 3, 7, 7, 999))


def noise_detail(sampler: Sampler, size: int) -> np.ndarray:
    """Return what noise changes (figure 4), uint8 [C,H,W].

    Each row shows an image, a part of it with four noises, and the standard deviation of each pixel over 100 noises,
    four times enhanced.
    """
    noisy = _with_noise(sampler)
    rows = []
    for seed in NOISE_SEEDS:
        w = noisy.map([noisy.latent(seed)], psi=1).expand(NOISE_SAMPLES, -1, -1)
        images = np.stack([levels[-1] for levels in noisy.render(w, range(NOISE_SAMPLES))])  # [100,C,h,w]

        # The same part of four images, as large together as one image.
        h, w = images.shape[2:]
        half_h, half_w = (edge // 2 for edge in enlarge(images[0], size).shape[1:])
        left, top, share = CROP
        x, y, part_h, part_w = (max(1, int(number)) for number in (left * w, top * h, share * h, share * w))
        parts = [
            _resized(image[:, y : y + part_h, x : x + part_w], half_h, half_w, smooth=False) for image in images[1:5]
        ]

        # Transparency is laid on its board last, so that the squares of the board are not enlarged.
        shown = opaque(enlarge(images[0], size))
        gray = images.mean(1)  # [100,h,w]
        deviation = (gray.std(0) * 4).round().clip(0, 255).astype(np.uint8)[None].repeat(len(shown), 0)
        rows += [shown, sheet(np.stack(parts), 2), enlarge(deviation, size)]
    return sheet(np.stack(rows), 3)


def noise_components(sampler: Sampler, size: int) -> np.ndarray:
    """Return images with noise in all layers, none, the fine and the coarse ones (figure 5), uint8 [C,H,W]."""
    # Fine layers are those from 64x64 on, or the upper half of a smaller network.
    noisy = _with_noise(sampler)
    count = noisy.G.synthesis.num_ws
    split = 8 if count > 8 else count // 2
    components = {
        "noise in all layers": range(count),
        "no noise": range(0),
        "fine layers": range(split, count),
        "coarse layers": range(split),
    }

    rows = []
    for seed in COMPONENT_SEEDS:
        w = noisy.map([noisy.latent(seed)], psi=1)
        for name, layers in components.items():
            (levels,) = noisy.render(w, [seed], noise_layers=layers)
            rows.append(labelled(enlarge(levels[-1], size), name))
    return sheet(np.stack(rows), len(components))


def truncation(sampler: Sampler, size: int) -> np.ndarray:
    """Return images at several truncation psi, from none to the opposite of each image (figure 8), uint8 [C,H,W]."""
    cells = []
    for seed in TRUNCATION_SEEDS:
        latent = sampler.latent(seed)
        for psi in TRUNCATION_PSIS:
            w = sampler.map([latent], psi=psi, cutoff=sampler.G.synthesis.num_ws)
            (levels,) = sampler.render(w, [seed])
            cells.append(labelled(enlarge(levels[-1], size), f"psi {psi:g}"))
    return sheet(np.stack(cells), len(TRUNCATION_PSIS))


FIGURES: dict[str, Callable[[Sampler, int], np.ndarray]] = {
    "mosaic": mosaic,
    "mixing": mixing,
    "noise-detail": noise_detail,
    "noise-components": noise_components,
    "truncation": truncation,
}


def _hindrance(kind: str, sampler: Sampler) -> str | None:
    """Return why a network cannot show a figure, or None if it can."""
    if kind.startswith("noise") and not sampler.has_noise:
        return "this network has no noise inputs"
    if kind == "mixing" and sampler.G.synthesis.num_ws < 2:
        return "this network has no styles to mix"
    return None


def _with_noise(sampler: Sampler) -> Sampler:
    """Return a sampler of the same network with random noise."""
    return Sampler(replace(sampler.options, noise_mode="random"), sampler.G)


def _resized(image: np.ndarray, height: int, width: int, smooth: bool = True) -> np.ndarray:
    """Return an image uint8 [C,h,w] at another height and width, filtered or by picking pixels."""
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    pixels = np.asarray(to_pil(image).resize((width, height), method))
    return pixels.reshape(height, width, -1).transpose(2, 0, 1)
