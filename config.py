"""Presets and paths: what to train. Each preset is a function that returns a `TrainConfig`."""

from collections.abc import Callable
from dataclasses import replace

from training.config import AdamConfig, DiscriminatorConfig, GeneratorConfig, LossConfig, TrainConfig

DATA_DIR = "datasets"
RESULT_DIR = "results"


def robohash() -> TrainConfig:
    """The default: 64x64 characters of the robohash dataset, small enough for a CPU."""
    return TrainConfig(
        preset="robohash",
        data=f"{DATA_DIR}/robohash64",
        result_dir=RESULT_DIR,
        total_kimg=20,
        tick_kimg=1,
        batch=16,
        ema_kimg=2,
        ema_rampup=0.1,
        G=GeneratorConfig(z_dim=64, w_dim=64, mapping_layers=4, mapping_fmaps=64, fmap_base=1024, fmap_max=64),
        D=DiscriminatorConfig(fmap_base=1024, fmap_max=64),
        loss=LossConfig(r1_gamma=1.0),
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {"robohash": robohash}
