"""Options of the networks. Imports no torch, so that `train.py --help` answers at once.

Each architecture, named by `kind`, has one class of options for G and one for D. What the rest of the program asks of
them, whatever the architecture, is declared in `AnyGeneratorConfig` and `AnyDiscriminatorConfig`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from training.spec import check, check_range

Activation = Literal["lrelu", "relu"]
FusedScale = Literal["auto", "true", "false"]
Combine = Literal["cat_lin", "lin_cat", "simple"]
LabelHead = Literal["switch", "projection"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """Options of a network of any architecture."""

    kind: ClassVar[str]
    """The architecture, a key of `training.networks.architectures.ARCHITECTURES`."""

    use_wscale: bool = True
    """Equalised learning rate: weights ~ N(0,1), scaled at run time by gain / sqrt(fan_in)."""

    def __post_init__(self) -> None:  # noqa: B027 - there may be nothing to check
        """Raise ValueError for a value out of range; subclasses check their own options as well."""


@dataclass(frozen=True, kw_only=True)
class AnyGeneratorConfig(NetworkConfig):
    """Options that every generator has."""

    z_dim: int = 512
    """Length of the latent z (TF: latent_size)."""
    normalize_z: bool = True
    """Scale z (with its label embedding) to unit mean square before the mapping (TF: normalize_latents)."""
    truncation_psi: float = 1.0
    """Default truncation psi of generate.py: 1 = no truncation, 0 = the average image. Training never truncates."""
    truncation_cutoff: int = 1
    """Number of layers that truncation applies to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "z_dim", 1, 2**16, "1 to 2^16")
        check_range(self, "truncation_psi", -10, 10, "-10 to 10")

    @property
    @abstractmethod
    def w_avg_beta(self) -> float:
        """Decay of the running mean of w per step of an optimizer; 1 = the mean stays as it is."""

    @abstractmethod
    def matching_discriminator(self, preset: "AnyDiscriminatorConfig") -> "AnyDiscriminatorConfig":
        """Return options for a D that matches this G.

        Options that both have are copied; the others come from `preset` if that is of this kind, or else are defaults.
        """

    def as_trained(self) -> "AnyGeneratorConfig":
        """Return the options with which train.py goes on from such a network: these, unless it trains another kind."""
        return self


