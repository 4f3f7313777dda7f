"""Options of the networks. Imports no torch, so that `train.py --help` answers at once."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from training.spec import check

Activation = Literal["lrelu", "relu"]
FusedScale = Literal["auto", "true", "false"]
Combine = Literal["cat_lin", "lin_cat", "simple"]


@dataclass(frozen=True, kw_only=True)
class _NetworkConfig:
    fmap_base: int = 8192
    """Feature maps: nf(stage) = min(fmap_base / 2^(stage * fmap_decay), fmap_max)."""
    fmap_decay: float = 1.0
    """log2 of the feature map reduction from one resolution to the next."""
    fmap_max: int = 512
    """Most feature maps in any layer."""
    activation: Activation = "lrelu"
    """Activation of all hidden layers; lrelu has slope 0.2 (TF: nonlinearity)."""
    use_wscale: bool = True
    """Equalised learning rate: weights ~ N(0,1), scaled at run time by gain / sqrt(fan_in)."""
    blur_filter: tuple[int, ...] = (1, 2, 1)
    """1-d low-pass filter applied after up- and before down-sampling; empty = none."""

    def __post_init__(self) -> None:
        for name in ("fmap_base", "fmap_max"):
            check(1 <= getattr(self, name) <= 2**20, f"{name}: found {getattr(self, name)}, expected 1 to 2^20")
        check(0 <= self.fmap_decay <= 10, f"fmap_decay: found {self.fmap_decay}, expected 0 to 10")
        check(
            not self.blur_filter or sum(self.blur_filter) != 0,
            f"blur_filter: found {self.blur_filter}, expected a filter whose sum is not 0",
        )

    def nf(self, stage: int) -> int:
        """Feature maps at `stage` (0 = the dense layers of the 4x4 block; resolution R uses log2(R) - 1)."""
        return max(1, min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max))


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(_NetworkConfig):
    """Generator of MSG-StyleGAN: mapping network + synthesis network with one image per block."""

    kind: ClassVar[str] = "msg_stylegan"

    z_dim: int = 512
    """Length of the latent z (TF: latent_size)."""
    w_dim: int = 512
    """Length of the mapped latent w (TF: dlatent_size)."""
    normalize_z: bool = True
    """Scale z (with its label embedding) to unit mean square before the mapping (TF: normalize_latents)."""
    mapping_layers: int = 8
    """Dense layers of the mapping network; 0 = w is the normalised z."""
    mapping_fmaps: int = 512
    """Units of the mapping's hidden layers."""
    mapping_lrmul: float = 0.01
    """Learning rate multiplier of the mapping network."""
    mapping_activation: Activation = "lrelu"
    """Activation of the mapping layers (TF: mapping_nonlinearity)."""
    fused_scale: FusedScale = "auto"
    """`true` rotates the kernels of up-sampling layers by 180 degrees against `false`, as the original's fused layers
    do; pretrained weights depend on it. `auto`: true where the output is >= 128 pixels. (In D the original's two forms
    are equal, so it has no such option.)"""
    use_styles: bool = True
    """Modulate every layer by w; without, w only enters at 4x4."""
    use_noise: bool = True
    """Add noise with a learned strength per feature map after every convolution."""
    use_const_input: bool = True
    """Start from a learned 4x4 constant; without, from a dense layer on w (TF: const_input_layer)."""
    use_pixel_norm: bool = False
    """Normalise each pixel's feature vector."""
    use_instance_norm: bool = True
    """Normalise each feature map of each sample (the normalising half of AdaIN)."""
    truncation_psi: float = 0.7
    """Default strength of truncation when sampling with generate.py; 1 = none. Training never truncates."""
    truncation_cutoff: int = 8
    """Number of layers that truncation applies to."""
    w_avg_beta: float = 0.995
    """Decay of the running mean of w per evaluation of G in training (TF: dlatent_avg_beta)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("z_dim", "w_dim", "mapping_fmaps"):
            check(1 <= getattr(self, name) <= 2**16, f"{name}: found {getattr(self, name)}, expected 1 to 2^16")
        check(0 <= self.mapping_layers <= 100, f"mapping_layers: found {self.mapping_layers}, expected 0 to 100")
        check(-10 <= self.truncation_psi <= 10, f"truncation_psi: found {self.truncation_psi}, expected -10 to 10")
        check(0 < self.mapping_lrmul <= 1e3, f"mapping_lrmul: found {self.mapping_lrmul}, expected > 0, <= 1000")
        check(0 <= self.w_avg_beta <= 1, f"w_avg_beta: found {self.w_avg_beta}, expected in [0, 1]")
        check(
            self.use_styles or not self.use_const_input,
            "use_const_input: expected false when use_styles is false (w would enter nowhere)",
        )

    def rotates_kernels(self, resolution: int) -> bool:
        """Is the up-sampling layer with this output resolution one of the original's fused layers?"""
        return self.fused_scale == "true" or (self.fused_scale == "auto" and resolution >= 128)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(_NetworkConfig):
    """Discriminator of MSG-StyleGAN: every block receives the image of its own resolution."""

    kind: ClassVar[str] = "msg_stylegan"

    mbstd_group_size: int = 4
    """Samples that share one minibatch standard deviation; the micro-batch must be smaller or a multiple of it."""
    mbstd_num_features: int = 1
    """Feature maps that minibatch stddev appends in each block; 0 = off."""
    combine: Combine = "cat_lin"
    """How a block merges features and image: cat_lin = 1x1 convolution over their concatenation (the original),
    lin_cat = concatenate the features with a 1x1 convolution of the image, simple = concatenate them."""
    levels: tuple[int, ...] | None = None
    """Resolutions below the full one whose images D sees, e.g. `4 8`: the ablation of the MSG-GAN paper. None = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.mbstd_group_size >= 1, f"mbstd_group_size: found {self.mbstd_group_size}, expected >= 1")
        check(self.mbstd_num_features >= 0, f"mbstd_num_features: found {self.mbstd_num_features}, expected >= 0")


@dataclass(frozen=True, kw_only=True)
class StyleGANGeneratorConfig(GeneratorConfig):
    """Generator of plain StyleGAN (NVIDIA 2019), for old networks: one image, blended from two scales in mid-growth."""

    kind: ClassVar[str] = "stylegan"


@dataclass(frozen=True, kw_only=True)
class StyleGANDiscriminatorConfig(_NetworkConfig):
    """Discriminator of plain StyleGAN (NVIDIA 2019), for old networks: sees the full-size image only."""

    kind: ClassVar[str] = "stylegan"

    mbstd_group_size: int = 4
    """Samples that share one minibatch standard deviation."""
    mbstd_num_features: int = 1
    """Feature maps that minibatch stddev appends in the 4x4 block; 0 = off."""


def progan_nf(features: int, resolution: int) -> int:
    """Feature maps of MSG-ProGAN at a resolution: `features` up to 32x32, then half as many each time."""
    return max(1, features >> max(0, resolution.bit_length() - 6))


@dataclass(frozen=True, kw_only=True)
class ProGANGeneratorConfig:
    """Generator of MSG-ProGAN (BMSG-GAN): up-sampling blocks with pixel norm, one image per block."""

    kind: ClassVar[str] = "msg_progan"
    w_avg_beta: ClassVar[float] = 1.0  # w is the normalised z, whose mean is 0 and stays so

    z_dim: int = 512
    """Length of the latent z, and feature maps up to 32x32; half as many at each larger resolution (BMSG-GAN:
    latent_size)."""
    normalize_z: bool = True
    """Scale z (with its label embedding) to unit mean square first; BMSG-GAN's trainer did it outside the network."""
    use_wscale: bool = True
    """Equalised learning rate; without, torch's own initial weights (BMSG-GAN: use_eql)."""
    truncation_psi: float = 1.0
    """Default strength of truncation when sampling with generate.py: w = psi * normalised z; 1 = none, as published."""
    truncation_cutoff: int = 1
    """Number of layers that truncation applies to; w enters at one only."""

    def __post_init__(self) -> None:
        check(1 <= self.z_dim <= 2**16, f"z_dim: found {self.z_dim}, expected 1 to 2^16")
        check(-10 <= self.truncation_psi <= 10, f"truncation_psi: found {self.truncation_psi}, expected -10 to 10")


