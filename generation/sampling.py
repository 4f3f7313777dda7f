"""The commands of generate.py.

Images are computed one at a time: image and seed belong together, whatever else is asked for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from dnnlib import cli
from dnnlib.distributed import pick_device
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import save_png, sheet
from pretrained import load_network
from training import pyramid

MAX_SEEDS = 10**6


def parse_seeds(text: str) -> list[int]:
    """`0-15,20` to [0, ..., 15, 20]."""
    seeds: list[int] = []
    for part in text.split(","):
        m = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not m or (m[2] and int(m[2]) < int(m[1])):
            raise UserError(f"--seeds {text}: found `{part}`, expected numbers and ranges such as 0-15,20")
        if int(m[2] or m[1]) >= 2**32:
            raise UserError(f"--seeds {text}: found {m[2] or m[1]}, expected seeds below 2^32")
        if int(m[2] or m[1]) - int(m[1]) >= MAX_SEEDS:
            raise UserError(f"--seeds {text}: found `{part}`, expected at most {MAX_SEEDS} seeds")
        seeds += range(int(m[1]), int(m[2] or m[1]) + 1)
    return seeds


def sample(
    network: str,
    seeds: Sequence[int],
    trunc: float | None,
    cutoff: int | None,
    class_idx: int | None,
    noise_mode: Literal["const", "random", "none"],
    device_name: Literal["auto", "cuda", "cpu"],
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(seed, pyramid of uint8 [C,r,r]) for each seed, drawn as they are asked for; the file is opened at once.
    Everything random of an image follows from its seed; without `class_idx` a conditional network's class does too."""
    if trunc is not None and not -10 <= trunc <= 10:
        raise UserError(f"--trunc {trunc}: expected -10 to 10")
    if cutoff is not None and cutoff < 0:
        raise UserError(f"--cutoff {cutoff}: expected >= 0")
    net = load_network(network)
    device = pick_device(device_name)
    G = net.generator().to(device)
    cfg, c_dim = G.cfg, net.spec.c_dim
    if class_idx is not None and not 0 <= class_idx < c_dim:
        expected = f"0 to {c_dim - 1}" if c_dim else "no --class: the network is unconditional"
        raise UserError(f"--class {class_idx}: expected {expected}")
    psi = cfg.truncation_psi if trunc is None else trunc
    layers = cfg.truncation_cutoff if cutoff is None else cutoff

    @torch.no_grad()
    def draw(seed: int) -> list[np.ndarray]:
        rng = np.random.RandomState(seed)
        z = torch.from_numpy(rng.randn(1, cfg.z_dim)).float().to(device)
        c = torch.zeros(1, c_dim, device=device)
        if c_dim:
            c[0, rng.randint(c_dim) if class_idx is None else class_idx] = 1
        noise = None
        if noise_mode == "random":
            noise_rng = torch.Generator().manual_seed(seed)
            noise = [torch.randn(s, generator=noise_rng).to(device) for s in G.synthesis.noise_shapes(1)]
        pictures = G(z, c, truncation_psi=psi, truncation_cutoff=layers, noise_mode=noise_mode, noise=noise)
        return [pyramid.to_uint8(x)[0].cpu().numpy() for x in pictures]

    return ((seed, draw(seed)) for seed in seeds)


def images(
    *,
    network: str,
    seeds: str = "0-15",
    outdir: Path = Path("out"),
    trunc: float | None = None,
    cutoff: int | None = None,
    level: int = -1,
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    device: Literal["auto", "cuda", "cpu"] = "auto",
) -> None:
    """One PNG per seed: OUTDIR/seed0000.png.

    Args:
        network: Network file of any kind (snapshot, TF1 pickle, BMSG-GAN .pth), or its URL.
        seeds: Numbers and ranges, e.g. 0-15,20.
        outdir: Folder for the images.
        trunc: Truncation psi: 1 = none, 0 = the average image. Default: what the network was configured with.
        cutoff: Number of layers that truncation applies to. Default: what the network was configured with.
        level: Which image of the pyramid: -1 = full resolution, 0 = 4x4, 1 = 8x8, ...
        class_idx: Class of a conditional network. Default: drawn from the seed.
        noise_mode: const = stored noise, random = noise that follows from the seed, none.
        device: auto = cuda if there is one.
    """
    wanted = parse_seeds(seeds)
    for seed, images in tqdm(
        sample(network, wanted, trunc, cutoff, class_idx, noise_mode, device), total=len(wanted), unit="img"
    ):
        if not -len(images) <= level < len(images):
            raise UserError(f"--level {level}: expected {-len(images)} to {len(images) - 1}")
        save_png(images[level], make_dir(outdir) / f"seed{seed:04d}.png")
    print(f"{outdir}: {len(wanted)} images")


def multiscale(
    *,
    network: str,
    seeds: str = "0-7",
    output: Path = Path("multiscale.png"),
    trunc: float | None = None,
    cutoff: int | None = None,
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None,
    noise_mode: Literal["const", "random", "none"] = "const",
    device: Literal["auto", "cuda", "cpu"] = "auto",
) -> None:
    """One sheet: a row per seed, a column per level from 4x4 to the full resolution, all scaled up to full size.

    Args:
        network: Network file of any kind (snapshot, TF1 pickle, BMSG-GAN .pth), or its URL.
        seeds: Numbers and ranges, e.g. 0-7,20.
        output: PNG file.
        trunc: Truncation psi: 1 = none, 0 = the average image. Default: what the network was configured with.
        cutoff: Number of layers that truncation applies to. Default: what the network was configured with.
        class_idx: Class of a conditional network. Default: drawn from the seed.
        noise_mode: const = stored noise, random = noise that follows from the seed, none.
        device: auto = cuda if there is one.
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"--output {output}: expected a file name that ends in .png")
    cells = []
    for _, images in sample(network, parse_seeds(seeds), trunc, cutoff, class_idx, noise_mode, device):
        size = images[-1].shape[1:]
        cells += [sheet(x[None], 1, size) for x in images]
    make_dir(output.parent)
    save_png(sheet(np.stack(cells), len(images)), output)
    print(output)


COMMANDS: dict[str, Callable[..., None]] = {"images": images, "multiscale": multiscale}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Images and sheets from a network.")
