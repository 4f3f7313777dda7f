"""Typed options of a training run. Imports no torch, so that `train.py --help` answers at once."""

import json
from dataclasses import dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    NetworkConfig,
    TrainedDiscriminatorConfig,
    TrainedGeneratorConfig,
)
from training.spec import LARGEST_EDGE, SMALLEST_EDGE, ImageSpec, check, check_range
from training.step_config import AdamConfig, AugmentConfig, LossConfig

Precision = Literal["auto", "fp32", "bf16", "fp16"]

# What the config.json of an older run may still have: options without effect, and options under their former names.
RETIRED = {"minibatch_repeats"}
RENAMED = {"levels": "resolutions"}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    # Data.
    data: str
    """Dataset: a folder of TFRecords made by dataset_tool.py, or a folder or zip of images (PNG or another format,
    labels in dataset.json). Images of several sizes are cropped to squares and scaled to `resolution` first."""
    stream: bool = False
    """Read the images of a dataset in an object store when they are needed, rather than copy it to this machine first.
    It must be one of TFRecords. Their order is random, but not that of training on the copy."""
    resolution: int | None = None
    """Train on the images of this height in pixels, a resolution of the dataset; None = its largest one."""
    use_labels: bool = True
    """Condition on the dataset's labels, if it has any (TF: max_label_size)."""
    balance_classes: bool = False
    """Show as many images of each class as of any other, however many the dataset has of them."""
    mirror: bool = False
    """Flip each real image left-right with probability 1/2 (TF: mirror_augment)."""

    # Where.
    preset: str = "robohash"
    """The preset that the options come from, which the first word of the command line may name as well."""
    result_dir: str = "results"
    """Folder that receives run dirs."""
    resume: str = "none"
    """auto = continue the newest unfinished run of the same description in result_dir, or start one; PATH = continue
    from this run dir or checkpoint file; none = start a new run."""
    init: tuple[str, ...] = ()
    """Network file(s) of any kind, or a run dir, that a new run starts from, e.g. `old.pkl`, `results/00007-...` or
    `GAN_GEN_5.pth GAN_DIS_5.pth`. Weights that match by name and shape are copied. The networks are built as in those
    files, except where --G. and --D. options say otherwise. Ignored when a run is resumed."""
    init_kimg: float | Literal["auto"] = 0.0
    """With --init, the thousands of images that the run counts on from, in schedules and file names; auto = what the
    files tell, as snapshots and the pickles of msg-stylegan-tf do (TF: resume_kimg)."""
    save_code: bool = False
    """Keep the code that trains in the run dir, as code.zip."""
    dry_run: bool = False
    """Print the resolved options, parameter tables, memory and time forecast; train nothing."""

    # Hardware.
    gpus: int = 1
    """Number of processes, one per GPU (or plain processes on a CPU)."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto = CUDA if a GPU is available."""
    precision: Precision = "auto"
    """Convolutions in bf16 or fp16 (autocast, weights stay fp32) or fp32; fp16 scales losses so that gradients do not
    vanish. auto = bf16 on GPUs since the A100's generation, fp16 on those of the V100's and T4's, and on CPUs with bf16
    instructions bf16 unless the networks are small."""
    deterministic: bool = True
    """Repeat runs bit for bit, also after an interruption. Off = let cuDNN try which of its kernels are the fastest,
    also those that add in an order that changes, and let the number of threads on a CPU follow what other programs
    leave free: two runs then differ, as does one that was resumed."""
    compile: bool = False
    """Compile the D and G steps with torch.compile: faster after a minute or two; needs a C++ compiler on a CPU."""

    # When something goes wrong.
    on_divergence: Literal["rollback", "stop", "ignore"] = "rollback"
    """What to do when training diverges, that is, when half of a tick's gradients are not finite or a loss exceeds
    10^6: rollback = go back to the last checkpoint, and on with half the learning rates and other random inputs; stop =
    end with an error; ignore = warn."""
    max_rollbacks: int = 3
    """Times that a run may go back to a checkpoint before it ends with an error."""
    hang_timeout: float = 1800.0
    """Seconds without progress after which a process that hangs ends the run, saying where; 0 = wait forever. The
    first step of a compiled run counts as well."""

    # Length and rhythm.
    total_kimg: float = 25000.0
    """Length of the run in thousands of real images shown to D."""
    tick_kimg: float = 4.0
    """Reporting interval in thousands of images."""
    image_snapshot_ticks: int = 10
    """Ticks between image sheets; 0 = only first and last."""
    sheet_size: str = "auto"
    """Images on a sheet: auto = as many as fill a screen, at most 16x9; 1080p or 4k = the original's numbers, at most
    32x32; or COLUMNSxROWS, such as the 6x6 of BMSG-GAN."""
    sheet_layout: Literal["random", "row_per_class", "col_per_class", "class4x4"] = "random"
    """Which images are on a sheet: random ones; or one class in each row, in each column, or in each square of 4x4."""
    sheet_channels: tuple[int, ...] = ()
    """Channels, counted from 0, that sheets show as gray (one number) or red, green and blue (three). Default: all; of
    more than four the first three."""
    trackers: str = ""
    """Where the figures of each tick go besides stats.jsonl and TensorBoard, separated by commas: wandb and trackio
    (both need `pip install` of these names), prometheus (metrics.prom in the run dir, for node_exporter)."""
    heartbeat: bool = False
    """Keep a file heartbeat.json in the run dir that says, renewed every five seconds, what each process is doing."""
    weight_histograms: bool = False
    """Add histograms of all weights to TensorBoard (and wandb) at every tick (TF: save_weight_histograms)."""
    gradient_norms: bool = False
    """Report the norms of the gradients of G and D, means over the steps of a tick."""
    network_snapshot_ticks: int = 10
    """Ticks between network snapshots with their checkpoints; 0 = only at the end."""
    metrics: str = ""
    """Metrics of network snapshots, separated by commas, e.g. fid50k,swd (docs/metrics.md)."""
    metric_every: int = 1
    """Score every N-th network snapshot with `metrics`; the last one is always scored."""
    keep_last: int = 2
    """Number of newest checkpoints to keep, besides those that keep_every keeps; 0 = all."""
    keep_every: int = 0
    """Keep every N-th checkpoint permanently; 0 = none."""
    seed: int = 0
    """Seed that determines everything random."""

    # Optimisation.
    batch: int = 16
    """Images per step over all processes (TF: minibatch_size)."""
    micro_batch: int | Literal["auto"] | None = None
    """Most images per forward pass on one process. If its share of the batch, batch / gpus, is larger, gradients are
    accumulated over several passes. None = no limit; auto = as many as fit into memory, by the forecast."""
    d_repeats: int = 1
    """D steps per G step."""
    lr_warmup_kimg: float = 0.0
    """Learning rates rise linearly from 0 over this many thousand images (TF: lrate_rampup_kimg)."""
    lr_decay_kimg: float = 0.0
    """Learning rates fall linearly to 0 over the last this many thousand images, or over the whole of a shorter run."""
    ema_kimg: float = 10.0
    """Half-life of the moving average of G in thousands of images (TF: G_smoothing_kimg); 0 = no averaging."""
    ema_decay: float | None = None
    """Decay of the moving average per D step, in place of the half-life (BMSG-GAN: 0.999)."""
    ema_rampup: float | None = None
    """Limit the half-life to this share of the images seen so far, so that short runs forget their start; None = no
    limit."""

    # What is trained, of networks that were trained before.
    freeze_d: int = 0
    """Number of D's levels, from the largest on, that stay as they are (FreezeD: Mo et al. 2020); for use with
    --init."""
    mapping_only: bool = False
    """Train of G the mapping network alone, so that what it can draw stays as it is; for use with --init."""

    # Components.
    G: TrainedGeneratorConfig = field(default_factory=GeneratorConfig)
    """Generator; the preset decides which of the two systems it is of."""
    D: TrainedDiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Discriminator."""
    G_opt: AdamConfig = field(default_factory=AdamConfig)
    """Optimizer of G."""
    D_opt: AdamConfig = field(default_factory=AdamConfig)
    """Optimizer of D."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Loss and regularisation."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation, for small datasets."""

    def __post_init__(self) -> None:
        # Ranges of single options.
        check(
            self.resolution is None or 2 * SMALLEST_EDGE <= self.resolution <= LARGEST_EDGE,
            f"resolution: found {self.resolution}, expected {2 * SMALLEST_EDGE} to {LARGEST_EDGE}",
        )
        columns, x, rows = self.sheet_size.partition("x")
        is_grid = bool(x) and all(n.isdecimal() and 1 <= int(n) <= 100 for n in (columns, rows))
        check(
            is_grid or self.sheet_size in ("auto", "1080p", "4k"),
            f"sheet_size: found {self.sheet_size}, expected auto, 1080p, 4k, or COLUMNSxROWS, at most 100x100",
        )
        check(
            len(self.sheet_channels) in (0, 1, 3),
            f"sheet_channels: found {len(self.sheet_channels)} numbers, expected one or three",
        )
        check_range(self, "gpus batch d_repeats metric_every", 1)
        check_range(self, "freeze_d image_snapshot_ticks network_snapshot_ticks keep_last keep_every max_rollbacks", 0)
        check_range(self, "hang_timeout", 0, 1e9, "0 to 10^9")
        check_range(self, "tick_kimg total_kimg", 0.001, 1e9, "0.001 to 10^9")
        check_range(self, "lr_warmup_kimg lr_decay_kimg ema_kimg", 0, 1e9, "0 to 10^9")
        check(
            self.init_kimg == "auto" or 0 <= self.init_kimg < self.total_kimg,
            f"init_kimg: found {self.init_kimg}, expected auto, or 0 to total_kimg {self.total_kimg:g}",
        )
        for name in ("init_kimg", "freeze_d", "mapping_only"):
            check(not getattr(self, name) or bool(self.init), f"{name}: expected --init as well")
        check_range(self, "seed", 0, 2**63 - 1, "0 to 2^63 - 1")
        check(
            self.ema_rampup is None or 0 < self.ema_rampup <= 1e3,
            f"ema_rampup: found {self.ema_rampup}, expected > 0, <= 1000",
        )
        check(
            self.ema_decay is None or 0 <= self.ema_decay <= 1,
            f"ema_decay: found {self.ema_decay}, expected 0 to 1",
        )

        check(
            not (self.stream and self.balance_classes), "balance_classes: expected no --stream, whose order is its own"
        )

        # The batch divides into processes, those into micro-batches, and these into groups of minibatch stddev.
        check(self.batch % self.gpus == 0, f"batch {self.batch}: expected a multiple of gpus {self.gpus}")
        per_rank = self.batch // self.gpus
        check(
            self.micro_batch in (None, "auto") or (self.images_per_pass >= 1 and per_rank % self.images_per_pass == 0),
            f"micro_batch: found {self.micro_batch}, expected a divisor of batch / gpus = {per_rank}, or more",
        )
        images = self.images_per_pass
        group = self.D.mbstd_group_size or images
        check(
            not self.D.uses_mbstd or images <= group or images % group == 0,
            f"{images} images per forward pass (batch / gpus, or micro_batch): expected <= "
            f"D.mbstd_group_size {group} or a multiple of it",
        )

    @property
    def images_per_pass(self) -> int:
        """Images in one forward pass on one process: all of them with `auto`, until that becomes a number."""
        share = self.batch // self.gpus
        return share if self.micro_batch in (None, "auto") else min(int(self.micro_batch), share)

    @property
    def micro_batches(self) -> int:
        """Micro-batches per step on one process."""
        return self.batch // self.gpus // self.images_per_pass

    def lr_factor(self, nimg: int) -> float:
        """Return the factor on both learning rates after `nimg` images, 0 to 1."""
        kimg = nimg / 1000
        rise = kimg / self.lr_warmup_kimg if self.lr_warmup_kimg else 1.0
        fall = (self.total_kimg - kimg) / min(self.lr_decay_kimg, self.total_kimg) if self.lr_decay_kimg else 1.0
        return max(min(rise, fall, 1.0), 0.0)


def as_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain JSON values; the options of networks carry their `kind`."""

    def plain(value: Any) -> Any:
        if not is_dataclass(value):
            return value
        kind = {"kind": value.kind} if isinstance(value, NetworkConfig) else {}
        return {**kind, **{name: plain(option) for name, option in vars(value).items()}}

    return json.loads(json.dumps(plain(config)))  # type: ignore[no-any-return]


