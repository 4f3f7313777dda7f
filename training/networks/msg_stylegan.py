"""MSG-StyleGAN (Karnewar and Wang, "MSG-GAN: Multi-Scale Gradients for GANs", CVPR 2020), section 3 and appendix.

The style-based generator of StyleGAN with an image at every block, and a discriminator that receives each of them.
Deviations from the original: convolutions and resampling are one operation (equal up to rounding), the gradient of the
blur is exact, style mixing works where the original ignored it, `combine` and `levels` of D are options.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from training.config import DiscriminatorConfig, GeneratorConfig, ImageSpec
from training.networks.layers import GAIN_RELU, Conv2d, ConvDown2d, ConvUp2d, Dense
from training.ops.epilogue import pixel_norm, synthesis_epilogue
from training.ops.minibatch_stddev import minibatch_stddev
from training.pyramid import Pyramid

NoiseMode = Literal["random", "const", "none"]
Noise = Sequence[torch.Tensor]


class MappingNetwork(nn.Module):
    """z [N,z_dim], c [N,c_dim] or None -> w [N,num_ws,w_dim] (StyleGAN, section 2). c None counts as zeros.

    The label embedding is concatenated to z before normalisation; every layer has an activation, the last too. w_avg
    [w_dim] is the running mean of w, moved by the training loop.
    """

    w_avg: torch.Tensor

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec, num_ws: int) -> None:
        super().__init__()
        self.cfg, self.c_dim, self.num_ws = cfg, spec.c_dim, num_ws
        if spec.c_dim:
            self.label_weight = nn.Parameter(torch.randn(spec.c_dim, cfg.z_dim))
        n_in = cfg.z_dim * (2 if spec.c_dim else 1)
        if cfg.mapping_layers == 0 and n_in != cfg.w_dim:
            raise ValueError(f"w_dim: found {cfg.w_dim}, expected {n_in} (z with labels) when mapping_layers is 0")
        for i in range(cfg.mapping_layers):
            n_out = cfg.w_dim if i == cfg.mapping_layers - 1 else cfg.mapping_fmaps
            layer = Dense(n_in, n_out, cfg.mapping_activation, use_wscale=cfg.use_wscale, lrmul=cfg.mapping_lrmul)
            self.add_module(f"fc{i}", layer)
            n_in = n_out
        self.register_buffer("w_avg", torch.zeros(cfg.w_dim))

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        x = z.to(self.w_avg.dtype)  # [N,z_dim]
        if self.c_dim:
            c = x.new_zeros(x.shape[0], self.c_dim) if c is None else c.to(x.dtype)
            with torch.autocast(x.device.type, enabled=False):
                x = torch.cat([x, c @ self.label_weight], 1)  # [N,2*z_dim]
        if self.cfg.normalize_z:
            x = pixel_norm(x)
        for i in range(self.cfg.mapping_layers):
            x = self.get_submodule(f"fc{i}")(x)  # [N,mapping_fmaps], at last [N,w_dim]
        return x[:, None].expand(-1, self.num_ws, -1)  # [N,num_ws,w_dim]

    def truncate(self, w: torch.Tensor, psi: float, cutoff: int | None) -> torch.Tensor:
        """Pull the first `cutoff` layers (None = all) of w [N,num_ws,w_dim] towards w_avg: psi 1 = not, 0 = onto it."""
        layer = torch.arange(self.num_ws, device=w.device)[:, None]  # [num_ws,1]
        psis = torch.where(layer < (self.num_ws if cutoff is None else cutoff), psi, 1.0).to(w.dtype)
        return self.w_avg + (w - self.w_avg) * psis  # [N,num_ws,w_dim]


class SynthesisLayer(nn.Module):
    """Input or convolution, then noise -> bias -> activation -> normalisation -> style: x, w -> [N,out,H,W].

    `source` gives the raw features: a constant, a dense layer on w, a convolution, or an up-sampling convolution.
    """

    noise_const: torch.Tensor

    def __init__(self, cfg: GeneratorConfig, source: nn.Module, channels: int, resolution: int) -> None:
        super().__init__()
        self.cfg, self.source = cfg, source
        self.bias = nn.Parameter(torch.zeros(channels))
        if cfg.use_noise:
            self.noise_strength = nn.Parameter(torch.zeros(channels))
            self.register_buffer("noise_const", torch.randn(1, 1, resolution, resolution))
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
    """The learned constant: w [N,w_dim] -> [N,C,4,4]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, channels, 4, 4))

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x = self.const.to(compute_dtype(self.const)).expand(w.shape[0], -1, -1, -1)  # [N,C,4,4]
        return x.contiguous(memory_format=torch.channels_last)


