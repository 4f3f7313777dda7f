"""Plain StyleGAN (Karras et al., CVPR 2019; NVIDIA's TensorFlow code): to use, and start from, what it has trained.

Layers, mapping and truncation are those of MSG-StyleGAN. G returns one image, in mid-growth a blend of two scales; D
sees the full-size image only. Not trained here: progressive growing is what multi-scale gradients replace.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from training.networks import base, msg_stylegan
from training.networks.base import Noise, NoiseMode
from training.networks.config import StyleGANDiscriminatorConfig, StyleGANGeneratorConfig
from training.networks.layers import Conv2d
from training.pyramid import Pyramid
from training.spec import ImageSpec


def _blend(new: torch.Tensor, old: torch.Tensor, share: float) -> torch.Tensor:
    """Return new + (old - new) * share, with share clipped to [0,1] (TF: lerp_clip)."""
    return torch.lerp(new, old, min(max(share, 0.0), 1.0))


class SynthesisNetwork(msg_stylegan.SynthesisNetwork):
    """w [N,num_ws,w_dim] -> pyramid of one: the image at full resolution.

    The buffer lod [] is how many halvings of the resolution progressive growing still had to go: 0 = fully grown;
    1.625 = the image of half the size, blended with the one below it, enlarged.
    """

    lod: torch.Tensor

    def __init__(self, cfg: StyleGANGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        self.register_buffer("lod", torch.zeros(()))

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        return self.sizes[-1:]

    def forward(self, w: torch.Tensor, noise_mode: NoiseMode = "random", noise: Noise | None = None) -> Pyramid:
        images = super().forward(w, noise_mode, noise)
        lod = float(self.lod)
        top = len(images) - 1

        # From the smallest image on, blend each with the enlarged one below it. While lod is above an image's own
        # distance to the top, the image is not grown yet, and the enlarged one stands in for it.
        blended = images[0]
        for i in range(1, len(images)):
            blended = F.interpolate(blended, scale_factor=2.0, mode="nearest")  # [N,channels,h,w]
            blended = _blend(images[i], blended, lod - (top - i))
        return (blended,)


class Generator(base.Generator):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid of one, [N,channels,H,W], float, about [-1,1]."""

    def __init__(self, cfg: StyleGANGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        self.synthesis = SynthesisNetwork(cfg, spec)
        self.mapping = msg_stylegan.MappingNetwork(cfg, spec, self.synthesis.num_ws)


class DiscriminatorBlock(msg_stylegan.DiscriminatorLayers):
    """The layers of MSG-StyleGAN's block, with minibatch stddev at level 0 only.

    x [N,nf,h,w] -> [N,nf',h/2,w/2], at level 0 -> [N,score_outputs]. `fromrgb` makes x from an image of this size.
    """

    def __init__(self, cfg: StyleGANDiscriminatorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__(cfg, spec, level)

        # Every block can be the first one, since D grew from the smallest on.
        self.fromrgb = Conv2d(spec.channels, self.nf, 1, cfg.activation, use_wscale=cfg.use_wscale)
        self.add_layers(self.nf, cfg.mbstd_num_features if level == 0 else 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run_layers(x)


class Discriminator(base.Discriminator):
    """pyramid, c [N,c_dim] -> scores [N,1]; only the last image of the pyramid is looked at."""

    lod: torch.Tensor

    def __init__(self, cfg: StyleGANDiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        for level, r in reversed(list(enumerate(spec.resolutions))):
            self.add_module(f"b{r}", DiscriminatorBlock(cfg, spec, level))
        self.register_buffer("lod", torch.zeros(()))

    def forward(self, pyramid: Sequence[torch.Tensor], c: torch.Tensor | None = None) -> torch.Tensor:
        image = pyramid[-1]  # [N,channels,H,W]
        lod = float(self.lod)

        # From the full resolution down; in mid-growth features of the shrunk image fade in for those of larger blocks.
        resolutions = self.spec.resolutions[::-1]
        x = self.get_submodule(f"b{resolutions[0]}").get_submodule("fromrgb")(image)  # [N,nf,H,W]
        for i, r in enumerate(resolutions):
            x = self.get_submodule(f"b{r}")(x)  # [N,nf',h/2,w/2], at last [N,score_outputs]
            if r != resolutions[-1]:
                image = F.avg_pool2d(image, 2)  # [N,channels,h/2,w/2]
                if lod > i:
                    x = _blend(x, self.get_submodule(f"b{r // 2}").get_submodule("fromrgb")(image), lod - i)

        return self.weigh(x, c)  # [N,1]
