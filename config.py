"""Presets and paths: what to train. A preset is a function that returns a `TrainConfig`; add yours to PRESETS."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from training.config import TrainConfig
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
    R3GANDiscriminatorConfig,
    R3GANGeneratorConfig,
)
from training.step_config import AdamConfig, AugmentConfig, LossConfig

# Datasets of fewer images are augmented by the preset `auto`. ADA lowered the FID of FFHQ with 70,000 images, and not
# with twice as many (Karras et al. 2020, figure 7).
FEW_IMAGES = 100_000

# Relative to the folder that train.py is started in; `--data` and `--result-dir` override them.
DATA_DIR = "datasets"
RESULT_DIR = "results"

# MSG-StyleGAN as published: Adam 0.003 for both networks, R1 with gamma 10, 25,000 kimg, half-life of G_ema 10 kimg;
# every 10 kimg a line and a sheet, every 100 kimg a snapshot with its FID.
PUBLISHED = TrainConfig(
    preset="",
    data="",
    result_dir=RESULT_DIR,
    total_kimg=25000,
    tick_kimg=10,
    image_snapshot_ticks=1,
    network_snapshot_ticks=10,
    metrics="fid50k",
)


def robohash(fmap_base: int = 256) -> TrainConfig:
    """64x64 drawn characters of five classes; learns them on two CPU cores (`make demo`; docs/demo.md).

    fmap_base: 32 times the feature maps at 64x64, 64 times those at 128x128, and so on.
    """
    return TrainConfig(
        preset="robohash",
        data=f"{DATA_DIR}/robohash64",
        result_dir=RESULT_DIR,
        # A short run for a CPU, with a line for every thousand images and samples for every second thousand.
        total_kimg=60,
        tick_kimg=1,
        image_snapshot_ticks=2,
        network_snapshot_ticks=2,
        batch=8,
        # With the published half-life of 10 kimg, the average would not get away from the untrained generator.
        ema_kimg=4,
        ema_rampup=0.1,
        # Few feature maps, since many steps matter more here. Noise and blur are left out, as the drawings have no
        # random detail and sharp edges. The pixel norm keeps their white ground flat, where the instance norm rings.
        # The mapping is short, and learns ten times as fast as published, so that it follows in so few steps.
        G=GeneratorConfig(
            z_dim=64,
            w_dim=64,
            mapping_layers=2,
            mapping_fmaps=64,
            mapping_lrmul=0.1,
            fmap_base=fmap_base,
            fmap_max=64,
            blur_filter=(),
            use_noise=False,
            use_pixel_norm=True,
            use_instance_norm=False,
        ),
        D=DiscriminatorConfig(fmap_base=fmap_base, fmap_max=64, blur_filter=()),
        # Up to four times the published rate, since so short a run has few steps, falling to 0 from the start. With the
        # rate of D for G as well, the characters of a class grow alike.
        G_opt=AdamConfig(lr=0.006),
        D_opt=AdamConfig(lr=0.012),
        lr_decay_kimg=60,
        # R1 makes a D step about twice as expensive, so it is taken in one step out of eight.
        loss=LossConfig(r1_gamma=3.0, reg_interval=8),
    )


def tiny() -> TrainConfig:
    """The 32x32 level, a few feature maps, a few seconds a tick on a CPU: for tests and for trying things out."""
    return TrainConfig(
        preset="tiny",
        data=f"{DATA_DIR}/robohash64",
        result_dir=RESULT_DIR,
        resolution=32,
        # Every tick writes everything, so that a test sees all of it in one short run.
        total_kimg=4,
        tick_kimg=1,
        image_snapshot_ticks=1,
        network_snapshot_ticks=1,
        batch=16,
        ema_kimg=1,
        precision="fp32",  # what `auto` would choose after some seconds of counting
        G=GeneratorConfig(z_dim=16, w_dim=16, mapping_layers=2, mapping_fmaps=16, fmap_base=128, fmap_max=16),
        D=DiscriminatorConfig(fmap_base=128, fmap_max=16),
        loss=LossConfig(r1_gamma=1.0),
    )


def _published(preset: str, resolution: int, batch: int, micro_batch: int, mirror: bool) -> TrainConfig:
    """Return the settings for a dataset of the papers."""
    return replace(
        PUBLISHED,
        preset=preset,
        data=f"{DATA_DIR}/{preset}",
        resolution=resolution,
        mirror=mirror,
        batch=batch,
        micro_batch=micro_batch,
        use_labels=False,
    )


# Columns: resolution, batch, micro-batch. The original's train.py takes 4 images a step on 1 GPU, 32 on 2, 16 on 4 and
# 32 on 8, and its README says how many GPUs trained each dataset: 4 FFHQ and Indian Celebs, 8 CelebA-HQ and LSUN
# Churches, 2 Oxford Flowers. The batch of cifar10 is ours, and so are mirroring and the micro-batches, which bound the
# memory that one pass takes.
ffhq1024 = partial(_published, "ffhq1024", 1024, 16, 4, mirror=True)
celebahq1024 = partial(_published, "celebahq1024", 1024, 32, 4, mirror=True)
churches256 = partial(_published, "churches256", 256, 32, 8, mirror=False)
flowers256 = partial(_published, "flowers256", 256, 32, 8, mirror=True)
indian_celebs256 = partial(_published, "indian-celebs256", 256, 16, 8, mirror=True)
cifar10 = partial(_published, "cifar10", 32, 64, 64, mirror=True)

# The ablations of the StyleGAN paper that the original's train.py carries, on FFHQ; choose other data with --data and
# --resolution. Style mixing had no effect in the original; here it has.
#
# Groups of options that several rows share: the input as it was before noise was added, and a traditional generator,
# which starts from the latent itself and has no styles.
_NO_NOISE: dict[str, object] = {"use_const_input": True, "use_noise": False}
_TRADITIONAL: dict[str, object] = {
    "use_styles": False,
    "use_pixel_norm": True,
    "use_instance_norm": False,
    "truncation_psi": 1.0,
    "use_const_input": False,
    "use_noise": False,
}
ABLATIONS: dict[str, tuple[dict[str, object], float]] = {  # changes of G, style_mixing_prob
    # Table 1: from ProGAN to StyleGAN, one step a row.
    "tuned-baseline": ({**_TRADITIONAL, "mapping_layers": 0}, 0.0),
    "add-mapping-and-styles": ({**_NO_NOISE, "use_const_input": False}, 0.0),
    "remove-traditional-input": (_NO_NOISE, 0.0),
    "add-noise-inputs": ({}, 0.0),
    "mixing-regularization": ({}, 0.9),
    # Table 2: how often styles are mixed.
    "mix0": ({}, 0.0),
    "mix50": ({}, 0.5),
    "mix90": ({}, 0.9),
    "mix100": ({}, 1.0),
    # Table 4: layers of the mapping network.
    "traditional-0": ({**_TRADITIONAL, "mapping_layers": 0}, 0.0),
    "traditional-8": ({**_TRADITIONAL, "mapping_layers": 8}, 0.0),
    "stylebased-0": ({"mapping_layers": 0}, 0.9),
    "stylebased-1": ({"mapping_layers": 1}, 0.9),
    "stylebased-2": ({"mapping_layers": 2}, 0.9),
    "stylebased-8": ({"mapping_layers": 8}, 0.9),
}


def _ablation(name: str) -> TrainConfig:
    """Return the preset of one row of ABLATIONS: FFHQ with these changes."""
    changes, mixing = ABLATIONS[name]
    base = ffhq1024()

    return replace(
        base,
        preset=name,
        G=replace(base.G, **changes),  # type: ignore[arg-type]
        loss=replace(base.loss, style_mixing_prob=mixing),
    )


def _progan(preset: str, data: str, resolution: int, batch: int, total_kimg: float, features: int = 512) -> TrainConfig:
    """Return MSG-ProGAN as published (BMSG-GAN), for one dataset.

    It has the relativistic hinge loss without penalty, Adam with rate 0.003 in torch's form for both networks, a G_ema
    that decays by 0.999 a step, the same latents for D and G, and one minibatch stddev over the whole batch. Batch and
    length are ours, since the original's train.py leaves them to the user.
    """
    adam = AdamConfig(lr=0.003, form="torch")

    return replace(
        PUBLISHED,
        preset=preset,
        data=f"{DATA_DIR}/{data}",
        resolution=resolution,
        mirror=True,
        use_labels=False,
        batch=batch,
        total_kimg=total_kimg,
        metrics="",
        ema_decay=0.999,
        G=ProGANGeneratorConfig(z_dim=features),
        D=ProGANDiscriminatorConfig(features=features),
        G_opt=adam,
        D_opt=adam,
        loss=LossConfig(name="relativistic-hinge", r1_gamma=0.0, same_latents=True),
    )


progan_cifar10 = partial(_progan, "progan-cifar10", "cifar10", 32, 64, 12000)
progan_flowers256 = partial(_progan, "progan-flowers256", "flowers256", 256, 16, 10000)
progan_celebahq1024 = partial(_progan, "progan-celebahq1024", "celebahq1024", 1024, 8, 25000)


def progan_robohash() -> TrainConfig:
    """MSG-ProGAN on the 64x64 characters, small enough for two CPU cores; without classes, as published."""
    cfg = _progan("progan-robohash", "robohash64", 64, 8, 40, features=64)

    # The rhythm of the robohash preset, so that both can be compared; characters face one way.
    return replace(cfg, mirror=False, tick_kimg=1, image_snapshot_ticks=2, network_snapshot_ticks=2)


def modern_robohash() -> TrainConfig:
    """MSG-R3GAN on the 64x64 characters, small enough for two CPU cores.

    It takes about as long as `robohash`, which sees 60 kimg in that time (`python -m experiments.modern`).
    """
    return replace(
        robohash(),
        preset="modern-robohash",
        total_kimg=40,
        lr_decay_kimg=40,
        G=R3GANGeneratorConfig(fmap_base=512, fmap_max=64, blocks_per_level=1),
        D=R3GANDiscriminatorConfig(fmap_base=512, fmap_max=64, blocks_per_level=1),
        # With equal rates, or with a tenth of these penalties, the characters of a class grow alike; with twice these
        # rates, training diverges.
        G_opt=AdamConfig(lr=0.002, form="torch"),
        D_opt=AdamConfig(lr=0.004, form="torch"),
        loss=LossConfig(name="relativistic-pairing", r1_gamma=25.0, r2_gamma=25.0, reg_interval=4),
    )


def modern_ffhq256() -> TrainConfig:
    """MSG-R3GAN for large datasets of 256x256 images on GPUs.

    Widths, depths, batch, rates, weights of penalties and schedules are those of R3GAN's FFHQ-256 (Huang et al. 2024,
    appendix), whose penalties are those of one size; ours are means over all levels. R3GAN raises the probability of
    augmentations from 0 to 0.3; here it is 0.3 from the start.
    """
    kimg = 20_000
    adam = AdamConfig(lr=2e-4, lr_end=0.25, beta2=0.9, beta2_end=0.99, schedule_kimg=kimg, form="torch")

    return replace(
        _published("modern-ffhq256", 256, 256, 8, mirror=True),
        data=f"{DATA_DIR}/ffhq1024",
        micro_batch="auto",
        ema_kimg=500,
        ema_rampup=0.05,
        G=R3GANGeneratorConfig(fmap_base=12288, fmap_max=768),
        D=R3GANDiscriminatorConfig(fmap_base=12288, fmap_max=768),
        G_opt=adam,
        D_opt=adam,
        loss=LossConfig(name="relativistic-pairing", r1_gamma=150, r2_gamma=150, gamma_end=0.1, gamma_kimg=kimg),
        augment=AugmentConfig(name="ada", p=0.3),
    )


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the preset `auto` looks at."""

    images: int
    resolution: int
    """Height of the images in pixels."""
    c_dim: int
    """Length of their labels; 0 = no labels."""
    has_gpu: bool
    gpus: int
    """Processes of the run."""
    has_init: bool
    """Whether the run starts from other networks."""
    batch: int | None = None
    """The batch that was asked for, if any."""
    total_kimg: float | None = None
    """The length that was asked for, if any."""


