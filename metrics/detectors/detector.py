"""Networks that see images: their weight files, where those come from, and what is checked of them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import tyro
from torch import nn

from dnnlib.downloads import fetch
from dnnlib.errors import UserError
from dnnlib.pickles import check_torch_pickles
from metrics.detectors.dinov2 import DINOv2
from metrics.detectors.inception import InceptionV3
from metrics.detectors.resize import RESIZES
from metrics.detectors.vgg import LPIPS, VGG16

ENVIRONMENT = "MSG_GAN_DETECTORS"  # folder of weight files, if --detector-dir does not say


class WeightFile(NamedTuple):
    """Where a file of weights is published, and how its sha256 begins if that is published too."""

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


class Kind(NamedTuple):
    """A detector: its network, the side of its input (0 = any), its files with the prefix of the tensors that are taken
    from each (empty = all of them), and how images were resized for the figures that are published."""

    build: Callable[[], nn.Module]
    size: int
    files: dict[WeightFile, str]
    resize: str = "legacy"


DETECTORS = {
    "inception": Kind(InceptionV3, 299, {INCEPTION: ""}),
    "vgg16": Kind(VGG16, 224, {VGG: ""}),
    "lpips": Kind(LPIPS, 0, {VGG: "features.", LPIPS_WEIGHTS: ""}),
    "dinov2": Kind(DINOv2, 224, {DINO: ""}, "clean"),
}


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """How detectors are had and run."""

    detector_dir: Path | None = None
    """folder with weight files, for machines that are offline; default: the environment variable MSG_GAN_DETECTORS,
    then the cache of downloads"""
    random_detectors: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """use random weights: shows that everything runs, the figures mean nothing"""
    resize: str | None = None
    """how images reach the detector's size: legacy (TensorFlow 1's) or clean (antialiased, clean-fid's); default: as in
    published figures, which is legacy, but clean for DINOv2"""
    precision: str = "fp32"
    """of detectors: fp32 or bf16"""

    def __post_init__(self) -> None:
        if self.resize not in (None, *RESIZES):
            raise ValueError(f"--resize {self.resize}: expected {' or '.join(RESIZES)}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"--precision {self.precision}: expected fp32 or bf16")


class Detector:
    """A detector ready to see images. `facts` is what results depend on."""

    def __init__(self, name: str, options: DetectorOptions, device: torch.device) -> None:
        kind = DETECTORS[name]
        self.name, self.device, self.size = name, device, kind.size
        resize = options.resize or kind.resize
        precision = options.precision if kind.size else "fp32"  # LPIPS measures steps that bf16 cannot tell from none
        self._resize, self._bf16 = RESIZES[resize], precision == "bf16"
        if options.random_detectors:
            self.module, origin = random_module(kind), {"weights": "random", "file": "", "sha256": ""}
        else:
            self.module, origin = load_module(name, kind, options.detector_dir)
        self.facts = {"detector": name, **origin, "precision": precision}
        if kind.size:
            self.facts["resize"] = resize
        if isinstance(self.module, InceptionV3):
            self.module.fold()
        self.module.eval().requires_grad_(False).to(device)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images [N,C,h,w], uint8 or float 0 to 255, C 1 or 3, to what the network gives, float32 on the device."""
        prepared = [self._prepare(x) for x in images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            out = self.module(*prepared)
        return tuple(x.float() for x in (out if isinstance(out, tuple) else (out,)))

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.device)
        if x.shape[1] not in (1, 3):
            raise UserError(f"{self.name}: images of {x.shape[1]} channels, expected 1 or 3")
        x = self._resize(x, self.size) if self.size else x.float()
        return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def random_module(kind: Kind) -> nn.Module:
    """A detector with random weights, always the same ones, that keep the size of activations."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = kind.build()
        for m in module.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
                if m.weight.shape[0] == 1:  # of LPIPS, where they weigh
                    m.weight.data.abs_()
    return module


def load_module(name: str, kind: Kind, folder: Path | None) -> tuple[nn.Module, dict[str, str]]:
    """A detector with the weights of its files, and their names and hashes. UserError if a file cannot be had or is
    another one."""
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced
        module = kind.build()
    expected = {k: v.shape for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    found: dict[str, torch.Tensor] = {}
    paths = [find_weights(name, file, folder) for file in kind.files]
    for path, prefix in zip(paths, kind.files.values(), strict=True):
        tensors = read_tensors(path)
        found |= {k: v for k, v in tensors.items() if k.startswith(prefix) and not k.endswith("num_batches_tracked")}
    if prefix_only := [p for p in kind.files.values() if p]:
        found = {k: v for k, v in found.items() if k in expected or not k.startswith(tuple(prefix_only))}
    where = " + ".join(map(str, paths))
    for what, names in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys())):
        if names:
            raise UserError(f"{where}: not the weights of {name}: {what} {', '.join(sorted(names)[:3])}")
    for key, shape in expected.items():
        if found[key].shape != shape:
            raise UserError(f"{where}: {key} is {list(found[key].shape)}, expected {list(shape)} for {name}")
    module.load_state_dict(found, strict=False)
    hashes = [sha256(p) for p in paths]
    weights = "published" if all(file.sha256 for file in kind.files) else "published, hash unknown"
    if not all(h.startswith(file.sha256) for h, file in zip(hashes, kind.files, strict=True)):
        weights = "not the published ones"
    return module, {"weights": weights, "file": " + ".join(p.name for p in paths), "sha256": " + ".join(hashes)}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a .pth file; no code in it is run."""
    check_torch_pickles(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises whatever a damaged file leads it to
        raise UserError(f"{path}: not readable: {e!s:.200}") from e
    if not isinstance(tensors, dict) or not all(isinstance(v, torch.Tensor) for v in tensors.values()):
        raise UserError(f"{path}: not a state dict, expected tensors by name")
    return tensors


def find_weights(name: str, file: WeightFile, folder: Path | None) -> Path:
    """The file in `folder`, in that of the environment variable, in torch.hub's cache, or downloaded."""
    given = folder or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if given:
        if not (given / file.name).is_file():
            raise UserError(f"{given / file.name}: no such file, expected the weights of {name}: {_advice(file)}")
        return given / file.name
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file.name
    # torch-fidelity and torchvision keep theirs in the same place
    try:
        path = fetch(file.url, cached)
    except UserError as e:
        raise UserError(f"{name}: its weights cannot be had: {e}; {_advice(file)}") from e
    if file.sha256 and not sha256(path).startswith(file.sha256):
        raise UserError(f"{path}: sha256 is {sha256(path)}, expected one that begins with {file.sha256}: delete it")
    return path


def _advice(file: WeightFile) -> str:
    return f"download {file.url} elsewhere, put it into a folder, and name that with --detector-dir or {ENVIRONMENT}"


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