@dataclass(frozen=True, kw_only=True)
class ProGANDiscriminatorConfig:
    """Discriminator of MSG-ProGAN (BMSG-GAN): every block receives the image of its own resolution."""

    kind: ClassVar[str] = "msg_progan"
    mbstd_num_features: ClassVar[int] = 1

    features: int = 512
    """Feature maps up to 32x32, halved at each larger resolution (BMSG-GAN: feature_size, equal to its latent_size)."""
    use_wscale: bool = True
    """Equalised learning rate; without, torch's own initial weights (BMSG-GAN: use_eql)."""
    mbstd_group_size: int | None = None
    """Samples that share one minibatch standard deviation, in the 4x4 block only; None = the whole micro-batch."""
    combine: Combine = "lin_cat"
    """How a block merges features and image: lin_cat = concatenate the features with a 1x1 convolution of the image
    (the original), cat_lin = 1x1 convolution over their concatenation, simple = concatenate them."""
    levels: tuple[int, ...] | None = None
    """Resolutions below the full one whose images D sees, e.g. `4 8`: the ablation of the MSG-GAN paper. None = all."""

    def __post_init__(self) -> None:
        check(1 <= self.features <= 2**16, f"features: found {self.features}, expected 1 to 2^16")
        check(
            self.mbstd_group_size is None or self.mbstd_group_size >= 1,
            f"mbstd_group_size: found {self.mbstd_group_size}, expected >= 1",
        )


AnyGeneratorConfig = GeneratorConfig | ProGANGeneratorConfig | StyleGANGeneratorConfig
AnyDiscriminatorConfig = DiscriminatorConfig | ProGANDiscriminatorConfig | StyleGANDiscriminatorConfig
