"""Measure images per second of the whole FID path, from decoding to moments, against torch-fidelity's, in one run.

python benchmarks/metrics.py [--num-images 512] [--json FILE]     (needs torch-fidelity: `make test` installs it)

Both get the same PNGs of 256x256, the same weights (random ones, in a file of torch-fidelity's form) and the same
machine. Theirs is its extractor, loader settings, statistics and formula; its torchvision is a stand-in
(tests/metrics/fidelity.py), which FID does not use. The FID between two folders is compared as well.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from timing import machine, multiscale_noise, save, time_in_turns
from torch.utils.data import DataLoader

from metrics.catalog import choose
from metrics.context import Context
from metrics.detectors.detector import DETECTORS, DetectorOptions, Detectors, random_module
from metrics.detectors.weights import INCEPTION
from metrics.samples import Reals
from tests.metrics import fidelity
from training.data.dataset import open_dataset


class Folder(list[Path]):
    """The dataset that torch-fidelity makes of image files: RGB, uint8 [3,H,W]."""

    def __getitem__(self, i):
        return torch.from_numpy(np.array(Image.open(super().__getitem__(i)).convert("RGB"))).permute(2, 0, 1)


def make_images(folder: Path, n: int, seed: int) -> None:
    """Write n images of 256x256 that compress about as photographs do; the contrast depends on the seed."""
    folder.mkdir()
    rng = np.random.default_rng(seed)

    for i in range(n):
        x = 128 + 10 * seed + multiscale_noise(rng, 256, 256, (4, 16, 64))
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


def theirs(folders: Sequence[Path], weights: Path) -> float:
    """Return the FID of two folders as torch-fidelity computes it."""
    module = fidelity.load("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights / INCEPTION.name)
    )

    # Moments of each folder, with the loader that torch-fidelity would choose, and the distance between them.
    fid = fidelity.load("metric_fid")
    stats = []
    for folder in folders:
        images = Folder(sorted(folder.glob("*.png")))
        loader = DataLoader(images, batch_size=64, num_workers=min(4, torch.get_num_threads()))
        with torch.no_grad():
            features = torch.cat([module(batch)[0] for batch in loader])
        stats.append(fid.fid_features_to_statistics(features))
    return float(fid.fid_statistics_to_metric(*stats, False)[fid.KEY_METRIC_FID])


def ours(folders: Sequence[Path], weights: Path, device: torch.device, precision: str) -> float:
    """Return the FID of two folders as this toolkit computes it."""
    options = DetectorOptions(detector_dir=weights, precision=precision)

    # One folder stands for the fakes; the metric's name says how many of them.
    a, b = map(open_dataset, folders)
    context = Context(Reals(a), b, device, Detectors(options, device))
    return choose(f"fid{len(a)}")[0](context).values["fid"]


def main(num_images: int = 512, repeats: int = 3, json: Path | None = None) -> None:
    """Measure and print.

    Args:
        num_images: Images in each of the two folders.
        repeats: How often everything is measured, in turns; the median counts.
        json: Also write the figures to this file.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        # Two folders of images, and a file of random weights beside them.
        weights = Path(name)
        folders = [weights / "a", weights / "b"]
        for seed, folder in enumerate(folders):
            make_images(folder, num_images, seed)
        torch.save(random_module(DETECTORS["inception"]).state_dict(), weights / INCEPTION.name)

        # Each program runs once for its result, and then in turns for its speed.
        programs = {
            "torch-fidelity": partial(theirs, folders, weights),
            "ours fp32": partial(ours, folders, weights, device, "fp32"),
            "ours bf16": partial(ours, folders, weights, device, "bf16"),
        }
        fids = {kind: program() for kind, program in programs.items()}
        timings = time_in_turns(programs, repeats)

    # Speed in relation to theirs, and whether the result is the same.
    images = 2 * num_images
    figures = {"images": images, **machine(device)}
    for kind, timing in timings.items():
        figures[kind] = {
            "img_per_s": images / timing.seconds,
            "faster": timings["torch-fidelity"].seconds / timing.seconds,
            "fid": fids[kind],
            "fid_change": fids[kind] / fids["torch-fidelity"] - 1,
        }
    save(figures, json)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