@dataclass(frozen=True, kw_only=True)
class AnyDiscriminatorConfig(NetworkConfig):
    """Options that every discriminator has."""

    mbstd_group_size: int | None = 4
    """Samples that share one minibatch standard deviation; None = the whole micro-batch."""
    label_head: LabelHead = "switch"
    """How D uses labels: switch = a score for each class, of which the label picks one (the original); projection = one
    more score is added, which all classes share (Miyato and Koyama 2018)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mbstd_group_size is not None:
            check_range(self, "mbstd_group_size", 1)

    @property
    @abstractmethod
    def uses_mbstd(self) -> bool:
        """Whether scores depend on a minibatch standard deviation, for which batches must divide into groups."""

    def as_trained(self) -> "AnyDiscriminatorConfig":
        """Return the options with which train.py goes on from such a network: these, unless it trains another kind."""
        return self


# The StyleGAN family.


@dataclass(frozen=True, kw_only=True)
class StyleNetworkConfig(NetworkConfig):
    """Options that G and D of the StyleGAN family share."""

    fmap_base: int = 8192
    """Base of the number of feature maps, nf(stage) = min(fmap_base / 2^(stage * fmap_decay), fmap_max)."""
    fmap_decay: float = 1.0
    """log2 of the feature map reduction from one resolution to the next."""
    fmap_max: int = 512
    """Largest number of feature maps in any layer."""
    activation: Activation = "lrelu"
    """Activation of all hidden layers; lrelu has slope 0.2 (TF: nonlinearity)."""
    blur_filter: tuple[int, ...] = (1, 2, 1)
    """1-d low-pass filter applied after up-sampling and before down-sampling; empty = none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "fmap_base fmap_max", 1, 2**20, "1 to 2^20")
        check_range(self, "fmap_decay", 0, 10, "0 to 10")
        check(
            not self.blur_filter or sum(self.blur_filter) != 0,
            f"blur_filter: found {self.blur_filter}, expected a filter whose sum is not 0",
        )

    def nf(self, stage: int) -> int:
        """Return the feature maps at `stage`: 0 = dense layers of the smallest block, level + 1 = a level's block."""
        return max(1, min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max))


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(StyleNetworkConfig, AnyGeneratorConfig):
    """Generator of MSG-StyleGAN: mapping network + synthesis network with one image per block."""

    kind: ClassVar[str] = "msg_stylegan"

    # Mapping network.
    w_dim: int = 512
    """Length of the mapped latent w (TF: dlatent_size)."""
    mapping_layers: int = 8
    """Number of dense layers of the mapping network; 0 = use the normalised z as w."""
    mapping_fmaps: int = 512
    """Units of the mapping's hidden layers."""
    mapping_lrmul: float = 0.01
    """Learning rate multiplier of the mapping network."""
    mapping_activation: Activation = "lrelu"
    """Activation of the mapping layers (TF: mapping_nonlinearity)."""

    # Synthesis network.
    fused_scale: FusedScale = "auto"
    """`true` rotates the kernels of up-sampling layers by 180 degrees, as the fused layers of the original do; `false`
    does not. Pretrained weights depend on this. `auto` = true where both edges of the output have 128 pixels or more. D
    has no such option, because the original's two forms are equal there."""
    use_styles: bool = True
    """Modulate every layer by w; otherwise w enters only at the smallest level."""
    use_noise: bool = True
    """Add noise with a learned strength per feature map in every layer, the input included."""
    use_const_input: bool = True
    """Start from a learned constant; otherwise from a dense layer applied to w (TF: const_input_layer)."""
    use_pixel_norm: bool = False
    """Normalise each pixel's feature vector."""
    use_instance_norm: bool = True
    """Normalise each feature map of each sample (the normalising half of AdaIN)."""

    # Truncation.
    truncation_psi: float = 0.7
    """Default truncation psi of generate.py: 1 = no truncation, 0 = the average image. Training never truncates."""
    truncation_cutoff: int = 8
    """Number of layers that truncation applies to."""
    w_avg_beta: float = 0.995
    """Decay of the running mean of w per step of an optimizer (TF: dlatent_avg_beta)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "w_dim mapping_fmaps", 1, 2**16, "1 to 2^16")
        check_range(self, "mapping_layers", 0, 100, "0 to 100")
        check(0 < self.mapping_lrmul <= 1e3, f"mapping_lrmul: found {self.mapping_lrmul}, expected > 0, <= 1000")
        check_range(self, "w_avg_beta", 0, 1, "in [0, 1]")

        # Latents must have a way in.
        check(
            self.use_styles or not self.use_const_input,
            "use_const_input: expected false when use_styles is false (w would enter nowhere)",
        )

    def rotates_kernels(self, height: int, width: int) -> bool:
        """Return whether the up-sampling layer with this output size is one of the original's fused layers."""
        return self.fused_scale == "true" or (self.fused_scale == "auto" and min(height, width) >= 128)

    def matching_discriminator(self, preset: AnyDiscriminatorConfig) -> AnyDiscriminatorConfig:
        base = preset if isinstance(preset, DiscriminatorConfig) else DiscriminatorConfig()

        # Feature maps, activation, blur and equalised learning rate are options of both.
        shared = {field.name: vars(self)[field.name] for field in fields(StyleNetworkConfig)}
        return replace(base, **shared)


