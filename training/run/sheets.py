"""Sheets of samples from fixed latents: how the generator changes over a run."""

from pathlib import Path

import numpy as np
import torch

from dnnlib.images import save_png, sheet
from dnnlib.seeds import seed_of
from training import pyramid
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.data.sampler import SampleOrder, read_batch
from training.networks.base import Generator
from training.precision import autocast


class Sheets:
    """Writes `reals.png` and one sheet per level; the images of a sheet are the same latents and labels throughout."""

    def __init__(self, cfg: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        r = dataset.spec.resolution
        self.columns, rows = max(3, min(16, 1920 // r)), max(2, min(9, 1080 // r))
        self.size, self.chunk, self.precision = (r, r), cfg.images_per_pass, cfg.precision
        order = SampleOrder(len(dataset), seed_of(cfg.seed, "sheet"), mirror=False)
        self.reals, labels = read_batch(dataset, order, 0, self.columns * rows)
        rng = torch.Generator().manual_seed(seed_of(cfg.seed, "sheet latents"))
        self.z = torch.randn(self.columns * rows, cfg.G.z_dim, generator=rng).to(device)
        self.c = torch.from_numpy(labels).to(device)

    def save_reals(self, run_dir: Path) -> None:
        save_png(sheet(self.reals, self.columns), run_dir / "reals.png")

    @torch.no_grad()
    def save_fakes(self, run_dir: Path, G_ema: Generator, label: str) -> None:
        """`RxR/fakesLABEL.png` for every level, each scaled up to full size; stored noise, not truncated."""
        chunks = []
        with autocast(self.precision, self.z.device):
            for z, c in zip(self.z.split(self.chunk), self.c.split(self.chunk), strict=True):
                chunks.append([pyramid.to_uint8(x).cpu().numpy() for x in G_ema(z, c, noise_mode="const")])
        for level in zip(*chunks, strict=True):
            images = np.concatenate(level)
            r = images.shape[-1]
            folder = run_dir / f"{r}x{r}"
            folder.mkdir(exist_ok=True)
            save_png(sheet(images, self.columns, self.size), folder / f"fakes{label}.png")
