"""The golden files of the original MSG-StyleGAN, as networks and tensors."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from pretrained.network_file import Row
from pretrained.tf_networks import discriminator_table, generator_table, options
from training.config import from_dict
from training.networks.config import DiscriminatorConfig, GeneratorConfig
from training.networks.msg_stylegan import Discriminator, Generator
from training.spec import ImageSpec

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = ["c1", "c2", "c3", "c4", "c5", "c8"]


class Golden:
    """One golden file; `x[key]` is a tensor."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"{name}.npz") as f:
            self.arrays = {k: f[k] for k in f.files}
        self.meta = json.loads(str(self.arrays["meta_json"]))
        kwargs = self.meta["G_static_kwargs"]
        self.spec = ImageSpec(
            resolution=kwargs["resolution"], channels=kwargs["num_channels"], c_dim=kwargs["label_size"]
        )

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def pyramid(self, prefix: str) -> tuple[torch.Tensor, ...]:
        return tuple(self[f"{prefix}_{r}"] for r in self.spec.resolutions)

    def networks(self) -> tuple[Generator, Discriminator]:
        """Fresh G and D with the file's variables; strict both ways."""
        g = from_dict(GeneratorConfig, options(self.meta["G_static_kwargs"], GeneratorConfig)[0], "G")
        G = Generator(g, self.spec)
        d = from_dict(DiscriminatorConfig, options(self.meta["D_static_kwargs"], DiscriminatorConfig)[0], "D")
        D = Discriminator(d, self.spec)
        for net, prefix in ((G, "G/"), (D, "D/")):
            named = {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}
            net.load_state_dict(dict(ours(net, name, v) for name, v in named.items()), strict=True)
        return G, D


def rows(net: Generator | Discriminator) -> dict[str, Row]:
    """The table of a network, by the original's names."""
    table = generator_table if isinstance(net, Generator) else discriminator_table
    return {row.theirs: row for row in table(net.cfg, net.spec)}


def ours(net: Generator | Discriminator, theirs: str, value: np.ndarray) -> tuple[str, torch.Tensor]:
    """A variable of the original, or its gradient, under our name and in our layout."""
    row = rows(net)[theirs]
    return row.ours, torch.from_numpy(np.ascontiguousarray(row.transform(value)))


@cache
def golden(name: str) -> Golden:
    return Golden(name)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, limit: float, what: str = "") -> None:
    """max |difference| <= limit * max |expected|."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} != {tuple(expected.shape)}"
    worst = (actual.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    assert worst <= limit * max(scale, 1e-12), f"{what}: off by {worst / max(scale, 1e-12):.2e} of the largest value"
