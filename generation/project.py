"""The command that finds given images in a network."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from dnnlib.cli import Places, Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import enlarge, save_image, sheet
from dnnlib.video import AddFrame, open_video
from generation import latent_files
from generation.latent_files import StoredLatents
from generation.output import check_outdir, write_file
from generation.projector import Distance, Projection, ProjectionOptions, level_errors, project
from generation.sampling import Options, Sampler
from generation.selection import parse_levels
from metrics.detectors.detector import Detector, DetectorOptions, colours
from training import pyramid
from training.data.decode import decode, decoding_error, planes
from training.pyramid import Pyramid
from training.spec import size_text

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of pictures, by the number of channels
MOST_FRAMES = 300
FILM_SIZE, COMPARE_SIZE = 256, 128  # least height of an image in a film, and in compare.png


def project_images(
    images: Places,
    *,
    sampling: Options,
    steps: int = 500,
    space: Literal["w", "w+"] = "w+",
    search_noise: Switch = False,
    level: str = "all",
    perceptual: float = 0.0,
    detector_dir: Path | None = None,
    film: Switch = False,
    outdir: Path = Path("projected"),
    overwrite: Switch = False,
) -> None:
    """Find the latents whose images come closest to given ones.

    Writes OUTDIR/NAME.png for each image, compare.png (the given images above what was found), and latents.npz, from
    which other commands make images again.

    Args:
        images: Images to find, of any format and size.
        steps: Steps of gradient descent.
        space: w+ = a latent for each layer, which comes closer; w = one for all, which can be edited better.
        search_noise: Search the noise as well, in place of --noise-mode.
        level: Levels of the pyramid whose errors count: all, or numbers such as -1 (full resolution) or 0,2,-1.
        perceptual: Weight of the perceptual distance LPIPS at full resolution beside the error of pixels, e.g. 1.
        detector_dir: Folder with the weight files of LPIPS. Default: the environment variable MSG_GAN_DETECTORS, then
            the cache of downloads.
        film: Also write a film of each search, NAME.mp4: the given image beside what has been found.
        outdir: Folder for the files.
        overwrite: Replace files that exist.
    """
    # Everything that needs no network is checked first.
    names = _names(images)
    suffixes = (".png", ".mp4") if film else (".png",)
    check_outdir(
        outdir, [latent_files.NAME, "compare.png", *(name + suffix for name in names for suffix in suffixes)], overwrite
    )
    if not 1 <= steps <= 100_000:
        raise UserError(f"--steps {steps}: expected 1 to 100000")
    if not 0 <= perceptual <= 1e6:
        raise UserError(f"--perceptual {perceptual:g}: expected 0 to 1000000")
    if sampling.trunc is not None or sampling.trunc_cutoff is not None:
        raise UserError("--trunc: latents are searched, not drawn, expected none")
    if sampling.channels is not None:
        raise UserError("--channels: all channels are searched, expected none")
    if sampling.noise_mode == "random":
        raise UserError("--noise-mode random: expected const, none, or --search-noise")

    # The network, and the images at its size.
    sampler = Sampler(sampling)
    if search_noise and not sampler.has_noise:
        raise UserError("--search-noise: this network has no noise inputs")
    options = ProjectionOptions(
        steps=steps,
        space=space,
        noise="search" if search_noise else sampling.noise_mode,
        levels=tuple(parse_levels(level, len(sampler.sizes))),
        perceptual=perceptual,
    )
    targets = np.stack([_read(path, sampler) for path in images])  # [N,C,H,W]
    distance = _perceptual(sampler, detector_dir) if perceptual else None

    # A batch at a time; each image is searched as if it were alone.
    make_dir(outdir)
    found = []
    for i in range(0, len(targets), sampler.batch):
        part = slice(i, i + sampler.batch)
        paths = [outdir / f"{name}.mp4" for name in names[part]] if film else []
        found.append(_search(sampler, targets[part], options, distance, paths))

    # What was found: pictures, latents, and how close they are.
    pictures = [image for result in found for image in pyramid.to_uint8(result.images[-1]).cpu().numpy()]
    for name, picture in zip(names, pictures, strict=True):
        save_image(picture, outdir / f"{name}.png")
    rows = enlarge(np.stack([*targets, *pictures]), COMPARE_SIZE)
    save_image(sheet(rows, len(targets)), outdir / "compare.png")
    write_file(outdir / latent_files.NAME, latent_files.pack(_stored(sampler, names, found)))
    _report(sampler, names, targets, found)
    print(f"{outdir}: {len(names)} image{'s' * (len(names) > 1)}, compare.png and {latent_files.NAME}")


def _names(images: Sequence[Path]) -> list[str]:
    """Return the names under which images are written; raise UserError if two are the same, or there is none."""
    if not images:
        raise UserError("project: no images, expected at least one")
    names = [path.stem for path in images]
    for name in names:
        if names.count(name) > 1 or name in ("compare", "latents"):
            raise UserError(f"project: {name} cannot be the name of one image of the folder, rename the file")
    return names


def _read(path: Path, sampler: Sampler) -> np.ndarray:
    """Return an image as uint8 [C,H,W], as the network makes them; say so if it had another size."""
    channels, (height, width) = sampler.G.spec.channels, sampler.sizes[-1]
    if channels not in MODES:
        raise UserError(f"project: the network makes images of {channels} channels, expected one of 1 to 4 channels")
    try:
        image, _ = decode(path, "white" if channels in (1, 3) else None)
    except Exception as e:  # whatever Pillow raises
        raise UserError(f"{path}: {decoding_error(e, path)}") from e
    image = image.convert(MODES[channels])

    # The middle part of the network's proportions, at its size.
    if image.size != (width, height):
        factor = min(image.width / width, image.height / height)
        part_w, part_h = round(factor * width), round(factor * height)
        left, top = (image.width - part_w) // 2, (image.height - part_h) // 2
        is_whole = image.size == (part_w, part_h)
        what = "resized" if is_whole else "its middle resized"
        print(f"{path}: {image.width}x{image.height}, {what} to {width}x{height}")
        image = image.resize((width, height), Image.Resampling.LANCZOS, (left, top, left + part_w, top + part_h))
    return planes(image)


def _perceptual(sampler: Sampler, detector_dir: Path | None) -> Distance:
    """Return LPIPS, with gradients, for float images [N,C,H,W] of values 0 to 255."""
    if min(sampler.sizes[-1]) < 16:
        raise UserError(f"--perceptual: images of {size_text(*sampler.sizes[-1])} pixels, expected at least 16x16")
    module = Detector("lpips", DetectorOptions(detector_dir=detector_dir), sampler.device).module
    return lambda a, b: module(colours(a), colours(b))


def _search(
    sampler: Sampler,
    targets: np.ndarray,
    options: ProjectionOptions,
    distance: Distance | None,
    films: Sequence[Path],
) -> Projection:
    """Search at most a batch of images uint8 [n,C,H,W], with a progress bar, and a film of each if there are paths."""
    # Where the search begins, what it aims at, and which of its steps a film shows.
    G = sampler.G.requires_grad_(False)
    label = None
    if sampler.options.class_idx is not None:
        label = torch.eye(G.spec.c_dim, device=sampler.device)[sampler.options.class_idx]
    reals = pyramid.from_uint8(torch.from_numpy(targets).to(sampler.device))
    every = -(-options.steps // MOST_FRAMES)

    with contextlib.ExitStack() as stack:
        adders = [stack.enter_context(open_video(path)) for path in films]
        bar = stack.enter_context(tqdm(total=options.steps, unit="step"))

        def on_step(step: int, images: Pyramid) -> None:
            if step % 10 == 0:
                bar.set_postfix_str(f"error {100 * level_errors(images, reals)[:, -1].mean():.1f}%", refresh=False)
            bar.update()
            if step % every == 0:
                _add_frames(adders, targets, images)

        found = project(G, reals, options, label, distance, on_step)
        _add_frames(adders, targets, found.images)
    return found


def _add_frames(adders: Sequence[AddFrame], targets: np.ndarray, images: Pyramid) -> None:
    """Add a frame to the film of each image: what is searched, and what has been found."""
    if adders:
        pictures = pyramid.to_uint8(images[-1].detach()).cpu().numpy()
        for add, target, picture in zip(adders, targets, pictures, strict=True):
            add(np.concatenate([enlarge(target, FILM_SIZE), enlarge(picture, FILM_SIZE)], 2))


def _stored(sampler: Sampler, names: list[str], found: Sequence[Projection]) -> StoredLatents:
    """Return what was found as other commands take it. There is no z that it follows from."""
    # Batches are joined, layer by layer.
    n, spec = len(names), sampler.G.spec
    layers = [torch.cat(layer).cpu().numpy() for layer in zip(*(result.noise for result in found), strict=True)]
    return StoredLatents(
        names=np.array(names),
        z=np.zeros((n, sampler.G.cfg.z_dim)),
        c=np.zeros((n, spec.c_dim), np.float32),
        w=torch.cat([result.w for result in found]).cpu().numpy(),
        noise_seeds=np.zeros(n, np.int64),
        noise=tuple(layers),
    )


def _report(sampler: Sampler, names: list[str], targets: np.ndarray, found: Sequence[Projection]) -> None:
    """Print how close each image came, with the error of each level in relation to the variance of the image."""
    # Errors of all levels as floats, and the PSNR of the pixels that were written.
    images = tuple(torch.cat(level).cpu() for level in zip(*(result.images for result in found), strict=True))
    errors = level_errors(images, pyramid.from_uint8(torch.from_numpy(targets)))
    pictures = pyramid.to_uint8(images[-1]).numpy().astype(np.float64)

    for name, target, picture, of_levels in zip(names, targets, pictures, errors.tolist(), strict=True):
        psnr = 10 * np.log10(255**2 / max(np.square(picture - target).mean(), 1e-6))
        levels = ", ".join(f"{size_text(*s)} {e:.2%}" for s, e in zip(sampler.sizes, of_levels, strict=True))
        print(f"{name}: PSNR {psnr:.1f} dB; error in relation to the variance: {levels}")
