"""Networks that see images, as metrics use them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import tyro
from torch import nn

from dnnlib.errors import UserError
from metrics.detectors.dinov2 import DINOv2
from metrics.detectors.inception import InceptionV3
from metrics.detectors.resize import RESIZES
from metrics.detectors.vgg import LPIPS, VGG16
from metrics.detectors.weights import DINO, INCEPTION, LPIPS_WEIGHTS, VGG, Origin, WeightFile, load_weights


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
    """Which weights detectors have, and how they run."""

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
    """A detector that is ready to see images. `facts` is what results depend on."""

    def __init__(self, name: str, options: DetectorOptions, device: torch.device) -> None:
        kind = DETECTORS[name]
        resize = options.resize or kind.resize
        precision = options.precision if kind.size else "fp32"  # LPIPS measures steps that bf16 cannot tell from none

        self.name = name
        self.device = device
        self.size = kind.size
        self._resize = RESIZES[resize]
        self._bf16 = precision == "bf16"

        if options.random_detectors:
            self.module = random_module(kind)
            origin: dict[str, str] = {"weights": Origin.RANDOM, "file": "", "sha256": ""}
        else:
            with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced
                self.module = kind.build()
            origin = load_weights(self.module, name, kind.files, options.detector_dir)

        self.facts = {"detector": name, **origin, "precision": precision}
        if kind.size:
            self.facts["resize"] = resize

        if isinstance(self.module, InceptionV3):
            self.module.fold()
        self.module.eval().requires_grad_(False).to(device)
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of the network for images [N,C,h,w], uint8 or float 0 to 255, C 1 or 3: float32, on the
        device."""
        prepared = [self._prepare(x) for x in images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            outputs = self.module(*prepared)
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        return tuple(output.float() for output in outputs)

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.device)
        if x.shape[1] not in (1, 3):
            raise UserError(f"{self.name}: images of {x.shape[1]} channels, expected 1 or 3")
        x = self._resize(x, self.size) if self.size else x.float()
        return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def random_module(kind: Kind) -> nn.Module:
    """Build a detector with random weights, always the same ones, that keep the size of activations."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = kind.build()
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.weight.shape[0] == 1:  # LPIPS's weights of channels, which are positive
                    layer.weight.data.abs_()
    return module
