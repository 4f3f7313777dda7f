"""MSG-StyleGAN (Karnewar and Wang, "MSG-GAN: Multi-Scale Gradients for GANs", CVPR 2020), section 3 and appendix.

The style-based generator of StyleGAN with an image at every block, and a discriminator that receives each of them.
Deviations from the original: convolutions and resampling are one operation (equal up to rounding), the gradient of the
blur is exact, style mixing is applied, whose option the original ignored, and `combine` and `resolutions` of D are
options.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from training.networks import base
from training.networks.base import Mapping, Noise, NoiseMode, Synthesis, check_seen_resolutions, score_outputs
from training.networks.config import DiscriminatorConfig, GeneratorConfig, StyleDiscriminatorConfig
from training.networks.layers import (
    GAIN_RELU,
    Combine,
    Conv2d,
    ConvDown2d,
    ConvUp2d,
    Dense,
    DenseInput,
    compute_dtype,
    without_fp16,
)
from training.ops.epilogue import synthesis_epilogue
from training.ops.minibatch_stddev import minibatch_stddev
from training.pyramid import Pyramid
from training.spec import ImageSpec, size_text


class MappingNetwork(Mapping):
    """z [N,z_dim], c [N,c_dim] or None -> w [N,num_ws,w_dim] (StyleGAN, section 2). c None stands for zeros.

    The label embedding is appended to z before normalisation. Every layer has an activation, including the last one.
    The buffer w_avg is the running mean of w, which `training.update` moves.
    """

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec, num_ws: int) -> None:
        super().__init__(cfg, spec, num_ws)
        self.layers = cfg.mapping_layers

        # Without layers w is the normalised z, so it must be as long.
        n_in = self.n_in
        if cfg.mapping_layers == 0 and n_in != cfg.w_dim:
            raise ValueError(f"w_dim: found {cfg.w_dim}, expected {n_in} (z with labels) when mapping_layers is 0")

        for i in range(cfg.mapping_layers):
            n_out = cfg.w_dim if i == cfg.mapping_layers - 1 else cfg.mapping_fmaps
            layer = Dense(n_in, n_out, cfg.mapping_activation, use_wscale=cfg.use_wscale, lrmul=cfg.mapping_lrmul)
            self.add_module(f"fc{i}", layer)
            n_in = n_out

        self.register_buffer("w_avg", torch.zeros(cfg.w_dim))

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        x = self.embed(z, c)  # [N,z_dim], with labels [N,2*z_dim]
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)  # [N,mapping_fmaps], at last [N,w_dim]

        # Every layer of the synthesis network starts with the same w; mixing and truncation change some of them.
        return x[:, None].expand(-1, self.num_ws, -1)  # [N,num_ws,w_dim]


class SynthesisLayer(nn.Module):
    """Input or convolution, then noise -> bias -> activation -> normalisation -> style: x, w -> [N,out,H,W].

    `source` gives the raw features: a constant, a dense layer on w, a convolution, or an up-sampling convolution.
    """

    noise_const: torch.Tensor

    def __init__(self, cfg: GeneratorConfig, source: nn.Module, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.source = source
        self.bias = nn.Parameter(torch.zeros(channels))
        if cfg.use_noise:
            self.noise_strength = nn.Parameter(torch.zeros(channels))
            self.register_buffer("noise_const", torch.randn(1, 1, height, width))
        if cfg.use_styles:
            self.style = Dense(cfg.w_dim, 2 * channels, gain=1.0, use_wscale=cfg.use_wscale)

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        return synthesis_epilogue(
            self.source(x),
            self.bias,
            self.cfg.activation,
            noise,
            self.noise_strength if self.cfg.use_noise else None,
            self.cfg.use_pixel_norm,
            self.cfg.use_instance_norm,
            self.style(w) if self.cfg.use_styles else None,
        )


class ConstInput(nn.Module):
    """The learned constant: w [N,w_dim], of which only N counts -> [N,C,h,w]."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, channels, height, width))

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x = self.const.to(compute_dtype(self.const)).expand(w.shape[0], -1, -1, -1)  # [N,C,h,w]
        return x.contiguous(memory_format=torch.channels_last)


class SynthesisBlock(nn.Module):
    """The two layers of one level: x, and two w and noises -> features [N,nf,h,w].

    x: the features of the block before; at level 0, w [N,w_dim].
    """

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__()
        height, width = spec.sizes[level]
        n_out = cfg.nf(level + 1)

        # Where the features come from: the block before, or at level 0 a learned constant or w.
        source: nn.Module
        if level > 0:
            rotate = cfg.rotates_kernels(height, width)
            source = ConvUp2d(cfg.nf(level), n_out, rotate, cfg.blur_filter, cfg.use_wscale)
        elif cfg.use_const_input:
            source = ConstInput(n_out, height, width)
        else:
            source = DenseInput(cfg.w_dim, n_out, height, width, GAIN_RELU / 4, cfg.use_wscale)
        self.layer0 = SynthesisLayer(cfg, source, n_out, height, width)

        conv = Conv2d(n_out, n_out, 3, bias=False, use_wscale=cfg.use_wscale)
        self.layer1 = SynthesisLayer(cfg, conv, n_out, height, width)

    def forward(self, x: torch.Tensor, w: Sequence[torch.Tensor], noise: Sequence[torch.Tensor | None]) -> torch.Tensor:
        return self.layer1(self.layer0(x, w[0], noise[0]), w[1], noise[1])  # [N,nf,h,w]


class SynthesisNetwork(Synthesis):
    """w [N,num_ws,w_dim] -> pyramid of images, one from each block (MSG-GAN, section 3)."""

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg = cfg
        self.sizes = spec.sizes
        self.num_ws = 2 * len(spec.sizes) if cfg.use_styles else 1
        for level, r in enumerate(spec.resolutions):
            self.add_module(f"b{r}", SynthesisBlock(cfg, spec, level))
            to_image = Conv2d(cfg.nf(level + 1), spec.channels, 1, gain=1.0, use_wscale=cfg.use_wscale)
            self.add_module(f"torgb{r}", to_image)

    def layers(self) -> list[SynthesisLayer]:
        """Return all layers, smallest first, two for each level."""
        return [m for m in self.modules() if isinstance(m, SynthesisLayer)]

    def noise_shapes(self, n: int) -> list[tuple[int, int, int, int]]:
        return [(n, 1, height, width) for height, width in self.sizes for _ in (0, 1)] if self.cfg.use_noise else []

    def w_weights(self) -> list[torch.Tensor]:
        if self.cfg.use_styles:
            return [layer.style.scaled_weight() for layer in self.layers()]
        source = self.layers()[0].source
        return [source.fc.scaled_weight()] if isinstance(source, DenseInput) else []

    def forward(self, w: torch.Tensor, noise_mode: NoiseMode = "random", noise: Noise | None = None) -> Pyramid:
        # Noise of each layer: given, fresh, stored, or none.
        sources: list[torch.Tensor | None] = [None] * (2 * len(self.sizes))
        if self.cfg.use_noise and noise is not None:
            sources = list(noise)
        elif self.cfg.use_noise and noise_mode == "random":
            sources = [torch.randn(s, device=w.device, dtype=w.dtype) for s in self.noise_shapes(w.shape[0])]
        elif self.cfg.use_noise and noise_mode == "const":
            sources = [layer.noise_const for layer in self.layers()]

        # Without styles, w enters at level 0 only.
        ws = w.unbind(1) if self.cfg.use_styles else [w[:, 0]] * (2 * len(self.sizes))  # [N,w_dim] each

        # Blocks from the smallest on, which takes w instead of features, each with its image.
        x = ws[0]  # [N,w_dim]
        images = []
        for i, (r, _) in enumerate(self.sizes):
            with without_fp16(w.device) if i == 0 else nullcontext():
                x = self.get_submodule(f"b{r}")(x, ws[2 * i : 2 * i + 2], sources[2 * i : 2 * i + 2])  # [N,nf,h,w]
            images.append(self.get_submodule(f"torgb{r}")(x).to(w.dtype))  # [N,channels,h,w]
        return tuple(images)


