"""Measure how fast datasets are made and read, as ratios taken in one run.

python benchmarks/dataset.py [--num-images 2000] [--json FILE]     (needs `pip install '.[benchmark]'`)

Making compares `dataset_tool.py create_from_images --resize 8` on JPEGs of about 1 MP with `plain`, a single-process
loop of Pillow, numpy and record writing that does the same work. Both are programs of their own, measured by the clock
and by CPU time of all their processes. Reading compares random batches of 64 from a 64x64 TFRecord dataset with a
sequential pass of the `tfrecord` package over the same file, and with copying as many bytes with memcpy.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from timing import ROOT, machine, multiscale_noise, save, time_in_turns
from tqdm import tqdm

from dataprep.build import Output, build
from dataprep.sources.source import Items
from dnnlib.pool import cpu_count, ordered_map
from training.data.records import encode_example, frame
from training.data.tfrecord import TFRecordDataset, halvings


def make_jpeg(path: Path) -> None:
    """Write a picture of 1152x864 pixels with as much detail as photographs have: about 300 kB."""
    rng = np.random.default_rng(int(path.stem))
    x = 128 + multiscale_noise(rng, 1152, 864, (4, 16, 64, 256))
    x += rng.normal(0, 6, x.shape).astype(np.float32)
    Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def plain(source: Path, target: Path) -> None:
    """Convert a folder of JPEGs with the loop that one would write first."""
    # The order of dataset_tool.py, so that both write the same bytes.
    names = sorted(source.iterdir())
    np.random.RandomState(123).shuffle(names)  # type: ignore[arg-type]

    target.mkdir()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(target / f"x-r{r:02d}.tfrecords", "wb")) for r in range(8, 1, -1)]
        for name in tqdm(names):
            # The largest square in the middle of 1152x864 pixels, scaled to 256x256.
            square = Image.open(name).convert("RGB").crop((144, 0, 1008, 864))
            image = np.asarray(square.resize((256, 256), Image.Resampling.LANCZOS)).transpose(2, 0, 1)  # [3,256,256]
            for file, level in zip(files, halvings(image), strict=True):
                file.write(frame(encode_example(level)))


def run(*command: object) -> None:
    """Run a Python program to its end; raise CalledProcessError if it fails."""
    subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stderr=subprocess.DEVNULL, check=True)


def making(folder: Path, num_images: int, repeats: int) -> dict[str, Any]:
    """Return how long both programs take to convert the same JPEGs."""
    source = folder / "jpegs"
    source.mkdir()
    paths = [source / f"{i:05d}.jpg" for i in range(num_images)]
    list(ordered_map(make_jpeg, paths, cpu_count()))

    # Every run writes a new folder.
    plain_folders = (folder / f"plain{k}" for k in range(repeats))
    our_folders = (folder / f"ours{k}" / "x" for k in range(repeats))
    programs = {
        "plain": lambda: run(__file__, "plain", source, next(plain_folders)),
        "ours": lambda: run("dataset_tool.py", "create_from_images", next(our_folders), source, "--resize", 8),
    }
    timings = time_in_turns(programs, repeats)

    # They are comparable only if they do the same work.
    for path in (folder / "plain0").iterdir():
        assert path.read_bytes() == (folder / "ours0" / "x" / path.name).read_bytes(), path.name

    # What was measured, and the two ratios.
    size = sum(path.stat().st_size for path in paths) / num_images
    return {
        "images": num_images,
        "bytes_each": round(size),
        "cores": cpu_count(),
        **{name: timing._asdict() for name, timing in timings.items()},
        "faster": timings["plain"].seconds / timings["ours"].seconds,
        "cpu_time": timings["ours"].cpu_seconds / timings["plain"].cpu_seconds,
    }


def reading(folder: Path, repeats: int, n: int = 20000, batch: int = 64) -> dict[str, Any]:
    """Return how fast images of 64x64 that are in memory are read: with the defaults, 250 MB of them."""
    from tfrecord import tfrecord_loader

    images = np.random.default_rng(0).integers(0, 256, (n, 3, 64, 64), dtype=np.uint8)
    file = str(folder / "set" / "set-r06.tfrecords")
    build(folder / "set", Items(n, images.__getitem__), None, Output(), {})

    # Checksums are compared once, before the first batch.
    dataset = TFRecordDataset(folder / "set")
    verify = time_in_turns({"verify": dataset.images.verify}, 1)["verify"]

    order = np.random.default_rng(1).permutation(n)[: n // batch * batch].reshape(-1, batch)
    pieces = images.reshape(-1)[: order.size * images[0].size].reshape(len(order), -1)

    def theirs() -> None:
        for example in tfrecord_loader(file, None, {"data": "byte", "shape": "int"}):
            np.frombuffer(example["data"], np.uint8).reshape(example["shape"])

    # A deque of no length drops each result at once.
    readers = {
        "theirs": theirs,
        "ours": lambda: deque(map(dataset.batch, order), maxlen=0),
        "memcpy": lambda: deque(map(np.ndarray.copy, pieces), maxlen=0),
    }
    timings = time_in_turns(readers, repeats)
    theirs_per_second = n / timings["theirs"].seconds
    ours_per_second = order.size / timings["ours"].seconds
    return {
        "images": n,
        "batch": batch,
        "tfrecord_images_per_s": theirs_per_second,
        "ours_random_images_per_s": ours_per_second,
        "faster": ours_per_second / theirs_per_second,
        "ours_gb_per_s": pieces.size / timings["ours"].seconds / 1e9,
        "memcpy_gb_per_s": pieces.size / timings["memcpy"].seconds / 1e9,
        "of_memcpy": timings["memcpy"].seconds / timings["ours"].seconds,
        "checksums_once_gb_per_s": pieces.size / verify.seconds / 1e9,
    }


def main(num_images: int = 2000, repeats: int = 3, json: Path | None = None) -> None:
    """Measure and print.

    Args:
        num_images: JPEGs to convert.
        repeats: How often everything is measured, in turns; the median counts.
        json: Also write the figures to this file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {
            **machine(torch.device("cpu")),
            "making": making(folder, num_images, repeats),
            "reading": reading(folder, repeats),
        }
    save(figures, json)


if __name__ == "__main__":
    # The plain program is this file, started with other arguments.
    if sys.argv[1:2] == ["plain"]:
        plain(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        tyro.cli(main, description=__doc__)