# What `auto` parses options with before it chooses: no length, and a batch that divides among any number of processes.
UNCHOSEN = replace(PUBLISHED, batch=4 * math.lcm(*range(1, 65)), total_kimg=1e9)


def auto(facts: Facts) -> tuple[TrainConfig, list[str]]:
    """Return options for a dataset and a machine, and the reasons for them, a line each."""
    if not facts.has_gpu:
        cfg, reasons = _auto_cpu(facts)
    else:
        cfg, reasons = _auto_gpu(facts)

    # Few images are soon known by heart.
    if facts.images < FEW_IMAGES:
        kimg = min(100.0 if facts.has_init else 500.0, cfg.total_kimg / 2)
        cfg = replace(cfg, augment=AugmentConfig(name="ada", kimg=kimg))
        reasons.append(
            f"augment: ada, since {facts.images:,} images are fewer than {FEW_IMAGES:,} (Karras et al. 2020); p can "
            f"reach 1 in {kimg:g} kimg; --augment.parts color if your images must not be flipped or turned"
        )
    if facts.c_dim:
        reasons.append(f"use-labels: the dataset has {facts.c_dim} label values; --no-use-labels to ignore them")
    reasons.append("mirror: off, since nothing tells whether your images may be flipped; --mirror if they may")
    return replace(cfg, preset="auto", data="", use_labels=True), reasons