class DenseInput(nn.Module):
    """The traditional input layer: w [N,w_dim] -> [N,C,4,4]; gain sqrt(2)/4 as in ProGAN, bias left to the epilogue."""

    def __init__(self, w_dim: int, channels: int, use_wscale: bool) -> None:
        super().__init__()
        self.fc = Dense(w_dim, channels * 16, gain=GAIN_RELU / 4, use_wscale=use_wscale, bias=False)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        x = self.fc(w).unflatten(1, (-1, 4, 4)).to(compute_dtype(w))  # [N,C,4,4]
        return x.contiguous(memory_format=torch.channels_last)


class SynthesisBlock(nn.Module):
    """The two layers of one resolution: x, w, noise -> features [N,nf,R,R]."""

    def __init__(self, cfg: GeneratorConfig, resolution: int) -> None:
        super().__init__()
        stage = resolution.bit_length() - 2
        n_out = cfg.nf(stage)
        source: nn.Module
        if resolution > 4:
            source = ConvUp2d(
                cfg.nf(stage - 1), n_out, cfg.rotates_kernels(resolution), cfg.blur_filter, cfg.use_wscale
            )
        elif cfg.use_const_input:
            source = ConstInput(n_out)
        else:
            source = DenseInput(cfg.w_dim, n_out, cfg.use_wscale)
        self.layer0 = SynthesisLayer(cfg, source, n_out, resolution)
        conv = Conv2d(n_out, n_out, 3, bias=False, use_wscale=cfg.use_wscale)
        self.layer1 = SynthesisLayer(cfg, conv, n_out, resolution)

    def forward(self, x: torch.Tensor, w: Sequence[torch.Tensor], noise: Sequence[torch.Tensor | None]) -> torch.Tensor:
        return self.layer1(self.layer0(x, w[0], noise[0]), w[1], noise[1])  # [N,nf,R,R]


class SynthesisNetwork(nn.Module):
    """w [N,num_ws,w_dim] -> pyramid of images, one from each block (MSG-GAN, section 3)."""

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg, self.resolutions = cfg, spec.resolutions
        self.num_ws = 2 * len(spec.resolutions) if cfg.use_styles else 1
        for r in spec.resolutions:
            self.add_module(f"b{r}", SynthesisBlock(cfg, r))
            n_in = cfg.nf(r.bit_length() - 2)
            self.add_module(f"torgb{r}", Conv2d(n_in, spec.channels, 1, gain=1.0, use_wscale=cfg.use_wscale))

    def layers(self) -> list[SynthesisLayer]:
        """All layers, 4x4 first, two a resolution."""
        return [m for m in self.modules() if isinstance(m, SynthesisLayer)]

    def noise_shapes(self, n: int) -> list[tuple[int, int, int, int]]:
        """Shapes [n,1,h,w] of the noise of each layer; empty without noise."""
        return [(n, 1, r, r) for r in self.resolutions for _ in (0, 1)] if self.cfg.use_noise else []

    def forward(self, w: torch.Tensor, noise_mode: NoiseMode = "random", noise: Noise | None = None) -> Pyramid:
        """`noise`, one tensor [N or 1,1,h,w] a layer, overrides `noise_mode`: fresh (random), stored (const), none."""
        sources: list[torch.Tensor | None] = [None] * (2 * len(self.resolutions))
        if self.cfg.use_noise and noise is not None:
            sources = list(noise)
        elif self.cfg.use_noise and noise_mode == "random":
            sources = [torch.randn(s, device=w.device, dtype=w.dtype) for s in self.noise_shapes(w.shape[0])]
        elif self.cfg.use_noise and noise_mode == "const":
            sources = [layer.noise_const for layer in self.layers()]
        ws = w.unbind(1) if self.cfg.use_styles else [w[:, 0]] * (2 * len(self.resolutions))  # [N,w_dim] each
        x = ws[0]
        images = []
        for i, r in enumerate(self.resolutions):
            x = self.get_submodule(f"b{r}")(x, ws[2 * i : 2 * i + 2], sources[2 * i : 2 * i + 2])  # [N,nf,r,r]
            images.append(self.get_submodule(f"torgb{r}")(x).to(w.dtype))  # [N,channels,r,r]
        return tuple(images)


class Generator(nn.Module):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid [N,channels,4,4] ... [N,channels,R,R], float, about [-1,1]."""

    def __init__(self, cfg: GeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg, self.spec = cfg, spec
        self.synthesis = SynthesisNetwork(cfg, spec)
        self.mapping = MappingNetwork(cfg, spec, self.synthesis.num_ws)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = 8,
        noise_mode: NoiseMode = "random",
        noise: Noise | None = None,
    ) -> Pyramid:
        """Not truncated unless asked: psi None or 1 is the distribution that was trained and that metrics measure.
        truncation_cutoff: number of layers that are truncated, None = all."""
        w = self.mapping(z, c)
        if truncation_psi is not None and truncation_psi != 1:
            w = self.mapping.truncate(w, truncation_psi, truncation_cutoff)
        return self.synthesis(w, noise_mode, noise)


class Combine(nn.Module):
    """Merge features [N,nf,r,r] and the image [N,channels,r,r] of a block (MSG-GAN, section 3): the paper's phi."""

    def __init__(self, kind: str, nf: int, channels: int, use_wscale: bool) -> None:
        super().__init__()
        self.kind = kind
        if kind == "cat_lin":
            self.conv = Conv2d(nf + channels, nf, 1, bias=False, use_wscale=use_wscale)
        elif kind == "lin_cat":
            self.conv = Conv2d(channels, nf, 1, bias=False, use_wscale=use_wscale)
        self.n_out = {"cat_lin": nf, "lin_cat": 2 * nf, "simple": nf + channels}[kind]

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        image = image.to(x.dtype)
        if self.kind == "lin_cat":
            return torch.cat([x, self.conv(image)], 1)  # [N,2*nf,r,r]
        x = torch.cat([x, image], 1)  # [N,nf+channels,r,r]
        return self.conv(x) if self.kind == "cat_lin" else x