class Generator(base.Generator):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid of images [N,channels,h,w], float, about [-1,1].

    `base.Generator.forward` calls the two networks, with truncation between them.
    """

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        self.synthesis = SynthesisNetwork(cfg, spec)
        self.mapping = MappingNetwork(cfg, spec, self.synthesis.num_ws)


class DiscriminatorLayers(nn.Module):
    """What follows the image in a discriminator block of the StyleGAN family.

    Minibatch stddev -> two convolutions, the second to half the size; at level 0 one convolution and two dense layers.
    x [N,n_in,h,w] -> [N,nf',h/2,w/2], at level 0 -> [N,score_outputs].
    """

    def __init__(self, cfg: StyleDiscriminatorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.spec = spec
        self.level = level
        self.nf = cfg.nf(level + 1)

    def add_layers(self, n_in: int, mbstd_features: int) -> None:
        """Create the layers.

        Subclasses call it after creating what the image passes through: initial weights are drawn in this order.
        """
        cfg, act, wscale = self.cfg, self.cfg.activation, self.cfg.use_wscale
        height, width = self.spec.sizes[self.level]
        self.mbstd_features = mbstd_features
        if mbstd_features and n_in % mbstd_features:
            raise ValueError(
                f"D.mbstd_num_features: found {mbstd_features}, expected a divisor of the {n_in} feature maps at "
                f"{size_text(height, width)}"
            )

        # A second convolution leads to the next smaller block; at level 0 dense layers end the network.
        self.conv0 = Conv2d(n_in + mbstd_features, self.nf, 3, act, use_wscale=wscale)
        if self.level > 0:
            self.conv1 = ConvDown2d(self.nf, cfg.nf(self.level), act, cfg.blur_filter, wscale)
        else:
            self.fc0 = Dense(self.nf * height * width, cfg.nf(0), act, use_wscale=wscale)
            self.fc1 = Dense(cfg.nf(0), score_outputs(cfg, self.spec), gain=1.0, use_wscale=wscale)

    def run_layers(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the layers make of features x [N,n_in,h,w]."""
        # The spread of the batch, so that D notices samples that are too much alike; conv0 sees it as constant maps.
        stddev = None
        if self.mbstd_features:
            stddev = minibatch_stddev(x, self.cfg.mbstd_group_size, self.mbstd_features)  # [N,features]

        x = self.conv0(x, stddev)  # [N,nf,h,w]
        if self.level > 0:
            return self.conv1(x)  # [N,nf',h/2,w/2]
        return self.fc1(self.fc0(x.flatten(1)))  # [N,score_outputs]


class DiscriminatorBlock(DiscriminatorLayers):
    """fromrgb, combine, or neither where D is not to see the image -> `DiscriminatorLayers`.

    Minibatch stddev is in every block.

    x [N,nf,h,w] (None at the top), image [N,channels,h,w] -> [N,nf',h/2,w/2], at level 0 -> [N,score_outputs].
    """

    def __init__(self, cfg: DiscriminatorConfig, spec: ImageSpec, level: int) -> None:
        super().__init__(cfg, spec, level)
        resolution = spec.resolutions[level]

        # The image comes in through fromrgb at the top, and through combine below.
        n_in = self.nf
        self.combine: Combine | None = None  # where D is to see the image of this block
        if resolution == spec.resolution:
            self.fromrgb = Conv2d(spec.channels, self.nf, 1, cfg.activation, use_wscale=cfg.use_wscale)
        elif cfg.resolutions is None or resolution in cfg.resolutions:
            self.combine = Combine(cfg.combine, self.nf, spec.channels, cfg.use_wscale, bias=False)
            n_in = self.combine.n_out
        self.add_layers(n_in, cfg.mbstd_num_features)

    def forward(self, x: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
        if x is None:
            x = self.fromrgb(image)  # [N,nf,h,w]
        elif self.combine is not None:
            x = self.combine(x, image)  # [N,nf or more,h,w]

        return self.run_layers(x)  # [N,nf',h/2,w/2], at level 0 [N,score_outputs]


class Discriminator(base.Discriminator):
    """pyramid, c [N,c_dim] -> scores [N,1] (MSG-GAN, section 3).

    `base.Discriminator.forward` evaluates the blocks from the largest down, and weighs scores by labels.
    """

    def __init__(self, cfg: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec)
        check_seen_resolutions(cfg.resolutions, spec)
        for level, r in reversed(list(enumerate(spec.resolutions))):
            self.add_module(f"b{r}", DiscriminatorBlock(cfg, spec, level))
