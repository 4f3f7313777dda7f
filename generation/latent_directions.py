"""Directions in the space of w along which images change: found without labels, stored in files, and followed.

Both ways to find them need a trained network only. SeFa (Shen and Zhou 2021, section 3.2) takes the directions that the
layers behind w magnify most. GANSpace (Härkönen et al. 2020, section 3.1) takes those along which w varies most.
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dnnlib.arrays import array_names, check_expansion, read_member
from dnnlib.errors import UserError
from dnnlib.files import os_error
from generation.sampling import Sampler

SAMPLES = 10_000  # latents that deviations, and the directions of GANSpace, follow from
AT_ONCE = 1000


class Directions(NamedTuple):
    """Directions of w, the one that changes most first."""

    vectors: np.ndarray  # float [K,w_dim], of unit length
    deviations: np.ndarray  # float [K], standard deviation of w along each: the unit of `strength`
    layers: np.ndarray  # int [2], first and last layer that they were found for and are added to

    def shift(self, w: torch.Tensor, component: int, strength: float) -> torch.Tensor:
        """Return w [N,num_ws,w_dim] moved along a direction by `strength` of its deviations."""
        first, last = self.layers
        step = torch.from_numpy(self.vectors[component] * self.deviations[component] * strength)
        shifted = w.clone()
        shifted[:, first : last + 1] += step.to(w)
        return shifted


def sefa(sampler: Sampler, layers: tuple[int, int]) -> Directions:
    """Return the eigenvectors of A^T A, largest eigenvalue first; A [n,w_dim] has the weights of the layers."""
    first, last = layers
    weights = sampler.G.synthesis.w_weights()
    if not weights:
        raise UserError("--method sefa: w does not enter this network by a layer with weights")
    A = torch.cat(weights[first : last + 1]).detach().double().cpu()  # [n,w_dim]

    # The right singular vectors of A.
    vectors = torch.linalg.svd(A, full_matrices=False).Vh.numpy()
    w = _random_w(sampler)
    return Directions(_signed(vectors), ((w - w.mean(0)) @ vectors.T).std(0), np.array(layers))


def ganspace(sampler: Sampler, layers: tuple[int, int]) -> Directions:
    """Return the principal components of w."""
    if not any(True for _ in sampler.G.mapping.children()):
        raise UserError("--method ganspace: w of this network varies alike in all directions, expected --method sefa")
    w = _random_w(sampler)

    _, singular, vectors = np.linalg.svd(w - w.mean(0), full_matrices=False)
    return Directions(_signed(vectors), singular / np.sqrt(len(w)), np.array(layers))


def pack_directions(directions: Directions) -> bytes:
    """Return a file of directions."""
    file = io.BytesIO()
    np.savez(file, **directions._asdict())
    return file.getvalue()


def read_directions(path: Path, sampler: Sampler) -> Directions:
    """Read a file of directions; raise UserError if it is none, or of another network."""
    try:
        data = path.read_bytes()
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise ValueError("not a file of arrays")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_expansion(archive, len(data))
            if set(Directions._fields) - array_names(archive):
                raise ValueError("no directions in it")
            found = Directions(*(read_member(archive, name) for name in Directions._fields))
        k, w_dim = found.vectors.shape
        if found.deviations.shape != (k,) or found.layers.shape != (2,) or found.layers.dtype.kind not in "iu":
            raise ValueError("arrays of wrong shapes")
        if not all(np.isfinite(x).all() and x.dtype.kind == "f" for x in found[:2]):
            raise ValueError("values that are no numbers")
    except OSError as e:
        raise os_error(e, path, "read") from e
    except Exception as e:  # damaged files raise errors of many kinds
        raise UserError(f"{path}: {e}, expected a file that `generate.py directions` wrote") from e

    # They must fit the network.
    expected = len(sampler.G.mapping.w_avg)
    first, last = found.layers
    if w_dim != expected or not 0 <= first <= last < sampler.G.synthesis.num_ws:
        raise UserError(f"{path}: directions of another network: w_dim {w_dim}, expected {expected}")
    return found


def _random_w(sampler: Sampler) -> np.ndarray:
    """Return w of many latents, float64 [SAMPLES,w_dim]; of the class of the options, or else of all in turn."""
    G, device = sampler.G, sampler.device
    rng = torch.Generator().manual_seed(0)
    parts = []
    for start in range(0, SAMPLES, AT_ONCE):
        z = torch.randn(AT_ONCE, G.cfg.z_dim, generator=rng)
        c = torch.zeros(AT_ONCE, G.spec.c_dim)
        if G.spec.c_dim:
            chosen = sampler.options.class_idx
            index = torch.arange(start, start + AT_ONCE) % G.spec.c_dim
            c[torch.arange(AT_ONCE), index if chosen is None else chosen] = 1
        with torch.no_grad():
            parts.append(G.mapping(z.to(device), c.to(device))[:, 0].double().cpu())
    return torch.cat(parts).numpy()


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors [K,w_dim] with their largest value positive: their sign is arbitrary otherwise."""
    largest = np.abs(vectors).argmax(1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]
