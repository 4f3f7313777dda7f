"""Real runs of train.py in real processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tests.datasets import write_dataset
from tests.warm_python import WarmPython

ROOT = Path(__file__).parent.parent
# One thread a process: sums inside a convolution depend on the number of threads, and 1 rank is compared with 2.
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
WARM = WarmPython()
SMALL = ["tiny", "--resolution", "16", "--batch", "8", "--total-kimg", "0.4", "--tick-kimg", "0.064", "--seed", "3"]


def make_dataset(folder: Path, n: int = 40, resolution: int = 16, classes: int = 3, seed: int = 0) -> Path:
    """Blobs whose colour is their class."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(classes, size=n)
    images = np.full((n, 3, resolution, resolution), 255, np.uint8)
    for image, k in zip(images, kinds, strict=True):
        image[k % 3, 3:-3, 3:-3] = rng.integers(0, 200)
    return write_dataset(folder, images, np.eye(classes)[kinds])


def python(*args: object, env: dict[str, str] = ENV, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script, or `-m` and a module, to its end, from the root of the repository."""
    return WARM.run([*map(str, args)], env, timeout)


def script(name: str, *args: object, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a root script to its end; with `check` it must succeed."""
    out = python(name, *args, timeout=timeout)
    if check:
        assert out.returncode == 0, out.stderr
    return out


def train(*args: object, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return script("train.py", *args, check=check, timeout=timeout)


def command(*args: object) -> list[str]:
    return [sys.executable, "train.py", *map(str, args)]


def run_dirs(results: Path) -> list[Path]:
    return sorted(p for p in results.iterdir() if re.match(r"\d{5}-", p.name))


def newest_checkpoint(run_dir: Path) -> dict:
    return torch.load(max(run_dir.glob("checkpoint-*.pt")), weights_only=True)


def losses(run_dir: Path) -> list[dict]:
    """Rows of stats.jsonl without what depends on the clock and the machine."""
    rows = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k in ("kimg", "tick") or k.startswith(("Loss", "Progress"))} for r in rows]


def shown(run_dir: Path) -> str:
    """What log.txt says that the terminal shows as well: all but the tables of layers."""
    log = (run_dir / "log.txt").read_text()
    without = re.sub(r"\nG {20,}parameters.*?\ntotal .*?\ntotal [^\n]*\n\n", "", log, flags=re.S)
    assert without != log
    return without


def tensors(tree: object, path: str = "") -> dict[str, torch.Tensor]:
    """The tensors of nested dicts, by path."""
    if isinstance(tree, torch.Tensor):
        return {path: tree}
    if isinstance(tree, dict):
        return {k: t for name, sub in tree.items() for k, t in tensors(sub, f"{path}/{name}").items()}
    return {}


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, averages, optimizers, losses and sheets of two finished runs are the same bits."""
    first, second = tensors(newest_checkpoint(a)), tensors(newest_checkpoint(b))
    assert first.keys() == second.keys()
    for name, t in first.items():
        assert torch.equal(t, second[name]), name
    assert losses(a) == losses(b)
    sheets, others = (
        sorted(p.relative_to(run) for p in run.rglob("*.png") if not p.name.startswith("metric-")) for run in (a, b)
    )
    assert sheets and sheets == others
    for p in sheets:
        assert (a / p).read_bytes() == (b / p).read_bytes(), p
