"""Datasets: how fast they are made, and how fast they are read, as ratios taken in one run.

python benchmarks/dataset.py [--num-images 2000] [--json FILE]     (needs `pip install '.[benchmark]'`)

making: `dataset_tool.py create_from_images --resize 8` on JPEGs of about 1 MP against `plain`, a single-process loop of
Pillow, numpy and record writing that does the same work; both as programs of their own, by the clock and by CPU time of
all their processes. reading: random batches of 64 from a 64x64 TFRecord dataset against a sequential pass of the
`tfrecord` package over the same file, and against copying as many bytes with memcpy.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataprep.build import Output, build
from dataprep.sources.source import Items
from dnnlib.pool import cpu_count, ordered_map
from training.data.tfrecord import TFRecordDataset, encode_example, frame, halvings

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Options:
    """What to measure."""

    num_images: int = 2000
    """JPEGs to convert."""
    repeats: int = 3
    """Times that each program runs, in turn; the median counts."""
    json: Path | None = None
    """Also write the figures here."""


def make_jpeg(path: Path) -> None:
    """1152x864 pixels of noise at all scales, as much detail as photographs have: about 300 kB."""
    rng = np.random.default_rng(int(path.stem))
    x = np.full((864, 1152, 3), 128.0, np.float32)
    for size in (4, 16, 64, 256):
        small = Image.fromarray(rng.integers(0, 256, (size * 3 // 4, size, 3), dtype=np.uint8))
        x += (np.asarray(small.resize((1152, 864), Image.Resampling.BICUBIC), np.float32) - 128) * size**-0.25
    x += rng.normal(0, 6, x.shape).astype(np.float32)
    Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def plain(source: Path, target: Path) -> None:
    """The loop that one would write first."""
    target.mkdir()
    files = [open(target / f"x-r{r:02d}.tfrecords", "wb") for r in range(8, 1, -1)]  # noqa: SIM115
    names = sorted(source.iterdir())
    np.random.RandomState(123).shuffle(names)  # type: ignore[arg-type]
    for name in tqdm(names):
        im = Image.open(name).convert("RGB")
        side = min(im.size)
        left, top = (im.width - side) // 2, (im.height - side) // 2
        im = im.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.LANCZOS)
        for file, level in zip(files, halvings(np.asarray(im).transpose(2, 0, 1)), strict=True):
            file.write(frame(encode_example(level)))
    for file in files:
        file.close()


def run(*command: object) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time of the process and all that it waited for."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def making(folder: Path, o: Options) -> dict[str, Any]:
    """Seconds and CPU seconds of both programs."""
    source = folder / "jpegs"
    source.mkdir()
    paths = [source / f"{i:05d}.jpg" for i in range(o.num_images)]
    for _ in ordered_map(make_jpeg, paths, cpu_count()):
        pass
    size = sum(p.stat().st_size for p in source.iterdir()) / o.num_images
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    for k in range(o.repeats):
        found["plain"].append(run(__file__, "plain", source, folder / f"plain{k}"))
        found["ours"].append(
            run("dataset_tool.py", "create_from_images", folder / f"ours{k}" / "x", source, "--resize", 8)
        )
    for p in (folder / "plain0").iterdir():
        assert p.read_bytes() == (folder / "ours0" / "x" / p.name).read_bytes(), p.name
    (a, b), (c, d) = (np.median(found[k], 0).tolist() for k in ("plain", "ours"))
    return {
        "images": o.num_images, "bytes_each": round(size), "cores": cpu_count(),
        "plain": {"seconds": a, "cpu_seconds": b}, "ours": {"seconds": c, "cpu_seconds": d},
        "faster": a / c, "cpu_time": d / b,
    }  # fmt: skip


def clock(function: Callable[[], object], times: int = 7) -> float:
    """Seconds of a call, the median."""
    out = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        out.append(time.perf_counter() - start)
    return statistics.median(out)


def reading(folder: Path) -> dict[str, Any]:
    """Images and bytes a second, of 20,000 images of 64x64 (250 MB) that are in memory."""
    from tfrecord import tfrecord_loader

    n, batch = 20000, 64
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 64, 64), dtype=np.uint8)
    build(folder / "set", Items(n, images.__getitem__), None, Output(), {})
    file = folder / "set" / "set-r06.tfrecords"

    def sequential() -> None:
        for example in tfrecord_loader(str(file), None, {"data": "byte", "shape": "int"}):
            np.frombuffer(example["data"], np.uint8).reshape(example["shape"])

    dataset = TFRecordDataset(folder / "set")
    first = clock(dataset.images.verify, 1)  # checksums are compared once
    order = np.random.default_rng(1).permutation(n)[: n // batch * batch].reshape(-1, batch)

    def random() -> None:
        for indices in order:
            dataset.batch(indices)

    from_ = images.reshape(-1)[: order.size * images[0].size].reshape(len(order), -1)

    def memcpy() -> None:
        for piece in from_:
            piece.copy()

    theirs, ours, copy = clock(sequential, 3), clock(random), clock(memcpy)
    size = from_.size
    return {
        "images": n, "batch": batch,
        "tfrecord_images_per_s": n / theirs, "ours_random_images_per_s": order.size / ours,
        "faster": (order.size / ours) / (n / theirs),
        "ours_gb_per_s": size / ours / 1e9, "memcpy_gb_per_s": size / copy / 1e9, "of_memcpy": copy / ours,
        "checksums_once_gb_per_s": size / first / 1e9,
    }  # fmt: skip


def main() -> None:
    if sys.argv[1:2] == ["plain"]:
        plain(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    o = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as name:
        result = {"making": making(Path(name), o), "reading": reading(Path(name))}
    text = json.dumps(result, indent=1)
    print(text)
    if o.json:
        o.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