def from_dict(cls: Any, values: dict[str, Any], where: str) -> Any:
    """Return the config that `as_dict` made plain values of.

    cls: a dataclass, or a union of options of networks, of which `kind` picks one and the first is the default. Raises
    ValueError, headed `where`, for unknown options, wrong types and values out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: found {values!r}, expected an object")
    values = {RENAMED.get(name, name): value for name, value in values.items() if name not in RETIRED}

    cls = _class_of(cls, values.pop("kind", None), where)
    hints = get_type_hints(cls)
    types = {field.name: hints[field.name] for field in fields(cls)}
    if unknown := values.keys() - types.keys():
        raise ValueError(f"{where}: unknown option {', '.join(sorted(unknown))}")

    # Values that are configs themselves are read in the same way.
    options = {}
    for name, value in values.items():
        read = from_dict if is_dataclass((get_args(types[name]) or (types[name],))[0]) else _convert
        options[name] = read(types[name], value, f"{where}: {name}")

    try:
        return cls(**options)
    except (ValueError, TypeError) as e:
        raise ValueError(f"{where}: {e}") from e


def _class_of(cls: Any, kind: Any, where: str) -> Any:
    """Return the class of a union that `kind` names, the first one for None."""
    candidates = get_args(cls) or (cls,)
    if kind is None:
        return candidates[0]

    known = {candidate.kind: candidate for candidate in candidates if issubclass(candidate, NetworkConfig)}
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{where}: kind {kind}, expected {' or '.join(known) or 'none'}")
    return known[kind]


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type of a field."""
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for alternative in alternatives:
        origin, arguments = get_origin(alternative), get_args(alternative)
        if origin is Literal and value in arguments:
            return value
        # JSON has lists where options have tuples, and may have whole numbers where they have fractions.
        if origin is tuple and isinstance(value, list) and all(type(v) is arguments[0] for v in value):
            return tuple(value)
        if alternative is float and (type(value) is float or (type(value) is int and abs(value) < 2**1023)):
            return float(value)
        if alternative in (int, bool, str, NoneType) and type(value) is alternative:
            return value

    name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    raise ValueError(f"{where}: found {value!r}, expected {name}")


def architecture(cfg: TrainConfig, spec: ImageSpec) -> dict[str, Any]:
    """Return what determines the shapes and the meaning of the weights, as flat plain values."""
    parts = {"G": as_dict(cfg.G), "D": as_dict(cfg.D), "images": as_dict(spec)}
    flat = {f"{part}.{name}": value for part, options in parts.items() for name, value in options.items()}

    # These options may change along the way.
    for name in ("G.truncation_psi", "G.truncation_cutoff", "G.w_avg_beta", "D.mbstd_group_size"):
        flat.pop(name, None)
    return flat
