"""Everything that can be said about a dataset by reading all of it: inspect, validate."""

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dnnlib.cli import Place
from dnnlib.errors import UserError, printable
from dnnlib.pool import WorkerDied, cpu_count, ordered_map
from training.data.dataset import FORMATS, Dataset, class_names, open_dataset
from training.data.image_dataset import ImageDataset
from training.data.labels import ROWS, LabelTable, label_of
from training.data.records import RecordFile
from training.data.sampler import crash
from training.data.tfrecord import TFRecordDataset
from training.spec import pyramid_sizes, size_text

PIECE = 64  # images that one task of a worker reads
SHOWN = 20  # problems that are printed; classes whose images are counted one by one


class Scan(NamedTuple):
    """What reading an image gave: a hash of its pixels, sums of values and of squares by channel; or the error."""

    hash: bytes = b""
    sums: Any = 0
    squares: Any = 0
    error: str = ""


def _scan(dataset: Dataset, indices: range) -> list[Scan]:
    """Read these images, in a worker process."""
    results = []
    for i in indices:
        try:
            image = np.ascontiguousarray(dataset[i][0])
        except UserError as e:
            results.append(Scan(error=str(e)))
            continue

        # Sums of whole numbers are exact in any order.
        pixels = image.reshape(len(image), -1).astype(np.int64)
        pixel_hash = hashlib.blake2b(image.data, digest_size=16).digest()
        results.append(Scan(pixel_hash, pixels.sum(1), (pixels * pixels).sum(1)))
    return results


def scan(dataset: Dataset, workers: int) -> Generator[Scan, None, None]:
    """Yield what reading each image of a dataset gives, in order.

    workers: processes that read; 0 = one per core.

    Raises UserError, naming the image, if reading it ends the process that does it.
    """
    if workers < 0:
        raise UserError(f"--workers {workers}: expected >= 0")
    workers = workers or cpu_count()
    tasks = [range(i, min(i + PIECE, len(dataset))) for i in range(0, len(dataset), PIECE)]
    results = ordered_map(partial(_scan, dataset), tasks, workers, ahead=3 * workers)

    with closing(results), tqdm(total=len(dataset), unit="img") as bar:
        try:
            for scans in results:
                for one in scans:
                    bar.update()
                    yield one
        except WorkerDied as e:
            raise UserError(crash(dataset, [np.array(task) for task in e.tasks])) from e


def inspect(path: Place, *, workers: int = 0) -> None:
    """Show what a dataset holds: number, size and channels of images, labels, bytes, statistics, duplicates and damage.

    Args:
        path: Dataset of any form.
        workers: Number of processes that read; 0 = one per core.
    """
    dataset = open_dataset(path)
    n = len(dataset)
    spec = dataset.spec

    # One pass over all images.
    sums = np.zeros(spec.channels)
    squares = np.zeros(spec.channels)
    damaged = 0
    hashes = np.zeros(n, "V16")
    with closing(scan(dataset, workers)) as scans:
        for i, one in enumerate(scans):
            damaged += bool(one.error)
            sums = sums + one.sums
            squares = squares + one.squares
            hashes[i] = np.void(one.hash or i.to_bytes(16, "big"))  # damaged images are no duplicates

    # Mean and deviation of the values, by channel.
    values = max(1, (n - damaged) * spec.resolution * spec.width)
    mean = sums / values
    std = np.sqrt(np.maximum(squares / values - mean**2, 0))

    # A table of all facts.
    sizes = stored_sizes(dataset) if isinstance(dataset, TFRecordDataset) else [(spec.resolution, spec.width)]
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    facts = {
        "form": next(name for name, f in FORMATS.items() if f.is_it(path)),
        "images": f"{n:,}",
        "size": spec.size_text,
        "resolutions": " ".join(size_text(*size) for size in sizes),
        "channels": str(spec.channels),
        "labels": describe_labels(dataset.labels, class_names(path) or []),
        "bytes": f"{sum(f.stat().st_size for f in files):,} in {len(files):,} file{'s' if len(files) > 1 else ''}",
        "mean": " ".join(f"{x:.2f}" for x in mean) + "   by channel, of values 0 to 255",
        "deviation": " ".join(f"{x:.2f}" for x in std),
        "duplicates": _duplicates(hashes),
        "damage": f"{damaged:,} images cannot be read, `validate` names them" if damaged else "none",
    }
    for name, text in facts.items():
        print(f"{name:<12}{text}")


def stored_sizes(dataset: TFRecordDataset) -> list[tuple[int, int]]:
    """Return (height, width) of the images in each file, smallest first."""
    shapes = [images.shape for images in dataset.files_by_resolution.values()]
    return sorted((height, width) for _, height, width in shapes)


