"""What `train.py --init` hands to the training loop."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch

from dnnlib.errors import UserError
from pretrained.formats import load_network
from training.config import TrainConfig
from training.initial import Initial
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
)


def load_initial(files: Sequence[str]) -> Initial:
    """The networks of `files` to start from. G and G_ema stand in for each other where one is missing."""
    net = load_network(*files)
    parts = dict(net.parts)
    for name, other in (("G", "G_ema"), ("G_ema", "G")):
        if name not in parts and other in parts:
            parts[name] = parts[other]
    shapes = {name: {k: t.shape for k, t in part.tensors.items()} for name, part in parts.items()}

    def read(name: str) -> dict[str, torch.Tensor]:
        return {k: t.read() for k, t in parts[name].tensors.items()} if name in parts else {}

    return Initial(" ".join(files), shapes, read)


def with_networks_of(cfg: TrainConfig, files: Sequence[str]) -> TrainConfig:
    """`cfg` with G and D built as in `files`, so that all of them fits."""
    net = load_network(*files)
    g = next((net.parts[name].cfg for name in ("G", "G_ema") if name in net.parts), None)
    d = net.parts["D"].cfg if "D" in net.parts else None
    if g is None:
        raise UserError(f"{' '.join(files)}: no generator to start from, only a discriminator")
    if isinstance(g, StyleGANGeneratorConfig):  # its layers are those of MSG-StyleGAN
        g = GeneratorConfig(**{f.name: getattr(g, f.name) for f in fields(g)})
    if isinstance(d, StyleGANDiscriminatorConfig):
        d = DiscriminatorConfig(**{f.name: getattr(d, f.name) for f in fields(d)})
    if d is None and isinstance(g, ProGANGeneratorConfig):
        d = ProGANDiscriminatorConfig(features=g.z_dim, use_wscale=g.use_wscale)
    elif d is None:
        d = DiscriminatorConfig(fmap_base=g.fmap_base, fmap_decay=g.fmap_decay, fmap_max=g.fmap_max)
    return replace(cfg, G=g, D=d)
