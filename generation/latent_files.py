"""Latents in files: `latents.npz`, by itself or in the zip that `generate.py images` writes."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnnlib.arrays import array_names, check_expansion, read_member
from dnnlib.errors import UserError
from dnnlib.files import os_error
from generation.sampling import Latent, Sample, Sampler

NAME = "latents.npz"


class StoredLatents(NamedTuple):
    """What a file of latents holds, one row for each image."""

    names: np.ndarray  # text [N], names of the images without suffix
    z: np.ndarray  # float [N,z_dim]
    c: np.ndarray  # float [N,c_dim]
    w: np.ndarray  # float [N,num_ws,w_dim], truncated: what the images are made from
    noise_seeds: np.ndarray  # int [N], what noise follows from, if it is random
    noise: tuple[np.ndarray, ...] = ()  # float [N,1,h,w] for each layer, in place of any other; empty = none is given

    def latents(self) -> list[Latent]:
        """Return each row."""
        rows = zip(self.z, self.c, self.noise_seeds, strict=True)
        return [Latent(z, c.astype(np.float32), int(seed)) for z, c, seed in rows]


def pack_latents(names: Sequence[str], samples: Sequence[Sample]) -> bytes:
    """Return a file of the latents of images; `names` are those of the images, without suffix."""
    return pack(
        StoredLatents(
            names=np.array(names),
            z=np.stack([sample.latent.z for sample in samples]),
            c=np.stack([sample.latent.c for sample in samples]),
            w=np.stack([sample.w for sample in samples]),
            noise_seeds=np.array([sample.latent.noise_seed for sample in samples]),
        )
    )


def pack(stored: StoredLatents) -> bytes:
    """Return a file of latents."""
    # Arrays of numbers and text, which can be read without running any code. Noise has one for each layer.
    arrays = stored._asdict()
    layers = {f"noise{i}": layer for i, layer in enumerate(arrays.pop("noise"))}
    file = io.BytesIO()
    np.savez(file, **arrays, **layers)
    return file.getvalue()


def read_latents(path: Path) -> StoredLatents:
    """Read a file of latents, or those in a zip of images; raise UserError if there are none."""
    try:
        with zipfile.ZipFile(path) as archive:
            # A file of arrays is a zip as well.
            check_expansion(archive, path.stat().st_size)
            if NAME not in archive.namelist():
                return _unpack(archive)
            data = archive.read(NAME)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_expansion(archive, len(data))
            return _unpack(archive)
    except OSError as e:
        raise os_error(e, path, "read") from e
    except Exception as e:  # damaged files raise errors of many kinds
        raise UserError(f"{path}: {e}, expected {NAME} as `generate.py images` writes it") from e


def check_latents(stored: StoredLatents, path: Path, sampler: Sampler) -> None:
    """Raise UserError unless the latents are of the shape that a network takes."""
    # z and c are for information only; images are made from w.
    G = sampler.G
    expected = tuple(G.mapping.w_avg.shape)

    shapes = [shape[1:] for shape in G.synthesis.noise_shapes(1)]
    if stored.noise and [layer.shape[1:] for layer in stored.noise] != shapes:
        raise UserError(f"{path}: noise of another network: {len(stored.noise)} layers, expected {len(shapes)}")

    if stored.w.shape[1:] != (G.synthesis.num_ws, *expected):
        found = "x".join(map(str, stored.w.shape[1:]))
        raise UserError(f"{path}: latents of another network: w {found}, expected {G.synthesis.num_ws}x{expected[0]}")


def _unpack(archive: zipfile.ZipFile) -> StoredLatents:
    """Return the arrays of a file, or raise ValueError."""
    names, found = StoredLatents._fields[:-1], array_names(archive)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in it")
    layers = sum(name.removeprefix("noise").isdecimal() for name in found if name.startswith("noise"))
    noise = tuple(read_member(archive, f"noise{i}") for i in range(layers) if f"noise{i}" in found)
    stored = StoredLatents._make([*(read_member(archive, name) for name in names), noise])

    # One row for each image, of finite numbers.
    rows = [*stored[:-1], *noise]
    dimensions = [array.ndim for array in rows]
    if dimensions != [1, 2, 2, 3, 1, *[4] * layers] or len({len(array) for array in rows}) != 1 or not len(stored.w):
        raise ValueError("arrays of wrong shapes")
    if stored.z.dtype.kind != "f" or stored.c.dtype.kind not in "fiu":
        raise ValueError("z or c that are no numbers")
    if stored.noise_seeds.dtype.kind not in "iu" or stored.noise_seeds.min() < 0:
        raise ValueError("noise_seeds that are no whole numbers from 0 on")
    for name, array in (("w", stored.w), *(("noise", layer) for layer in noise)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are no numbers")
    return stored
