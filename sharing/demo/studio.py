"""What the web page computes, without anything of the page itself: pictures that visitors compose, and films."""

import contextlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.images import enlarge
from dnnlib.video import save_video
from generation.latent_directions import Directions, ganspace, read_directions, sefa
from generation.latent_files import NAME as LATENTS
from generation.latent_files import StoredLatents, check_latents, pack, read_latents
from generation.networks import NetworkOptions
from generation.sampling import Device, Latent, Sampler, SamplingOptions
from generation.walks import spline_walk
from metrics.networks import snapshots_of
from pretrained import load_network
from training.networks.base import NoiseMode
from training.spec import size_text

FPS = 30
MOST_KEYS = 16  # pictures that a walk passes through
MOST_FRAMES = 2000
MOST_FILM_PIXELS = {"cpu": 2**26, "cuda": 2**31}  # of all frames together, so that nobody waits for hours
FILM_SIZE = 256  # smallest height of a film

MOST_ROWS = 1000  # of an uploaded file of latents
MOST_UNPACKED = 2**25  # bytes of an uploaded file after unpacking

DIRECTIONS = 5  # sliders of the page
METHODS = {"SeFa": sefa, "GANSpace": ganspace}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a picture is made from: a seed or stored latents, mixed with a second seed, moved along directions."""

    seed: int = 0
    label: int | None = None
    """Class, or None to draw it from the seed."""
    psi: float | None = None
    """Strength of truncation, or None for the network's own."""
    noise: NoiseMode = "const"
    stored: StoredLatents | None = None
    """Latents that take the place of the seed."""
    row: int = 0
    """Which of the stored latents."""
    second_seed: int | None = None
    second_layers: tuple[int, int] = (0, 0)
    """First and last layer that follow the second seed."""
    directions: Directions | None = None
    strengths: tuple[float, ...] = ()
    """How far to move along each of the first directions, in standard deviations of w."""


class Picture(NamedTuple):
    """A picture, and what is needed to make it again."""

    name: str
    latent: Latent
    w: np.ndarray  # float32 [num_ws,w_dim], after mixing and moving
    noise: list[np.ndarray]  # stored noise of each layer [1,1,h,w], if it came with latents
    levels: list[np.ndarray]  # the pyramid as uint8 [C,h,w], smallest first
    sources: list[np.ndarray]  # full-resolution images of the two seeds, if they were mixed

    def latents_file(self) -> bytes:
        """Return a file of latents, as the option --latents of generate.py takes it."""
        return pack(
            StoredLatents(
                names=np.array([self.name]),
                z=self.latent.z[None],
                c=self.latent.c[None],
                w=self.w[None],
                noise_seeds=np.array([self.latent.noise_seed]),
                noise=tuple(self.noise),
            )
        )


