"""What `train.py --init` hands to the training loop."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import read_json
from pretrained.loading import load_network
from training.config import TrainConfig, from_dict
from training.warm_start import InitialWeights


def load_initial(files: Sequence[str]) -> InitialWeights:
    """Return the networks of `files` to start from. G and G_ema replace each other where one is missing."""
    net = load_network(*files)

    # A file may hold one generator only.
    parts = dict(net.parts)
    for name, other in (("G", "G_ema"), ("G_ema", "G")):
        if name not in parts and other in parts:
            parts[name] = parts[other]

    shapes = {name: {k: t.shape for k, t in part.tensors.items()} for name, part in parts.items()}

    def read(name: str) -> dict[str, torch.Tensor]:
        return {k: t.read() for k, t in parts[name].tensors.items()} if name in parts else {}

    return InitialWeights(" ".join(files), shapes, net.spec.c_dim, net.cur_nimg, read)


def with_networks_of(default: TrainConfig, cfg: TrainConfig, files: Sequence[str]) -> TrainConfig:
    """Return `default` with G and D built as in `files`, which `cfg.init` stands for, so that every tensor fits.

    If the files are gone but `cfg.resume` asks for a run that began with them, take G and D from that run's options.
    """
    try:
        net = load_network(*files)
    except UserError:
        begun = _run_begun_with(cfg)
        if begun is None:
            raise
        return replace(default, G=begun.G, D=begun.D)

    g = next((net.parts[name].cfg for name in ("G", "G_ema") if name in net.parts), None)
    if g is None:
        raise UserError(f"{net.where}: no generator to start from, only a discriminator")

    # Without a discriminator in the files, one that suits their generator is built.
    d = net.parts["D"].cfg if "D" in net.parts else g.matching_discriminator(default.D)
    return replace(default, G=g.as_trained(), D=d.as_trained())


def _run_begun_with(cfg: TrainConfig) -> TrainConfig | None:
    """Return the options of the run that `cfg.resume` means: the newest one that started from the same files."""
    if cfg.resume == "none":
        return None

    # Newest first.
    folders = sorted(Path(cfg.result_dir).glob("*/"), reverse=True) if cfg.resume == "auto" else [Path(cfg.resume)]
    for folder in folders:
        try:
            values = read_json(folder / "config.json", "that of a run")
            begun: TrainConfig = from_dict(TrainConfig, values, str(folder))
        except (UserError, ValueError):  # not a run dir, or a damaged one
            continue

        if begun.init == cfg.init:
            return begun
    return None