@dataclass(frozen=True, kw_only=True)
class StyleDiscriminatorConfig(StyleNetworkConfig, AnyDiscriminatorConfig):
    """Options that the discriminators of the StyleGAN family share."""

    mbstd_num_features: int = 1
    """Number of feature maps that minibatch stddev appends, in every block of MSG-StyleGAN and in the smallest one of
    StyleGAN; 0 = off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "mbstd_num_features", 0)

    @property
    def uses_mbstd(self) -> bool:
        return self.mbstd_num_features > 0


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(StyleDiscriminatorConfig):
    """Discriminator of MSG-StyleGAN: every block receives the image of its own resolution."""

    kind: ClassVar[str] = "msg_stylegan"

    # How D receives the images of its blocks.
    combine: Combine = "cat_lin"
    """How a block merges features and image: cat_lin = 1x1 convolution over their concatenation (the original),
    lin_cat = concatenate the features with a 1x1 convolution of the image, simple = concatenate them."""
    resolutions: tuple[int, ...] | None = None
    """Heights of the levels below the full one whose images D sees, e.g. `4 8`, as in the ablation of the MSG-GAN
    paper; None = all."""


@dataclass(frozen=True, kw_only=True)
class StyleGANGeneratorConfig(GeneratorConfig):
    """Generator of plain StyleGAN (NVIDIA 2019), for old networks: one image, blended from two scales in mid-growth."""

    kind: ClassVar[str] = "stylegan"

    def as_trained(self) -> AnyGeneratorConfig:
        return GeneratorConfig(**vars(self))  # the layers are those of MSG-StyleGAN


@dataclass(frozen=True, kw_only=True)
class StyleGANDiscriminatorConfig(StyleDiscriminatorConfig):
    """Discriminator of plain StyleGAN (NVIDIA 2019), for old networks: sees the full-size image only."""

    kind: ClassVar[str] = "stylegan"

    def as_trained(self) -> AnyDiscriminatorConfig:
        return DiscriminatorConfig(**vars(self))


# MSG-ProGAN.


def progan_nf(features: int, level: int) -> int:
    """Return the feature maps of MSG-ProGAN at a level: `features` up to level 3 (32x32), then ever half as many."""
    return max(1, features >> max(0, level - 3))


@dataclass(frozen=True, kw_only=True)
class ProGANGeneratorConfig(AnyGeneratorConfig):
    """Generator of MSG-ProGAN (BMSG-GAN): up-sampling blocks with pixel norm, one image per block.

    z_dim is also the number of feature maps up to level 3 (32x32); each larger level has half as many. Without
    use_wscale the initial weights are torch's own (BMSG-GAN: use_eql). normalize_z does what BMSG-GAN's trainer did
    outside the network. Truncation is w = psi * normalised z, in the one layer that w enters at.
    """

    kind: ClassVar[str] = "msg_progan"

    @property
    def w_avg_beta(self) -> float:
        return 1.0  # w is the normalised z, whose mean is 0 and stays so

    def matching_discriminator(self, preset: AnyDiscriminatorConfig) -> AnyDiscriminatorConfig:
        base = preset if isinstance(preset, ProGANDiscriminatorConfig) else ProGANDiscriminatorConfig()

        # In the published networks, D has as many feature maps as z has values.
        return replace(base, features=self.z_dim, use_wscale=self.use_wscale)


@dataclass(frozen=True, kw_only=True)
class ProGANDiscriminatorConfig(AnyDiscriminatorConfig):
    """Discriminator of MSG-ProGAN (BMSG-GAN): every block receives the image of its own resolution.

    Minibatch stddev is in the smallest block only. Without use_wscale the initial weights are torch's own (BMSG-GAN:
    use_eql).
    """

    kind: ClassVar[str] = "msg_progan"

    features: int = 512
    """Feature maps up to level 3 (32x32), halved at each larger one (BMSG-GAN: feature_size, equal to its
    latent_size)."""
    mbstd_group_size: int | None = None
    """Samples that share one minibatch standard deviation; None = the whole micro-batch."""
    combine: Combine = "lin_cat"
    """How a block merges features and image: lin_cat = concatenate the features with a 1x1 convolution of the image
    (the original), cat_lin = 1x1 convolution over their concatenation, simple = concatenate them."""
    resolutions: tuple[int, ...] | None = None
    """Heights of the levels below the full one whose images D sees, e.g. `4 8`, as in the ablation of the MSG-GAN
    paper; None = all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "features", 1, 2**16, "1 to 2^16")

    @property
    def uses_mbstd(self) -> bool:
        return True


