"""Sheets of samples from fixed latents, which show how the generator changes over a run."""

from pathlib import Path

import torch

from dnnlib.images import save_image, sheet
from dnnlib.seeds import seed_of
from training import pyramid
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.data.sampler import SampleOrder, read_batch
from training.networks.base import Generator
from training.precision import autocast


class Sheets:
    """Writes `reals.png` and one sheet per level; the latents and labels of a sheet are the same throughout a run."""

    def __init__(self, cfg: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        # As many images as fill about a full HD screen.
        resolution = dataset.spec.resolution
        self.columns = max(3, min(16, 1920 // resolution))
        rows = max(2, min(9, 1080 // resolution))
        count = self.columns * rows

        # All levels are scaled up to the full size, so that they can be compared.
        self.size = (resolution, resolution)
        self.images_per_pass, self.precision = cfg.images_per_pass, cfg.precision

        # Reals with their labels, which the fakes share, and latents.
        order = SampleOrder(len(dataset), seed_of(cfg.seed, "sheet"), mirror=False)
        self.reals, labels = read_batch(dataset, order, 0, count)
        rng = torch.Generator().manual_seed(seed_of(cfg.seed, "sheet latents"))
        self.z = torch.randn(count, cfg.G.z_dim, generator=rng).to(device)  # [count,z_dim]
        self.c = torch.from_numpy(labels).to(device)  # [count,c_dim]

    def save_reals(self, run_dir: Path) -> None:
        """Write `reals.png`."""
        save_image(sheet(self.reals, self.columns), run_dir / "reals.png")

    @torch.no_grad()
    def save_fakes(self, run_dir: Path, G_ema: Generator, tag: str) -> None:
        """Write `RxR/fakesTAG.png` for every level, scaled up to full size; stored noise, not truncated."""
        # Pyramids of all latents, a few at a time.
        z_parts = self.z.split(self.images_per_pass)
        c_parts = self.c.split(self.images_per_pass)
        with autocast(self.precision, self.z.device):
            pyramids = [G_ema(z, c, noise_mode="const") for z, c in zip(z_parts, c_parts, strict=True)]

        # One sheet per level.
        for parts in zip(*pyramids, strict=True):
            images = pyramid.to_uint8(torch.cat(parts)).cpu().numpy()  # [count,C,r,r]
            r = images.shape[-1]
            folder = run_dir / f"{r}x{r}"
            folder.mkdir(exist_ok=True)
            save_image(sheet(images, self.columns, self.size), folder / f"fakes{tag}.png")