def _auto_gpu(facts: Facts) -> tuple[TrainConfig, list[str]]:
    """Return options for GPUs, by the rules of StyleGAN2-ADA (Karras et al. 2020, appendix C)."""
    per_gpu = min(max(4096 // facts.resolution, 4), 32)
    batch = facts.batch or _auto_batch(facts.gpus, per_gpu, 64)
    gamma = 0.0002 * facts.resolution**2 / batch
    fmap_base = 8192 if facts.resolution >= 512 else 4096
    kimg = facts.total_kimg or (1000 if facts.has_init else 5000)

    cfg = replace(
        PUBLISHED,
        total_kimg=kimg,
        gpus=facts.gpus,
        batch=batch,
        micro_batch="auto",
        ema_kimg=batch * 10 / 32,
        ema_rampup=0.05,
        metrics="",
        G=GeneratorConfig(fmap_base=fmap_base),
        D=DiscriminatorConfig(fmap_base=fmap_base),
        loss=LossConfig(r1_gamma=gamma, reg_interval=4),
    )
    width = "as published" if fmap_base == 8192 else "half of the published, for small images"
    length = "to adapt a network" if facts.has_init else "then look at the sheets, and go on if they still improve"
    return cfg, [
        f"batch {batch}: " + ("as given" if facts.batch else f"{per_gpu} images of this size a GPU, at most 64"),
        "loss.reg-interval 4: R1 in every fourth step, which is a quarter faster",
        f"loss.r1-gamma {gamma:.3g}: 0.0002 * resolution^2 / batch; try a third and three times it as well",
        f"fmap-base {fmap_base}: {width}",
        f"ema-kimg {cfg.ema_kimg:g}: 10 kimg for a batch of 32",
        f"total-kimg {kimg:,}: " + ("as given" if facts.total_kimg else length),
    ]


def _auto_batch(gpus: int, per_gpu: int, most: int) -> int:
    """Return a batch of at most so many images, unless there are more GPUs, that divides among them."""
    share = max(1, min(per_gpu, most // gpus))

    # Groups of minibatch stddev have four images.
    return gpus * (share if share < 4 else share - share % 4)


def _auto_cpu(facts: Facts) -> tuple[TrainConfig, list[str]]:
    """Return options for a CPU, on which only small networks and short runs are within reach."""
    is_small = facts.resolution <= 64
    kimg = facts.total_kimg or (60 if is_small else 20)
    batch = facts.batch or _auto_batch(facts.gpus, 8, 8)

    # As many feature maps at the largest size as the preset has at 64x64.
    base = robohash(256 if is_small else 256 * facts.resolution // 64)
    cfg = replace(base, total_kimg=kimg, lr_decay_kimg=kimg, batch=batch, gpus=facts.gpus)

    minutes, hours = "a quarter of an hour at 64x64 on two cores", "hours at this size; --resolution 64 is faster"
    length = minutes if is_small else hours
    return cfg, [
        "networks and learning rates of the preset robohash, as a CPU trains small networks only",
        f"total-kimg {kimg:g}: " + ("as given" if facts.total_kimg else length),
    ]


# What train.py offers, by the name on its command line.
PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "robohash": robohash,
    "tiny": tiny,
    "ffhq1024": ffhq1024,
    "celebahq1024": celebahq1024,
    "churches256": churches256,
    "flowers256": flowers256,
    "indian-celebs256": indian_celebs256,
    "cifar10": cifar10,
    "progan-robohash": progan_robohash,
    "progan-cifar10": progan_cifar10,
    "progan-flowers256": progan_flowers256,
    "progan-celebahq1024": progan_celebahq1024,
    "modern-robohash": modern_robohash,
    "modern-ffhq256": modern_ffhq256,
    **{name: partial(_ablation, name) for name in ABLATIONS},
}
