"""MSG-R3GAN: the residual networks of R3GAN (Huang et al., "The GAN is dead; long live the GAN!", NeurIPS 2024, section
3 and appendix) with the multi-scale connections of MSG-GAN (Karnewar and Wang, CVPR 2020, section 3).

Nothing is normalised: neither features nor, by default, weights and latents. Each level has residual blocks, whose last
convolution starts at 0 (fix-up initialisation: Zhang et al. 2019), and bilinear resampling leads from one level to the
next. Each level of G emits an image; each level of D adds the image of its size, after a 1x1 convolution, to its
features. The loss that goes with them is relativistic-pairing with R1 and R2.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from training.networks import base
from training.networks.base import PlainMapping, PlainSynthesis, check_seen_resolutions, score_outputs
from training.networks.config import R3GANDiscriminatorConfig, R3GANGeneratorConfig, R3GANNetworkConfig
from training.networks.layers import Conv2d, Dense, EqualizedWeight, compute_dtype
from training.ops.bias_act import bias_act
from training.ops.convolution import conv2d
from training.ops.resample import blur2d, mean2d
from training.spec import ImageSpec

# With a nearest-neighbour enlargement before it, or a 2x2 mean after it, this filter makes bilinear resampling.
BILINEAR = (1, 2, 1)
GAIN_LRELU = math.sqrt(2 / (1 + 0.2**2))  # keeps variance through a leaky rectifier of slope 0.2 (He et al. 2015)


class GroupedConv2d(EqualizedWeight):
    """3x3 convolution within groups of maps, with bias and activation: [N,C,h,w] -> [N,C,h,w]."""

    def __init__(self, channels: int, group_size: int, gain: float, use_wscale: bool) -> None:
        super().__init__((channels, group_size, 3, 3), gain=gain, use_wscale=use_wscale)
        self.groups = channels // group_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = conv2d(x, self.scaled_weight(), padding=1, groups=self.groups)
        return bias_act(x, self.scaled_bias(), "lrelu")


class ResidualBlock(nn.Module):
    """x + (1x1 convolution to more maps -> 3x3 in groups -> 1x1 back)(x): [N,nf,h,w] -> [N,nf,h,w]."""

    def __init__(self, cfg: R3GANNetworkConfig, nf: int, blocks: int) -> None:
        """blocks: how many residual blocks the whole network has, for the scale of their initial weights."""
        super().__init__()
        inner = nf * cfg.expansion

        # Fix-up initialisation: with m = 3 layers in each of L blocks, all but the last are scaled by L^(-1/(2m-2)).
        gain = GAIN_LRELU * blocks ** (-1 / 4)
        self.conv0 = Conv2d(nf, inner, 1, "lrelu", gain=gain, use_wscale=cfg.use_wscale)
        self.conv1 = GroupedConv2d(inner, cfg.group_size_of(inner), gain, cfg.use_wscale)
        self.conv2 = Conv2d(inner, nf, 1, bias=False, gain=1.0, use_wscale=cfg.use_wscale)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(self.conv0(x)))


class Widen(nn.Module):
    """1x1 convolution without bias to another number of maps; nothing if the number stays."""

    def __init__(self, n_in: int, n_out: int, use_wscale: bool) -> None:
        super().__init__()
        self.conv = None if n_in == n_out else Conv2d(n_in, n_out, 1, bias=False, gain=1.0, use_wscale=use_wscale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.conv is None else self.conv(x)


class Basis(nn.Module):
    """w [N,w_dim] -> [N,C,h,w]: learned maps, each multiplied by a learned combination of w."""

    def __init__(self, w_dim: int, channels: int, height: int, width: int, use_wscale: bool) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, height, width))
        self.fc = Dense(w_dim, channels, gain=1.0, use_wscale=use_wscale, bias=False)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x = (self.fc(w)[:, :, None, None] * self.maps).to(compute_dtype(w))  # [N,C,h,w]
        return x.contiguous(memory_format=torch.channels_last)


class SynthesisBlock(nn.Module):
    """Learned maps weighted by w at level 0, or else features, which it enlarges, -> residual blocks: [N,nf,h,w]."""

    def __init__(self, cfg: R3GANGeneratorConfig, spec: ImageSpec, w_dim: int, level: int) -> None:
        super().__init__()
        nf = cfg.nf(level + 1)
        self.level = level

        if level == 0:
            self.basis = Basis(w_dim, nf, *spec.sizes[0], cfg.use_wscale)
        else:
            self.widen = Widen(cfg.nf(level), nf, cfg.use_wscale)
        blocks = cfg.blocks_per_level * len(spec.sizes)
        self.blocks = nn.Sequential(*(ResidualBlock(cfg, nf, blocks) for _ in range(cfg.blocks_per_level)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.level == 0:
            return self.blocks(self.basis(x))  # type: ignore[no-any-return]

        # The number of maps first, at the smaller size: the operations are linear, and their order does not matter.
        x = F.interpolate(self.widen(x), scale_factor=2.0, mode="nearest")
        return self.blocks(blur2d(x, BILINEAR))  # type: ignore[no-any-return]


class SynthesisNetwork(PlainSynthesis):
    """w [N,1,w_dim] -> pyramid of images, one from each level."""

    def __init__(self, cfg: R3GANGeneratorConfig, spec: ImageSpec, w_dim: int) -> None:
        super().__init__(spec)
        for level, r in enumerate(spec.resolutions):
            self.add_module(f"b{r}", SynthesisBlock(cfg, spec, w_dim, level))
            to_image = Conv2d(cfg.nf(level + 1), spec.channels, 1, gain=1.0, use_wscale=cfg.use_wscale)
            self.add_module(f"torgb{r}", to_image)

    def w_weights(self) -> list[torch.Tensor]:
        [basis] = (module for module in self.modules() if isinstance(module, Basis))
        return [basis.fc.scaled_weight()]


class Generator(base.Generator):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid of images [N,channels,h,w], float, about [-1,1]."""

    def __init__(self, cfg: R3GANGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        self.mapping = PlainMapping(cfg, spec)
        self.synthesis = SynthesisNetwork(cfg, spec, self.mapping.n_in)


class DiscriminatorBlock(nn.Module):
    """The image added to the features -> residual blocks -> half the size; at level 0 the score.

    x [N,nf,h,w] (None at the top), image [N,channels,h,w] -> [N,nf',h/2,w/2], at level 0 -> [N,score_outputs].
    """

    def __init__(self, cfg: R3GANDiscriminatorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__()
        self.level = level
        nf = cfg.nf(level + 1)
        resolution, wscale = spec.resolutions[level], cfg.use_wscale

        self.fromrgb: Conv2d | None = None  # where D is to see the image of this level
        if resolution == spec.resolution or cfg.resolutions is None or resolution in cfg.resolutions:
            self.fromrgb = Conv2d(spec.channels, nf, 1, gain=1.0, use_wscale=wscale)
        blocks = cfg.blocks_per_level * len(spec.sizes)
        self.blocks = nn.Sequential(*(ResidualBlock(cfg, nf, blocks) for _ in range(cfg.blocks_per_level)))

        # To the next level; or each map as one number, its product with a learned map, and from these the score.
        if level > 0:
            self.widen = Widen(nf, cfg.nf(level), wscale)
        else:
            self.maps = EqualizedWeight((nf, math.prod(spec.sizes[0])), bias=False, gain=1.0, use_wscale=wscale)
            self.fc = Dense(nf, score_outputs(cfg, spec), gain=1.0, use_wscale=wscale)

    def forward(self, x: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
        if self.fromrgb is not None:
            of_image = self.fromrgb(image)  # [N,nf,h,w]
            x = of_image if x is None else x + of_image
        x = self.blocks(x)  # [N,nf,h,w]

        if self.level > 0:
            return self.widen(mean2d(blur2d(x, BILINEAR)))  # type: ignore[no-any-return]
        of_maps = (x.flatten(2) * self.maps.scaled_weight().to(x.dtype)).sum(2)  # [N,nf]
        return self.fc(of_maps)  # type: ignore[no-any-return]


class Discriminator(base.Discriminator):
    """pyramid, c [N,c_dim] -> scores [N,1]."""

    def __init__(self, cfg: R3GANDiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        check_seen_resolutions(cfg.resolutions, spec)
        for level, r in reversed(list(enumerate(spec.resolutions))):
            self.add_module(f"b{r}", DiscriminatorBlock(cfg, spec, level))
