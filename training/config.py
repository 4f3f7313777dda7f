"""Typed options of everything in `training/`. Imports no torch, so that `train.py --help` answers at once."""

import json
from dataclasses import asdict, dataclass, field, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Activation = Literal["lrelu", "relu"]
FusedScale = Literal["auto", "true", "false"]
Combine = Literal["cat_lin", "lin_cat", "simple"]
Precision = Literal["auto", "fp32", "bf16"]


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def is_power_of_two(n: int) -> bool:
    return n > 0 and n & (n - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What one image of a dataset is; G and D are built for it."""

    resolution: int
    """Height and width of the largest level in pixels, a power of two >= 8."""
    channels: int = 3
    """Colour channels."""
    c_dim: int = 0
    """Length of the label vector, 0 = unconditional (TF: label_size)."""

    def __post_init__(self) -> None:
        _check(
            is_power_of_two(self.resolution) and self.resolution >= 8,
            f"resolution: found {self.resolution}, expected a power of two >= 8",
        )
        _check(self.channels >= 1, f"channels: found {self.channels}, expected >= 1")
        _check(self.c_dim >= 0, f"c_dim: found {self.c_dim}, expected >= 0")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """(4, 8, ..., resolution): the level sizes of a pyramid, smallest first."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))


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
            _check(1 <= getattr(self, name) <= 2**20, f"{name}: found {getattr(self, name)}, expected 1 to 2^20")
        _check(0 <= self.fmap_decay <= 10, f"fmap_decay: found {self.fmap_decay}, expected 0 to 10")
        _check(
            not self.blur_filter or sum(self.blur_filter) != 0,
            f"blur_filter: found {self.blur_filter}, expected a filter whose sum is not 0",
        )

    def nf(self, stage: int) -> int:
        """Feature maps at `stage` (0 = the dense layers of the 4x4 block; resolution R uses log2(R) - 1)."""
        return max(1, min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max))


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(_NetworkConfig):
    """Generator of MSG-StyleGAN: mapping network + synthesis network with one image per block."""

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
            _check(1 <= getattr(self, name) <= 2**16, f"{name}: found {getattr(self, name)}, expected 1 to 2^16")
        _check(0 <= self.mapping_layers <= 100, f"mapping_layers: found {self.mapping_layers}, expected 0 to 100")
        _check(-10 <= self.truncation_psi <= 10, f"truncation_psi: found {self.truncation_psi}, expected -10 to 10")
        _check(0 < self.mapping_lrmul <= 1e3, f"mapping_lrmul: found {self.mapping_lrmul}, expected > 0, <= 1000")
        _check(0 <= self.w_avg_beta <= 1, f"w_avg_beta: found {self.w_avg_beta}, expected in [0, 1]")
        _check(
            self.use_styles or not self.use_const_input,
            "use_const_input: expected false when use_styles is false (w would enter nowhere)",
        )

    def rotates_kernels(self, resolution: int) -> bool:
        """Is the up-sampling layer with this output resolution one of the original's fused layers?"""
        return self.fused_scale == "true" or (self.fused_scale == "auto" and resolution >= 128)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(_NetworkConfig):
    """Discriminator of MSG-StyleGAN: every block receives the image of its own resolution."""

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
        _check(self.mbstd_group_size >= 1, f"mbstd_group_size: found {self.mbstd_group_size}, expected >= 1")
        _check(self.mbstd_num_features >= 0, f"mbstd_num_features: found {self.mbstd_num_features}, expected >= 0")


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Optimizer of one network."""

    lr: float = 0.003
    """Learning rate."""
    beta1: float = 0.0
    """Decay of the first moment."""
    beta2: float = 0.99
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    form: Literal["tf", "torch"] = "tf"
    """Where eps is added: before (tf, as the published MSG-StyleGAN) or after (torch) bias correction of the second
    moment. They differ only where gradients are tiny, in the first steps."""

    def __post_init__(self) -> None:
        _check(0 <= self.lr <= 1e3, f"lr: found {self.lr}, expected 0 to 1000")
        _check(0 < self.eps <= 1, f"eps: found {self.eps}, expected > 0, <= 1")
        _check(0 <= self.beta1 < 1 and 0 <= self.beta2 < 1, "beta1, beta2: expected in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What D and G minimise."""

    name: Literal["logistic"] = "logistic"
    """logistic = non-saturating logistic loss, a row of `training.losses.LOSSES`."""
    r1_gamma: float = 10.0
    """Weight of R1, the gradient penalty on reals, averaged over levels."""
    r2_gamma: float = 0.0
    """Weight of R2, the same on fakes."""
    reg_interval: int = 1
    """Apply R1/R2 every so many D steps with as many times the weight; 1 = every step, as the original."""
    style_mixing_prob: float = 0.0
    """Share of micro-batches whose layers from a random one on use a second latent (StyleGAN: 0.9; the original
    MSG-StyleGAN ignored it)."""

    def __post_init__(self) -> None:
        for name in ("r1_gamma", "r2_gamma"):
            _check(0 <= getattr(self, name) <= 1e6, f"{name}: found {getattr(self, name)}, expected 0 to 10^6")
        _check(self.reg_interval >= 1, f"reg_interval: found {self.reg_interval}, expected >= 1")
        _check(0 <= self.style_mixing_prob <= 1, "style_mixing_prob: expected in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    # Data.
    data: str
    """Dataset folder made by dataset_tool.py (holds NAME-r02.tfrecords ...)."""
    resolution: int | None = None
    """Train on this level of the dataset, pixels; None = its largest."""
    use_labels: bool = True
    """Condition on the dataset's labels, if it has any (TF: max_label_size)."""
    mirror: bool = False
    """Flip each real image left-right with probability 1/2 (TF: mirror_augment)."""

    # Where.
    preset: str = "robohash"
    """Name of the preset that the options came from; changes nothing."""
    result_dir: str = "results"
    """Folder that receives run dirs."""
    resume: str = "none"
    """auto = continue the newest unfinished run of the same description in result_dir, or start one; PATH = continue
    from this run dir or checkpoint file; none = start a new run."""
    dry_run: bool = False
    """Print the resolved options, parameter tables, memory and time forecast; train nothing."""

    # Hardware.
    gpus: int = 1
    """Processes, one per GPU (or plain processes on a CPU)."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto = cuda if there is one."""
    precision: Precision = "auto"
    """Convolutions in bf16 (autocast, weights stay fp32) or fp32; auto = what this hardware does fast."""
    compile: bool = False
    """Compile the D and G steps with torch.compile: faster after a minute or two; needs a C++ compiler on a CPU."""

    # Length and rhythm.
    total_kimg: float = 25000.0
    """Length of the run in thousands of real images shown to D."""
    tick_kimg: float = 4.0
    """Reporting interval in thousands of images."""
    image_snapshot_ticks: int = 10
    """Ticks between image sheets; 0 = only first and last."""
    network_snapshot_ticks: int = 10
    """Ticks between network snapshots with their checkpoints; 0 = only at the end."""
    keep_last: int = 2
    """Checkpoints kept besides every keep_every-th; 0 = all."""
    keep_every: int = 0
    """Keep every so-many-th checkpoint for good; 0 = none."""
    seed: int = 0
    """Everything random follows from it."""

    # Optimisation.
    batch: int = 16
    """Images per step over all processes (TF: minibatch_size)."""
    micro_batch: int | None = None
    """Images per forward pass on one process; gradients add up over batch / (gpus * micro_batch) of them.
    None = batch / gpus."""
    d_repeats: int = 1
    """D steps per G step."""
    minibatch_repeats: int = 4
    """Iterations between looks at the schedule: learning rate, end of tick."""
    lr_warmup_kimg: float = 0.0
    """Learning rates rise linearly from 0 over this many thousand images (TF: lrate_rampup_kimg)."""
    ema_kimg: float = 10.0
    """Half-life of the moving average of G in thousands of images (TF: G_smoothing_kimg); 0 = G_ema is G."""
    ema_rampup: float | None = None
    """Until the half-life is reached, use at most this share of the images seen so far as half-life, so that short runs
    forget their start; None = off."""

    # Components.
    G: GeneratorConfig = field(default_factory=GeneratorConfig)
    """Generator."""
    D: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Discriminator."""
    G_opt: AdamConfig = field(default_factory=AdamConfig)
    """Optimizer of G."""
    D_opt: AdamConfig = field(default_factory=AdamConfig)
    """Optimizer of D."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Loss and regularisation."""

    def __post_init__(self) -> None:
        _check(
            self.resolution is None or (is_power_of_two(self.resolution) and self.resolution >= 8),
            f"resolution: found {self.resolution}, expected a power of two >= 8",
        )
        for name in ("gpus", "batch", "d_repeats", "minibatch_repeats"):
            _check(getattr(self, name) >= 1, f"{name}: found {getattr(self, name)}, expected >= 1")
        for name in ("image_snapshot_ticks", "network_snapshot_ticks", "keep_last", "keep_every", "seed"):
            _check(getattr(self, name) >= 0, f"{name}: found {getattr(self, name)}, expected >= 0")
        for name in ("tick_kimg", "total_kimg"):
            _check(0.001 <= getattr(self, name) <= 1e9, f"{name}: found {getattr(self, name)}, expected 0.001 to 10^9")
        for name in ("lr_warmup_kimg", "ema_kimg"):
            _check(0 <= getattr(self, name) <= 1e9, f"{name}: found {getattr(self, name)}, expected 0 to 10^9")
        _check(
            self.ema_rampup is None or 0 < self.ema_rampup <= 1e3,
            f"ema_rampup: found {self.ema_rampup}, expected > 0, <= 1000",
        )
        _check(self.seed < 2**63, f"seed: found {self.seed}, expected below 2^63")
        _check(self.batch % self.gpus == 0, f"batch {self.batch}: expected a multiple of gpus {self.gpus}")
        per_rank = self.batch // self.gpus
        _check(
            self.micro_batch is None or (self.micro_batch >= 1 and per_rank % self.micro_batch == 0),
            f"micro_batch: found {self.micro_batch}, expected a divisor of batch / gpus = {per_rank}",
        )
        group = self.D.mbstd_group_size
        _check(
            self.D.mbstd_num_features == 0 or self.images_per_pass <= group or self.images_per_pass % group == 0,
            f"{self.images_per_pass} images per forward pass (batch / gpus, or micro_batch): expected <= "
            f"D.mbstd_group_size {group} or a multiple of it",
        )

    @property
    def images_per_pass(self) -> int:
        """Images in one forward pass on one process."""
        return self.micro_batch or self.batch // self.gpus

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step on one process."""
        return self.batch // self.gpus // self.images_per_pass


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return json.loads(json.dumps(asdict(config)))


def from_dict(cls: type[T], values: dict[str, Any], where: str) -> T:
    """The reverse of `as_dict`; ValueError that names `where` for unknown keys, wrong types and values."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: found {values!r}, expected an object")
    hints = get_type_hints(cls)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{where}: unknown option {', '.join(sorted(unknown))}")
    out = {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            out[name] = from_dict(hints[name], value, f"{where}: {name}")  # type: ignore[arg-type]
        else:
            out[name] = _convert(value, hints[name], f"{where}: {name}")
    try:
        return cls(**out)
    except (ValueError, TypeError) as e:
        raise ValueError(f"{where}: {e}") from e


def _convert(value: Any, hint: Any, where: str) -> Any:
    """A JSON value as the type of a field."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        origin = get_origin(option)
        if origin is Literal and value in get_args(option):
            return value
        if origin is tuple and isinstance(value, list) and all(type(v) is get_args(option)[0] for v in value):
            return tuple(value)
        if option is NoneType and value is None:
            return value
        if option is float and type(value) in (int, float):
            return float(value)
        if option in (int, bool, str) and type(value) is option:
            return value
    raise ValueError(f"{where}: found {value!r}, expected {str(hint).replace('typing.', '')}")


def architecture(cfg: TrainConfig, spec: ImageSpec) -> dict[str, Any]:
    """What determines the shapes and meaning of the weights, as flat plain values."""
    nested = {"G": as_dict(cfg.G), "D": as_dict(cfg.D), "images": as_dict(spec)}
    flat = {f"{part}.{name}": value for part, d in nested.items() for name, value in d.items()}
    for name in ("G.truncation_psi", "G.truncation_cutoff", "G.w_avg_beta", "D.mbstd_group_size"):
        del flat[name]  # these may change along the way
    return flat
