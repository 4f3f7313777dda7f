"""Images per second of the whole FID path, from decoding to moments, against torch-fidelity's, in one run.

python benchmarks/metrics.py [--num-images 512] [--json FILE]     (needs torch-fidelity: `make test` installs it)

The same PNGs of 256x256, the same weights (random ones, in a file of torch-fidelity's form) and machine. Theirs is its
extractor, loader settings, statistics and formula; its torchvision is a stand-in (tests/metrics/fidelity.py), which FID
does not use. All run in turn; the FID between two folders is compared.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent.parent))

from metrics.catalog import choose
from metrics.context import Context
from metrics.detectors.detector import DETECTORS, DetectorOptions, random_module
from metrics.detectors.weights import INCEPTION
from metrics.samples import Reals
from tests.metrics import fidelity
from training.data.dataset import open_dataset


@dataclass(frozen=True)
class Options:
    """What to measure."""

    num_images: int = 512
    """Images in each of the two folders."""
    repeats: int = 3
    """Times that each runs, in turn; the median counts."""
    json: Path | None = None
    """Also write the figures here."""


class Folder:
    """The dataset that torch-fidelity makes of a folder: RGB, uint8 [3,H,W]."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.from_numpy(np.array(Image.open(self.files[i]).convert("RGB"))).permute(2, 0, 1)


def make_images(folder: Path, n: int, seed: int) -> None:
    """Noise at several scales: compresses about as photographs do."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(n):
        x = np.full((256, 256, 3), 128.0)
        for size in (4, 16, 64):
            small = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            large = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC), np.float32)
            x += (large - 128 + 10 * seed) * size**-0.25
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05d}.png")


def theirs(folders: list[Path], weights: Path) -> float:
    """FID as torch-fidelity computes it: its extractor, loader settings, statistics and formula."""
    module = fidelity.load("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights / INCEPTION.name)
    )
    fid = fidelity.load("metric_fid")
    stats = []
    for folder in folders:
        loader = DataLoader(Folder(folder), batch_size=64, num_workers=min(4, torch.get_num_threads()))  # type: ignore[arg-type, var-annotated]
        with torch.no_grad():
            features = torch.cat([module(batch)[0] for batch in loader])
        stats.append(fid.fid_features_to_statistics(features))
    return float(fid.fid_statistics_to_metric(*stats, False)[fid.KEY_METRIC_FID])


def ours(folders: list[Path], weights: Path, precision: str) -> float:
    """The same with this toolkit."""
    options = DetectorOptions(detector_dir=weights, precision=precision)
    a, b = map(open_dataset, folders)
    context = Context(Reals(a), b, torch.device("cuda" if torch.cuda.is_available() else "cpu"), options)
    return choose(f"fid{len(a)}")[0](context).values["fid"]


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "a", Path(name) / "b"]
        for k, folder in enumerate(folders):
            make_images(folder, options.num_images, k)
        module = random_module(DETECTORS["inception"])
        torch.save(module.state_dict(), Path(name) / INCEPTION.name)
        kinds = {
            "torch-fidelity": lambda: theirs(folders, Path(name)),
            "ours fp32": lambda: ours(folders, Path(name), "fp32"),
            "ours bf16": lambda: ours(folders, Path(name), "bf16"),
        }
        seconds: dict[str, list[float]] = {k: [] for k in kinds}
        fids: dict[str, float] = {}
        for _ in range(options.repeats):
            for kind, run in kinds.items():
                start = time.perf_counter()
                fids[kind] = run()
                seconds[kind].append(time.perf_counter() - start)
    n = 2 * options.num_images
    base = statistics.median(seconds["torch-fidelity"])
    result: dict[str, Any] = {"images": n, "threads": torch.get_num_threads(), "torch": torch.__version__}
    for kind in kinds:
        median = statistics.median(seconds[kind])
        change = fids[kind] / fids["torch-fidelity"] - 1
        result[kind] = {"img_per_s": n / median, "faster": base / median, "fid": fids[kind], "fid_change": change}
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
