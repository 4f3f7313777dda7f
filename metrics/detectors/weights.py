"""Weight files of detectors: where they are published, where they are found, and what is checked of them."""

import hashlib
import os
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dnnlib.downloads import fetch
from dnnlib.errors import UserError

ENVIRONMENT = "MSG_GAN_DETECTORS"  # folder of weight files, if there is no --detector-dir


class Origin(StrEnum):
    """Where the weights of a detector come from."""

    PUBLISHED = "published"
    PUBLISHED_UNVERIFIED = "published, hash unknown"
    RANDOM = "random"
    OTHER = "not the published ones"


class WeightFile(NamedTuple):
    """The address of published weights, and how their sha256 begins if that is published too."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


INCEPTION = WeightFile(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
)
VGG = WeightFile("https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")
LPIPS_WEIGHTS = WeightFile("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth")
DINO = WeightFile("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth")


def load_weights(module: nn.Module, name: str, files: dict[WeightFile, str], folder: Path | None) -> dict[str, str]:
    """Load the weights of detector `name` into `module`; returns their origin, file names and hashes.

    files: with the prefix of the tensors that are taken from each, empty = all of them. UserError if a file is missing
    or holds something else.
    """
    expected = {key: value.shape for key, value in module.state_dict().items() if not _is_counter(key)}
    paths = [find_weights(name, file, folder) for file in files]

    tensors: dict[str, torch.Tensor] = {}
    for path, prefix in zip(paths, files.values(), strict=True):
        for key, tensor in read_tensors(path).items():
            wanted = key.startswith(prefix) and not _is_counter(key)
            if wanted and (not prefix or key in expected):
                tensors[key] = tensor
    _check_tensors(tensors, expected, name, " + ".join(map(str, paths)))
    module.load_state_dict(tensors, strict=False)

    # The hash tells whether they are the weights of the published figures.
    hashes = [sha256(path) for path in paths]
    if not all(digest.startswith(file.sha256) for digest, file in zip(hashes, files, strict=True)):
        origin = Origin.OTHER
    elif all(file.sha256 for file in files):
        origin = Origin.PUBLISHED
    else:
        origin = Origin.PUBLISHED_UNVERIFIED
    return {"weights": origin, "file": " + ".join(path.name for path in paths), "sha256": " + ".join(hashes)}


def _is_counter(key: str) -> bool:
    """True for the counters of batch normalisation, which evaluation does not use."""
    return key.endswith("num_batches_tracked")


def _check_tensors(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Size], name: str, where: str) -> None:
    """Raise UserError if tensors are missing, unknown, or of another shape than expected."""
    missing = expected.keys() - tensors.keys()
    unknown = tensors.keys() - expected.keys()
    for what, keys in (("missing", missing), ("unknown", unknown)):
        if keys:
            raise UserError(f"{where}: not the weights of {name}: {what} {', '.join(sorted(keys)[:3])}")

    for key, shape in expected.items():
        if tensors[key].shape != shape:
            raise UserError(f"{where}: {key} is {list(tensors[key].shape)}, expected {list(shape)} for {name}")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict of a .pth file; no code in it is run."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises whatever a damaged file leads it to
        raise UserError(f"{path}: not readable: {e!s:.200}") from e
    if not isinstance(tensors, dict) or not all(isinstance(v, torch.Tensor) for v in tensors.values()):
        raise UserError(f"{path}: not a state dict, expected tensors by name")
    return tensors


def find_weights(name: str, file: WeightFile, folder: Path | None) -> Path:
    """Return the path of a file in `folder`, in that of the environment variable, or in torch.hub's cache, into which
    it is downloaded if it is missing."""
    given = folder or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if given:
        if not (given / file.name).is_file():
            raise UserError(f"{given / file.name}: no such file, expected the weights of {name}: {_advice(file)}")
        return given / file.name

    # torch-fidelity and torchvision keep their files in the same place.
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file.name
    try:
        path = fetch(file.url, cached)
    except UserError as e:
        raise UserError(f"{name}: its weights are not available: {e}; {_advice(file)}") from e
    if file.sha256 and not sha256(path).startswith(file.sha256):
        raise UserError(f"{path}: sha256 is {sha256(path)}, expected one that begins with {file.sha256}: delete it")
    return path


def _advice(file: WeightFile) -> str:
    return f"download {file.url} elsewhere, put it into a folder, and name that with --detector-dir or {ENVIRONMENT}"


def sha256(path: Path) -> str:
    """Return the hash of a file, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