class DiscriminatorBlock(nn.Module):
    """fromrgb or combine -> minibatch stddev -> two convolutions (4x4: one and two dense layers).

    x [N,nf,r,r] (None at the full resolution), image [N,channels,r,r] -> [N,nf',r/2,r/2], at 4x4 -> [N,max(c_dim,1)].
    """

    def __init__(self, cfg: DiscriminatorConfig, spec: ImageSpec, resolution: int) -> None:
        super().__init__()
        self.cfg, self.resolution = cfg, resolution
        stage = resolution.bit_length() - 2
        nf, act, wscale = cfg.nf(stage), cfg.activation, cfg.use_wscale
        n_in = nf
        if resolution == spec.resolution:
            self.fromrgb = Conv2d(spec.channels, nf, 1, act, use_wscale=wscale)
        elif cfg.levels is None or resolution in cfg.levels:
            self.combine = Combine(cfg.combine, nf, spec.channels, wscale)
            n_in = self.combine.n_out
        self.mbstd_features = cfg.mbstd_num_features
        if self.mbstd_features and n_in % self.mbstd_features:
            raise ValueError(
                f"D.mbstd_num_features: found {self.mbstd_features}, expected a divisor of the {n_in} feature maps at "
                f"{resolution}x{resolution}"
            )
        self.conv0 = Conv2d(n_in + self.mbstd_features, nf, 3, act, use_wscale=wscale)
        if resolution > 4:
            self.conv1 = ConvDown2d(nf, cfg.nf(stage - 1), act, cfg.blur_filter, wscale)
        else:
            self.fc0 = Dense(nf * 16, cfg.nf(0), act, use_wscale=wscale)
            self.fc1 = Dense(cfg.nf(0), max(spec.c_dim, 1), gain=1.0, use_wscale=wscale)

    def forward(self, x: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
        if x is None:
            x = self.fromrgb(image)  # [N,nf,r,r]
        elif hasattr(self, "combine"):
            x = self.combine(x, image)
        stddev = None
        if self.mbstd_features:
            stddev = minibatch_stddev(x, self.cfg.mbstd_group_size, self.mbstd_features)  # [N,features]
        x = self.conv0(x, stddev)  # [N,nf,r,r]
        if self.resolution > 4:
            return self.conv1(x)  # [N,nf',r/2,r/2]
        return self.fc1(self.fc0(x.flatten(1)))  # [N,max(c_dim,1)]


class Discriminator(nn.Module):
    """pyramid, c [N,c_dim] -> scores [N,1] (MSG-GAN, section 3). With labels, scores are weighted by c and summed, so c
    None (zeros) would give 0 and is an error."""

    def __init__(self, cfg: DiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg, self.spec = cfg, spec
        lower = spec.resolutions[:-1]
        unknown = set(cfg.levels or ()) - set(lower)
        if unknown:
            raise ValueError(f"D.levels: found {sorted(unknown)}, expected some of {lower}")
        for r in reversed(spec.resolutions):
            self.add_module(f"b{r}", DiscriminatorBlock(cfg, spec, r))

    def forward(self, pyramid: Sequence[torch.Tensor], c: torch.Tensor | None = None) -> torch.Tensor:
        if len(pyramid) != len(self.spec.resolutions):
            raise ValueError(f"D: found {len(pyramid)} images, expected one of each of {self.spec.resolutions}")
        x: torch.Tensor | None = None
        for r, image in zip(reversed(self.spec.resolutions), reversed(pyramid), strict=True):
            image = image.contiguous(memory_format=torch.channels_last)
            x = self.get_submodule(f"b{r}")(x, image)
        assert x is not None
        if self.spec.c_dim:
            if c is None:
                raise ValueError(f"D: found no labels, expected [N,{self.spec.c_dim}]")
            x = (x * c.to(x.dtype)).sum(1, keepdim=True)
        return x  # [N,1]


def compute_dtype(like: torch.Tensor) -> torch.dtype:
    """The dtype of convolutions here: autocast's if it is on, else that of `like`."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype
