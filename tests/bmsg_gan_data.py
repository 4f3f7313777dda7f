"""The golden files of the original MSG-ProGAN (BMSG-GAN)."""

import json
from pathlib import Path

import numpy as np
import torch

from pretrained import load_network
from pretrained.bmsg_gan import discriminator_table, generator_table
from tests.golden_data import GOLDEN
from training.networks.base import Generator

SIZES = ["depth3_latent16", "depth4_latent16", "depth5_latent64"]


class BMSGGAN:
    """The files of one size; `x[key]` is a tensor."""

    def __init__(self, size: str) -> None:
        self.folder: Path = GOLDEN / "bmsg_gan" / size
        with np.load(self.folder / "golden.npz") as f:
            self.arrays = {k: f[k] for k in f.files}
        self.meta = json.loads(str(self.arrays["meta_json"]))
        self.scales = self.meta["scales"]

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.pth"))

    def networks(self):
        """G, its shadow, and D (None at depth 3), trainable."""
        net = load_network(*self.files())
        return [n and n.train().requires_grad_(True) for n in (net.G, net.G_ema, net.D)]

    def reals(self) -> tuple[torch.Tensor, ...]:
        """All levels; the file has the largest under another name."""
        return (*(self[f"real_{r}"] for r in self.scales[:-1]), self["real_full"])

    def fakes(self) -> tuple[torch.Tensor, ...]:
        return tuple(self[f"fake_{r}"] for r in self.scales)

    def gradients(self, prefix: str, net):
        """(our name, stored gradient in our layout) for each that is stored."""
        table = generator_table(net.spec) if isinstance(net, Generator) else discriminator_table(net.cfg, net.spec)
        rows = {row.theirs: row for row in table}
        for key in (k for k in self.arrays if k.startswith(prefix)):
            row = rows[key.removeprefix(prefix)]
            yield row.ours, torch.from_numpy(np.ascontiguousarray(row.transform(self.arrays[key])))
