"""Networks that see images, as metrics use them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dnnlib import distributed
from dnnlib.cli import Switch
from metrics.detectors.dinov2 import DINOv2
from metrics.detectors.inception import InceptionV3
from metrics.detectors.resize import RESIZES
from metrics.detectors.vgg import LPIPS, VGG16
from metrics.detectors.weights import DINO, INCEPTION, LPIPS_WEIGHTS, VGG, Origin, WeightFile, load_weights


class Kind(NamedTuple):
    """What is known of a detector before it is loaded.

    build: makes its network. size: side of its input in pixels, 0 = any. files: its weight files, each with the prefix
    of the tensors that are taken from it, empty = all of them. resize: how images were resized for published figures.
    """

    build: Callable[[], nn.Module]
    size: int
    files: dict[WeightFile, str]
    resize: str = "legacy"


# To add a detector: its network in a file of its own, its weight file in weights.py, and a row here.
DETECTORS = {
    "inception": Kind(InceptionV3, 299, {INCEPTION: ""}),
    "vgg16": Kind(VGG16, 224, {VGG: ""}),
    "lpips": Kind(LPIPS, 0, {VGG: "features.", LPIPS_WEIGHTS: ""}),
    "dinov2": Kind(DINOv2, 224, {DINO: ""}, "clean"),
}


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """Weights of the detectors, and how they run."""

    detector_dir: Path | None = None
    """Folder with weight files, for machines without internet access. Default: the environment variable
    MSG_GAN_DETECTORS, then the cache of downloads."""
    random_detectors: Switch = False
    """Use random weights: this shows that everything runs, but the figures mean nothing."""
    resize: str | None = None
    """How images reach the detector's size: legacy (TensorFlow 1's) or clean (antialiased, clean-fid's); default: as in
    published figures, which is clean for DINOv2 and legacy for the others."""
    precision: str = "fp32"
    """Precision of detectors: fp32 or bf16."""

    def __post_init__(self) -> None:
        if self.resize not in (None, *RESIZES):
            raise ValueError(f"--resize {self.resize}: expected {' or '.join(RESIZES)}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"--precision {self.precision}: expected fp32 or bf16")


class Detector:
    """A detector that is ready to see images. `facts` holds what results depend on."""

    def __init__(self, name: str, options: DetectorOptions, device: torch.device) -> None:
        kind = DETECTORS[name]
        resize = options.resize or kind.resize

        # LPIPS measures steps so short that their ends are the same in bfloat16.
        precision = options.precision if kind.size else "fp32"

        self.name = name
        self.device = device
        self._size = kind.size
        self._resize = RESIZES[resize]
        self._is_bf16 = precision == "bf16"

        if options.random_detectors:
            self.module = random_module(kind)
            origin: dict[str, str] = {"weights": Origin.RANDOM, "file": "", "sha256": ""}
        else:
            # The constructor draws initial weights, which must not change the draws of a training run.
            with torch.random.fork_rng(devices=[]):
                self.module = kind.build()
            origin = load_weights(self.module, name, kind.files, options.detector_dir)

        self.facts = {"detector": name, **origin, "precision": precision}
        if kind.size:
            self.facts["resize"] = resize

        # What makes inference faster: folded normalisation, and channels last.
        self.module.eval().requires_grad_(False)
        if isinstance(self.module, InceptionV3):
            self.module.fold()
        self.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of the network, float32, on the device.

        images: [N,C,h,w], uint8 or float 0 to 255, of which `colours` are looked at; LPIPS takes two of them.
        """
        prepared = [self._prepare(x) for x in images]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_bf16):
            outputs = self.module(*prepared)

        # Some networks have one output, some have several.
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        return tuple(output.float() for output in outputs)

    def _prepare(self, x: torch.Tensor) -> torch.Tensor:
        """Return images as the network takes them: float [N,3,size,size]."""
        x = colours(x.to(self.device))
        x = self._resize(x, self._size) if self._size else x.float()
        return x.contiguous(memory_format=torch.channels_last)


def colours(x: torch.Tensor) -> torch.Tensor:
    """Return images [N,C,h,w], 0 to 255, as RGB of the same dtype.

    Gray is repeated, images with alpha (C = 2 or 4) are laid on white, and of more channels the first three are taken.
    """
    channels = x.shape[1]
    if channels > 4:
        return x[:, :3]
    if channels in (1, 3):
        return x.expand(-1, 3, -1, -1)

    # uint8 stays uint8, as of images that were on white from the beginning.
    alpha = x[:, -1:].float() / 255
    mixed = x[:, :-1].float() * alpha + 255 * (1 - alpha)
    return (mixed if x.is_floating_point() else mixed.round().to(x.dtype)).expand(-1, 3, -1, -1)


class Detectors(dict[str, Detector]):
    """Detectors by name, each of which is loaded when it is first looked up, by all processes together."""

    def __init__(self, options: DetectorOptions, device: torch.device) -> None:
        super().__init__()
        self.options = options
        self.device = device

    def __missing__(self, name: str) -> Detector:
        # The main process may have to download the weights before the others can read them.
        self[name] = distributed.main_first(lambda: Detector(name, self.options, self.device))
        return self[name]


def random_module(kind: Kind) -> nn.Module:
    """Build a detector with random weights, always the same ones, that keep the size of activations."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = kind.build()
        for layer in module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

                # LPIPS's weights of channels are positive.
                if layer.weight.shape[0] == 1:
                    layer.weight.data.abs_()
    return module