# MSG-R3GAN.


@dataclass(frozen=True, kw_only=True)
class R3GANNetworkConfig(NetworkConfig):
    """Options that G and D of MSG-R3GAN share."""

    use_wscale: bool = False
    """Equalised learning rate, which R3GAN does without."""
    fmap_base: int = 32768
    """Base of the number of feature maps of a level, nf(stage) = min(fmap_base / 2^stage, fmap_max), stage = level +
    1."""
    fmap_max: int = 512
    """Largest number of feature maps between residual blocks."""
    blocks_per_level: int = 2
    """Residual blocks at each size."""
    expansion: int = 2
    """How many times as many feature maps there are within a residual block."""
    group_size: int = 16
    """Feature maps in each group of the 3x3 convolutions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "fmap_base fmap_max", 1, 2**20, "1 to 2^20")
        check_range(self, "blocks_per_level", 1, 100, "1 to 100")
        check_range(self, "expansion", 1, 64, "1 to 64")
        check_range(self, "group_size", 1, 2**16, "1 to 2^16")

    def nf(self, stage: int) -> int:
        """Return the feature maps of level `stage` - 1."""
        return max(1, min(self.fmap_base // 2**stage, self.fmap_max))

    def group_size_of(self, channels: int) -> int:
        """Return the largest divisor of a number of feature maps that is at most group_size."""
        return max(size for size in range(1, self.group_size + 1) if channels % size == 0)


@dataclass(frozen=True, kw_only=True)
class R3GANGeneratorConfig(R3GANNetworkConfig, AnyGeneratorConfig):
    """Generator of MSG-R3GAN: residual blocks without normalisation, one image per level.

    Truncation is w = psi * z, in the one layer that w enters at.
    """

    kind: ClassVar[str] = "msg_r3gan"

    z_dim: int = 64
    """Length of the latent z."""
    normalize_z: bool = False
    """Scale z (with its label embedding) to unit mean square first."""

    @property
    def w_avg_beta(self) -> float:
        return 1.0  # w is z, whose mean is 0 and stays so

    def matching_discriminator(self, preset: AnyDiscriminatorConfig) -> AnyDiscriminatorConfig:
        base = preset if isinstance(preset, R3GANDiscriminatorConfig) else R3GANDiscriminatorConfig()
        shared = {field.name: vars(self)[field.name] for field in fields(R3GANNetworkConfig)}
        return replace(base, **shared)


@dataclass(frozen=True, kw_only=True)
class R3GANDiscriminatorConfig(R3GANNetworkConfig, AnyDiscriminatorConfig):
    """Discriminator of MSG-R3GAN: residual blocks, to whose features the image of each size is added."""

    kind: ClassVar[str] = "msg_r3gan"

    label_head: LabelHead = "projection"
    """How D uses labels: switch = a score for each class, of which the label picks one; projection = one more score is
    added, which all classes share (Miyato and Koyama 2018)."""
    resolutions: tuple[int, ...] | None = None
    """Heights of the levels below the full one whose images D sees, e.g. `4 8`; None = all."""

    @property
    def uses_mbstd(self) -> bool:
        return False


# Which options a run may have, and which ones a network file may hold.
TrainedGeneratorConfig = GeneratorConfig | ProGANGeneratorConfig | R3GANGeneratorConfig
TrainedDiscriminatorConfig = DiscriminatorConfig | ProGANDiscriminatorConfig | R3GANDiscriminatorConfig
StoredGeneratorConfig = TrainedGeneratorConfig | StyleGANGeneratorConfig
StoredDiscriminatorConfig = TrainedDiscriminatorConfig | StyleGANDiscriminatorConfig