def _duplicates(hashes: np.ndarray) -> str:
    """Return how many images have the pixels of an earlier one, in words."""
    # Equal hashes are neighbours in the sorted order, the earliest image first.
    order = np.argsort(hashes.view("S16"), kind="stable")
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if not len(again):
        return "none"

    pairs = [f"{order[k + 1]} = {order[k]}" for k in again[:3]]
    return f"{len(again):,} images equal an earlier one, e.g. {', '.join(pairs)}"


def describe_labels(labels: LabelTable, names: list[str]) -> str:
    """Return the kind of labels, and how many images each class has, in words; `names` are those of the classes."""
    n, c_dim = labels.shape
    if not c_dim:
        return "none"
    classes = [label_of(labels, i) for i in range(n)]
    if not all(isinstance(c, int) for c in classes):
        return _describe_vectors(np.asarray(labels))

    # Every image has one class.
    counts = np.bincount(np.array(classes), minlength=c_dim)
    if c_dim > SHOWN:
        return f"{c_dim} classes of {counts.min():,} to {counts.max():,} images"
    names = [f" {printable(name)}" for name in names] if len(names) == c_dim else [""] * c_dim
    return f"{c_dim} classes: " + ", ".join(f"{k}{names[k]} ({count:,})" for k, count in enumerate(counts))


def _describe_vectors(labels: np.ndarray) -> str:
    """Return the kind of vectors, float32 [N,c_dim], in words."""
    c_dim = labels.shape[1]
    pieces = [labels[i : i + ROWS] for i in range(0, len(labels), ROWS)]
    if not all(np.isin(p, (0, 1)).all() for p in pieces):
        low, high = min(p.min() for p in pieces), max(p.max() for p in pieces)
        return f"vectors of {c_dim} values from {low:g} to {high:g}"

    # Several classes at once, or none.
    ones = np.sum([p.sum(0) for p in pieces], 0)
    each = " ".join(f"{x:.0f}" for x in ones) if c_dim <= SHOWN else f"{ones.min():.0f} to {ones.max():.0f}"
    return f"vectors of {c_dim} values 0 or 1; images with a 1: {each}"


def validate(path: Place, *, workers: int = 0) -> int:
    """Read a whole dataset, in every resolution; name what is damaged, and then exit with status 1.

    Args:
        path: Dataset of any form.
        workers: Number of processes that read; 0 = one per core.
    """
    if not path.exists():
        open_dataset(path)  # raises the error

    # Print problems as they come, so that a long check can be stopped at the first one.
    problems = _record_problems(path) if FORMATS["TFRecords"].is_it(path) else _image_problems(path, workers)
    count = 0
    for problem in problems:
        count += 1
        if count <= SHOWN:
            tqdm.write(problem)

    if count > SHOWN:
        print(f"... and {count - SHOWN} more")
    print(f"{path}: " + (f"{count} problem{'s' if count > 1 else ''}" if count else "whole"))
    return 1 if count else 0


def _record_problems(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the records of each file, and with the folder as a whole."""
    is_damaged = False
    for path in sorted(folder.glob("*.tfrecords")):
        for problem in _file_problems(path):
            is_damaged = True
            yield problem

    # Do the files belong together? A damaged one cannot tell.
    try:
        sizes = stored_sizes(TFRecordDataset(folder))
    except UserError as e:
        if not is_damaged:
            yield str(e)
        return
    absent = [size for size in pyramid_sizes(*sizes[-1]) if size not in sizes]
    if absent:
        # Training makes them from the largest ones.
        names = " ".join(size_text(*size) for size in absent)
        tqdm.write(f"{folder}: note: no images of {names}, which only the original's tools need")

    # Training does without the facts, but other tools may read them.
    facts = folder / "dataset.json"
    try:
        if facts.exists():
            json.loads(facts.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as e:
        yield f"{facts}: not readable: {e}"


def _file_problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with the records of a file."""
    # Lengths are checked on opening, contents as the records are read.
    try:
        file = RecordFile(path, checksums=True)
    except UserError as e:
        yield str(e)
        return

    for i in tqdm(range(len(file)), unit="img", desc=path.name):
        try:
            file[i]
        except UserError as e:
            yield str(e)


def _image_problems(path: Path, workers: int) -> Iterator[str]:
    """Yield what is wrong with a folder or zip of images."""
    # Without a first image that can be read there is no dataset.
    try:
        dataset = open_dataset(path)
    except UserError as e:
        yield str(e)
        return

    # Some files are left out by the look of their names or entries already.
    if isinstance(dataset, ImageDataset):
        yield from dataset.files.refused
    yield from (one.error for one in scan(dataset, workers) if one.error)
