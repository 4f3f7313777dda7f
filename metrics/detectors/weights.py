"""Weight files of detectors: where they are published, where they are found, and what is checked of them."""

import hashlib
import os
import pickle
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dnnlib.downloads import fetch
from dnnlib.errors import UserError
from dnnlib.pickles import read_torch

# Names the folder of weight files, unless --detector-dir does.
ENVIRONMENT = "MSG_GAN_DETECTORS"


class Origin(StrEnum):
    """Where the weights of a detector come from; part of every result."""

    PUBLISHED = "published"
    PUBLISHED_UNVERIFIED = "published, hash unknown"
    RANDOM = "random"
    OTHER = "not the published ones"


class WeightFile(NamedTuple):
    """The address of published weights, and how their sha256 begins, which is empty if it is not published."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The name of the file on disk."""
        return self.url.rpartition("/")[2]


INCEPTION = WeightFile(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
)
VGG = WeightFile("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")
LPIPS_WEIGHTS = WeightFile("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth")
DINO = WeightFile("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth")


def load_weights(module: nn.Module, name: str, files: dict[WeightFile, str], folder: Path | None) -> dict[str, str]:
    """Load the weights of detector `name` into `module`, and return their origin, file names and hashes.

    files: weight files, each with the prefix of the tensors that are taken from it, empty = all of them. Raise
    UserError if a file is missing or holds something else.
    """
    paths = [find_weights(name, file, folder) for file in files]

    # The tensors of all files together must be those of the network.
    tensors: dict[str, torch.Tensor] = {}
    for path, prefix in zip(paths, files.values(), strict=True):
        content = read_tensors(path)
        tensors |= {key: tensor for key, tensor in content.items() if key.startswith(prefix) and not _is_counter(key)}
    _check_tensors(tensors, module, name, " + ".join(map(str, paths)))
    module.load_state_dict(tensors, strict=False)

    # The hashes tell whether they are the weights of published figures.
    hashes = [sha256(path) for path in paths]
    origin = Origin.PUBLISHED if all(file.sha256 for file in files) else Origin.PUBLISHED_UNVERIFIED
    if not all(digest.startswith(file.sha256) for digest, file in zip(hashes, files, strict=True)):
        origin = Origin.OTHER
    return {"weights": origin, "file": " + ".join(path.name for path in paths), "sha256": " + ".join(hashes)}


def _is_counter(key: str) -> bool:
    """Return whether a tensor is a counter of batch normalisation, which evaluation does not use."""
    return key.endswith("num_batches_tracked")


def _check_tensors(tensors: dict[str, torch.Tensor], module: nn.Module, name: str, where: str) -> None:
    """Raise UserError if tensors are missing, unknown, or of another shape than those of `module`."""
    expected = {key: value.shape for key, value in module.state_dict().items() if not _is_counter(key)}
    for what, keys in (("missing", expected.keys() - tensors), ("unknown", tensors.keys() - expected)):
        if keys:
            raise UserError(f"{where}: not the weights of {name}: {what} {', '.join(sorted(keys)[:3])}")

    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise UserError(f"{where}: {key} is {list(tensors[key].shape)}, expected {list(shape)} for {name}")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict of a .pth file; no code in it is run."""
    # torch raises all kinds of errors for a damaged file, and the text of one recommends opening it unsafely.
    try:
        tensors = read_torch(path)
    except Exception as e:
        reason = "it does not hold plain weights" if isinstance(e, pickle.UnpicklingError) else f"{e!s:.200}"
        raise UserError(f"{path}: not readable: {reason}") from e

    if not isinstance(tensors, dict) or not all(isinstance(v, torch.Tensor) for v in tensors.values()):
        raise UserError(f"{path}: not a state dict, expected tensors by name")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise UserError(f"{path}: {key!s:.100} is not a plain tensor of real numbers with a name")
    return tensors


def find_weights(name: str, file: WeightFile, folder: Path | None) -> Path:
    """Return the path of a weight file of detector `name`.

    It lies in `folder`, in the folder that the environment variable names, or in torch.hub's cache, into which it is
    downloaded if it is missing. Raise UserError if it is nowhere, or damaged there.
    """
    advice = f"download {file.url} elsewhere, put it into a folder, and name that with --detector-dir or {ENVIRONMENT}"

    # A folder that the user names is the only place to look.
    named = folder or os.environ.get(ENVIRONMENT)
    if named:
        path = Path(named) / file.name
        if not path.is_file():
            raise UserError(f"{path}: no such file, expected the weights of {name}: {advice}")
        return path

    # torch-fidelity and torchvision keep their files in the same place.
    try:
        path = fetch(file.url, Path(torch.hub.get_dir()) / "checkpoints" / file.name)
    except UserError as e:
        raise UserError(f"{name}: its weights are not available: {e}; {advice}") from e

    digest = sha256(path)
    if not digest.startswith(file.sha256):
        raise UserError(f"{path}: sha256 is {digest}, expected one that begins with {file.sha256}: delete it")
    return path


def sha256(path: Path) -> str:
    """Return the hash of a file, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