class Studio:
    """A network, and the pictures and films that visitors ask it for.

    With a run, the network is that of its newest snapshot, also of one that is written later.
    """

    def __init__(self, network: NetworkOptions, device: Device, run: Path | None = None) -> None:
        """Open the network, or with `run` its newest one; raise UserError if there is none."""
        # One image is computed at a time: that is what a visitor waits for.
        self._options = SamplingOptions(batch=1, device=device)
        self._run = run
        self._found: dict[tuple[str, int, int], Directions] = {}
        self._closing = threading.Event()
        self._tried = network.find() if run is None else self.newest()
        self._open(self._tried)

    def newest(self) -> str:
        """Return the newest snapshot of the run, or the network itself if no run is followed."""
        if self._run is None:
            return self.place
        snapshots = snapshots_of(self._run)
        if not snapshots:
            raise UserError(f"{self._run}: no snapshot yet, wait for the first one, or add --network")
        return snapshots[-1].network

    def _open(self, place: str) -> None:
        """Open a network file; directions are those of a network."""
        self.G = Sampler(self._options, load_network(place).generator()).G
        self.place = place
        self._found.clear()

    def follow(self) -> None:
        """Open the newest snapshot of the run; raise UserError, once, if it is damaged."""
        newest = self.place if self._run is None else self.newest()
        if newest not in (self.place, self._tried):
            self._tried = newest
            self._open(newest)

    # What the network offers.

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each level, smallest first."""
        return list(self.G.synthesis.image_sizes)

    @property
    def classes(self) -> int:
        """Number of classes, 0 = none."""
        return self.G.spec.c_dim

    @property
    def num_ws(self) -> int:
        """Number of layers that w enters; styles can be mixed if there are several."""
        return self.G.synthesis.num_ws

    @property
    def methods(self) -> list[str]:
        """Those of METHODS that find directions in this network."""
        possible = {
            "SeFa": bool(self.G.synthesis.w_weights()),
            "GANSpace": any(True for _ in self.G.mapping.children()),
        }
        return [name for name in METHODS if possible[name]]

    # Pictures.

    def picture(self, recipe: Recipe) -> Picture:
        """Make a picture; raise UserError if the recipe does not fit the network."""
        sampler = self._sampler(recipe)
        latent, w, noise = self._start(recipe, sampler)  # w [1,num_ws,w_dim]
        name = f"seed{recipe.seed:04d}" if recipe.stored is None else file_name(recipe.stored.names[recipe.row])

        # The second seed has the class of the first, unless stored latents do not tell it.
        parts = [w]
        if recipe.second_seed is not None:
            other = sampler.latent(recipe.second_seed)
            if latent.c.shape == other.c.shape and latent.c.sum() == 1:
                other = other._replace(c=latent.c)
            second = sampler.map([other])
            first_layer, last_layer = recipe.second_layers
            w = w.clone()
            w[:, first_layer : last_layer + 1] = second[:, first_layer : last_layer + 1]
            parts = [w, parts[0], second]
            name += f"-mix{recipe.second_seed:04d}"

        # Directions move the mixture.
        if recipe.directions is not None:
            for component, strength in enumerate(recipe.strengths[: len(recipe.directions.vectors)]):
                if strength:
                    w = recipe.directions.shift(w, component, strength)
            parts[0] = w

        all_w = torch.cat(parts)
        seeds = [latent.noise_seed] * len(all_w)
        given = [torch.from_numpy(layer).float().to(sampler.device).expand(len(all_w), -1, -1, -1) for layer in noise]
        levels, *sources = sampler.render(all_w, seeds, noise=given)
        return Picture(name, latent, w[0].cpu().numpy(), noise, levels, [source[-1] for source in sources])

    def _start(self, recipe: Recipe, sampler: Sampler) -> tuple[Latent, torch.Tensor, list[np.ndarray]]:
        """Return what the seed or the stored latents stand for: a latent, w [1,num_ws,w_dim], and noise if stored."""
        if recipe.stored is None:
            latent = sampler.latent(recipe.seed)
            return latent, sampler.map([latent]), []

        row = recipe.row
        w = torch.from_numpy(recipe.stored.w[row : row + 1]).float().to(sampler.device)
        return recipe.stored.latents()[row], w, [layer[row : row + 1] for layer in recipe.stored.noise]

    def _sampler(self, recipe: Recipe) -> Sampler:
        """Return the network with the options of a recipe."""
        options = replace(self._options, trunc=recipe.psi, class_idx=recipe.label, noise_mode=recipe.noise)
        return Sampler(options, self.G)

    # Films.

    def film(self, keys: list[np.ndarray], seconds: float, noise: NoiseMode, path: Path) -> None:
        """Write a film of a smooth, closed walk through w of the keys, each [num_ws,w_dim].

        seconds: from one key to the next. Raises UserError if there are too few keys, or if the film is too long.
        """
        frames = round(seconds * FPS * len(keys))
        height, width = self.sizes[-1]
        device = next(self.G.parameters()).device.type
        most = min(MOST_FRAMES, MOST_FILM_PIXELS[device] // (height * width))
        if not 2 <= len(keys) <= MOST_KEYS:
            raise UserError(f"A walk passes through 2 to {MOST_KEYS} pictures, and {len(keys)} are kept.")
        if not 1 <= frames <= most:
            raise UserError(
                f"A film of {frames} frames takes too long: at {size_text(height, width)} pixels, {most} are "
                "possible here. Keep fewer pictures, or walk faster."
            )

        # Films are computed in larger batches than pictures.
        options = replace(self._options, noise_mode=noise, batch=None)
        sampler = Sampler(options, self.G)
        points = spline_walk(np.stack(keys).astype(np.float64), frames)  # [frames,num_ws,w_dim]
        w = torch.from_numpy(points).float().to(sampler.device)
        images = sampler.render(w, [0] * frames)
        save_video((enlarge(levels[-1], FILM_SIZE) for levels in self._until_closed(images)), path, FPS)

    def close(self) -> None:
        """End films that are being made."""
        self._closing.set()

    def _until_closed(self, images: Iterator[list[np.ndarray]]) -> Iterator[list[np.ndarray]]:
        for levels in images:
            if self._closing.is_set():
                raise UserError("The page has been closed.")
            yield levels

    # Files of visitors, and directions.

    def read_latents(self, path: Path) -> StoredLatents:
        """Read a file of latents; raise UserError if it is none, too large, or of another network."""
        _check_size(path)
        stored = read_latents(path)
        if len(stored.names) > MOST_ROWS:
            raise UserError(f"{path.name}: {len(stored.names)} latents, expected at most {MOST_ROWS}")
        check_latents(stored, path, self._sampler(Recipe()))
        return stored

    def read_directions(self, path: Path) -> Directions:
        """Read a file of directions and return the first ones; raise UserError if it is none, or does not fit."""
        _check_size(path)
        return _first(read_directions(path, self._sampler(Recipe())))

    def find_directions(self, method: str, layers: tuple[int, int]) -> Directions:
        """Return the first directions that one of METHODS finds; each is searched for only once."""
        key = (method, *layers)
        if key not in self._found:
            self._found[key] = _first(METHODS[method](self._sampler(Recipe()), layers))
        return self._found[key]


def _first(directions: Directions) -> Directions:
    """Return as many directions as the page has sliders."""
    vectors, deviations = (array[:DIRECTIONS].copy() for array in (directions.vectors, directions.deviations))
    return Directions(vectors, deviations, directions.layers)


def file_name(name: object) -> str:
    """Return a name from a file of latents as the name of a file."""
    return re.sub(r"[^\w.-]", "_", Path(str(name)).name)[:80] or "latents"


def _check_size(path: Path) -> None:
    """Raise UserError if a small zip stands for more than a visitor may fill the memory with."""
    with contextlib.suppress(zipfile.BadZipFile):  # whoever reads it reports that
        size = _unpacked_size(path)
        if size > MOST_UNPACKED:
            raise UserError(f"{path.name}: {size / 1e6:.0f} MB unpacked, expected at most {MOST_UNPACKED / 1e6:.0f}")


def _unpacked_size(file: Path | io.BytesIO) -> int:
    """Return the number of bytes in a zip, and in the zip of latents in it; 0 for other files."""
    if not zipfile.is_zipfile(file):
        return 0
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if LATENTS in archive.namelist() and size <= MOST_UNPACKED:
            size += _unpacked_size(io.BytesIO(archive.read(LATENTS)))
    return size
