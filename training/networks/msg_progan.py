"""MSG-ProGAN (Karnewar and Wang, "MSG-GAN", CVPR 2020, section 3; repository BMSG-GAN): the network of ProGAN with an
image at every block of G, fed to the block of its size in D.

Deviations from the original: z is normalised inside (its trainer did it outside); up-sampling and convolution are one
operation and the layers of the smallest block are dense (equal up to rounding); in D features come before the image (a
permutation of input channels); any size and any number of feature maps; labels, `combine`, `resolutions` and groups of
minibatch stddev are options.
"""

import math

import torch
from torch import nn

from training.networks import base
from training.networks.base import PlainMapping, PlainSynthesis, check_seen_resolutions, score_outputs
from training.networks.config import ProGANDiscriminatorConfig, ProGANGeneratorConfig, progan_nf
from training.networks.layers import GAIN_RELU, Combine, Conv2d, ConvUp2d, Dense, DenseInput, EqualizedWeight
from training.ops.bias_act import bias_act
from training.ops.epilogue import pixel_norm
from training.ops.minibatch_stddev import minibatch_stddev
from training.ops.resample import mean2d
from training.spec import ImageSpec


class SynthesisBlock(nn.Module):
    """(layer, activation) twice with pixel norm after the second (level 0) or after both: x -> [N,nf,h,w]."""

    def __init__(self, cfg: ProGANGeneratorConfig, spec: ImageSpec, w_dim: int, level: int) -> None:
        super().__init__()
        self.level = level
        nf = progan_nf(cfg.z_dim, level)

        # The first layer takes w, or the features of the block before.
        self.source: DenseInput | ConvUp2d
        if level == 0:
            self.source = DenseInput(w_dim, nf, *spec.sizes[0], GAIN_RELU, cfg.use_wscale)
        else:
            n_in = progan_nf(cfg.z_dim, level - 1)
            self.source = ConvUp2d(n_in, nf, rotate=False, taps=(), use_wscale=cfg.use_wscale)
        self.bias = nn.Parameter(torch.zeros(nf))
        self.conv = Conv2d(nf, nf, 3, "lrelu", use_wscale=cfg.use_wscale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = bias_act(self.source(x), self.bias, "lrelu")  # [N,nf,h,w]

        # The original leaves the smallest block without the first of the two norms.
        if self.level > 0:
            x = pixel_norm(x)
        return pixel_norm(self.conv(x))  # [N,nf,h,w]


class SynthesisNetwork(PlainSynthesis):
    """w [N,1,w_dim] -> pyramid of images, one from each block."""

    def __init__(self, cfg: ProGANGeneratorConfig, spec: ImageSpec, w_dim: int) -> None:
        super().__init__(spec)
        for level, r in enumerate(spec.resolutions):
            self.add_module(f"b{r}", SynthesisBlock(cfg, spec, w_dim, level))
            to_image = Conv2d(progan_nf(cfg.z_dim, level), spec.channels, 1, use_wscale=cfg.use_wscale)
            self.add_module(f"torgb{r}", to_image)

    def w_weights(self) -> list[torch.Tensor]:
        [first, *_] = (module for module in self.modules() if isinstance(module, DenseInput))
        return [first.fc.scaled_weight()]


class Generator(base.Generator):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid of images [N,channels,h,w], float, about [-1,1]."""

    def __init__(self, cfg: ProGANGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        self.mapping = PlainMapping(cfg, spec)
        self.synthesis = SynthesisNetwork(cfg, spec, self.mapping.n_in)
        if not cfg.use_wscale:
            _initialise_as_torch(self)


class DiscriminatorBlock(nn.Module):
    """fromrgb or combine -> two convolutions -> 2x2 mean; at level 0 minibatch stddev, and dense layers at the end.

    x [N,nf',h,w] (None at the top), image [N,channels,h,w] -> [N,nf'',h/2,w/2], at level 0 -> [N,score_outputs].
    """

    def __init__(self, cfg: ProGANDiscriminatorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.level = level
        nf = progan_nf(cfg.features, level)
        wscale = cfg.use_wscale

        # The image comes in through fromrgb at the top, and through combine below.
        n_in = max(1, nf // 2)  # the block above leaves room for as many maps of the image
        self.combine: Combine | None = None  # where D is to see the image of this block
        if level == len(spec.sizes) - 1:
            self.fromrgb = Conv2d(spec.channels, nf, 1, use_wscale=wscale)
            n_in = nf
        elif cfg.resolutions is None or spec.resolutions[level] in cfg.resolutions:
            self.combine = Combine(cfg.combine, n_in, spec.channels, wscale, bias=True)
            n_in = self.combine.n_out

        # Two convolutions; at level 0 minibatch stddev, one convolution and dense layers.
        self.conv0 = Conv2d(n_in + (level == 0), nf, 3, "lrelu", use_wscale=wscale)
        if level > 0:
            n_out = max(1, progan_nf(cfg.features, level - 1) // 2)
            self.conv1 = Conv2d(nf, n_out, 3, "lrelu", use_wscale=wscale)
        else:
            self.fc0 = Dense(nf * math.prod(spec.sizes[0]), nf, "lrelu", use_wscale=wscale)
            self.fc1 = Dense(nf, score_outputs(cfg, spec), use_wscale=wscale)

    def forward(self, x: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
        if x is None:
            x = self.fromrgb(image)  # [N,nf,h,w]
        elif self.combine is not None:
            x = self.combine(x, image)  # [N,nf'+...,h,w]

        if self.level > 0:
            return mean2d(self.conv1(self.conv0(x)))  # [N,nf'',h/2,w/2]

        stddev = minibatch_stddev(x, self.cfg.mbstd_group_size, num_features=1)  # [N,1]
        return self.fc1(self.fc0(self.conv0(x, stddev).flatten(1)))  # [N,score_outputs]


class Discriminator(base.Discriminator):
    """pyramid, c [N,c_dim] -> scores [N,1]."""

    def __init__(self, cfg: ProGANDiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        check_seen_resolutions(cfg.resolutions, spec)
        for level, r in reversed(list(enumerate(spec.resolutions))):
            self.add_module(f"b{r}", DiscriminatorBlock(cfg, spec, level))
        if not cfg.use_wscale:
            _initialise_as_torch(self)


def _initialise_as_torch(network: nn.Module) -> None:
    """Draw weights and biases uniformly from +-1/sqrt(fan_in), torch's default, as BMSG-GAN's plain convolutions do.

    A transposed convolution counts the maps that it returns as its fan-in.
    """

    def uniform(parameter: torch.Tensor | None, fan_in: int) -> None:
        if parameter is not None:
            nn.init.uniform_(parameter, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    # All layers by their own fan-in.
    for module in network.modules():
        if isinstance(module, EqualizedWeight):
            for parameter in (module.weight, module.bias):
                uniform(parameter, module.weight[0].numel())

    # The first layers of G's blocks, whose bias is the block's.
    for block in network.modules():
        if isinstance(block, SynthesisBlock):
            if isinstance(block.source, DenseInput):
                uniform(block.source.fc.weight, len(block.source.fc.weight))
                uniform(block.bias, len(block.source.fc.weight))
            else:
                uniform(block.bias, block.source.weight[0].numel())
