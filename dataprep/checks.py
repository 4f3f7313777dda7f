"""Everything that can be said about a dataset by reading all of it: inspect, validate."""

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from dnnlib.errors import UserError, printable
from dnnlib.pool import WorkerDied, cpu_count, ordered_map
from training.data.dataset import FORMATS, Dataset, class_names, open_dataset
from training.data.image_dataset import ImageDataset
from training.data.labels import ROWS, LabelTable, OneHot, label_of
from training.data.sampler import crash
from training.data.tfrecord import RecordFile, TFRecordDataset

Place = tyro.conf.Positional[Path]
PIECE = 64  # images that one task of a worker reads
SHOWN = 20  # problems that are printed; classes whose images are counted one by one


class Scan(NamedTuple):
    """What was seen of an image: hash of its pixels, sums of its values and their squares by channel, or the error."""

    hash: bytes = b""
    sums: Any = 0
    squares: Any = 0
    error: str = ""


def _scan(dataset: Dataset, indices: range) -> list[Scan]:
    results = []
    for i in indices:
        try:
            image = np.ascontiguousarray(dataset[i][0])
        except UserError as e:
            results.append(Scan(error=str(e)))
            continue

        pixels = image.reshape(len(image), -1).astype(np.int64)
        fingerprint = hashlib.blake2b(image.data, digest_size=16).digest()
        results.append(Scan(fingerprint, pixels.sum(1), (pixels * pixels).sum(1)))
    return results


def scan(dataset: Dataset, workers: int) -> Generator[Scan, None, None]:
    """Yield what is found in each image of a dataset, in order; worker processes read it."""
    runs = [range(i, min(i + PIECE, len(dataset))) for i in range(0, len(dataset), PIECE)]
    results = ordered_map(partial(_scan, dataset), runs, workers, ahead=3 * workers)

    with closing(results), tqdm(total=len(dataset), unit="img") as bar:
        try:
            for run in results:
                for found in run:
                    bar.update()
                    yield found
        except WorkerDied as e:
            raise UserError(crash(dataset, [np.array(run) for run in e.tasks])) from e


def inspect(path: Place, *, workers: int = 0) -> None:
    """Show what a dataset holds: images, size, levels, channels, labels, bytes, mean, deviation, duplicates, damage.

    Args:
        path: Dataset of any form.
        workers: Processes that read; 0 = one a core.
    """
    dataset = open_dataset(path)
    n = len(dataset)
    spec = dataset.spec

    # One pass over all images.
    sums = np.zeros(spec.channels)
    squares = np.zeros(spec.channels)
    damaged = 0
    hashes = np.zeros(n, "V16")
    with closing(scan(dataset, _positive(workers))) as seen:
        for i, found in enumerate(seen):
            damaged += bool(found.error)
            sums = sums + found.sums
            squares = squares + found.squares
            hashes[i] = np.void(found.hash or i.to_bytes(16, "big"))

    # Mean and deviation of the values, by channel.
    values = max(1, (n - damaged) * spec.resolution**2)
    mean = sums / values
    std = np.sqrt(np.maximum(squares / values - mean**2, 0))

    resolutions = sorted(dataset.files_by_resolution) if isinstance(dataset, TFRecordDataset) else [spec.resolution]
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    facts = {
        "form": next(name for name, f in FORMATS.items() if f.is_it(path)),
        "images": f"{n:,}",
        "size": f"{spec.resolution}x{spec.resolution}",
        "levels": " ".join(f"{r}x{r}" for r in resolutions),
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


def _positive(workers: int) -> int:
    if workers < 0:
        raise UserError(f"--workers {workers}: expected >= 0")
    return workers or cpu_count()


def _duplicates(hashes: np.ndarray) -> str:
    """Return how many images have the pixels of an earlier one, in words."""
    order = np.argsort(hashes.view("S16"), kind="stable")
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if not len(again):
        return "none"
    pairs = [f"{order[k + 1]} = {order[k]}" for k in again[:3]]
    return f"{len(again):,} images equal an earlier one, e.g. {', '.join(pairs)}"


def describe_labels(labels: LabelTable, names: list[str]) -> str:
    """The kind of labels, and how many images there are of each class."""
    n, c_dim = labels.shape
    if not c_dim:
        return "none"
    if not isinstance(labels, OneHot):
        rows = [label_of(labels, i) for i in range(n)]
        if not all(isinstance(r, int) for r in rows):
            return _describe_vectors(labels)
        labels = OneHot(np.array(rows), c_dim)
    counts = np.bincount(labels.numbers, minlength=c_dim)
    if c_dim > SHOWN:
        return f"{c_dim} classes of {counts.min():,} to {counts.max():,} images"
    names = [f" {printable(name)}" for name in names] if len(names) == c_dim else [""] * c_dim
    return f"{c_dim} classes: " + ", ".join(f"{k}{names[k]} ({c:,})" for k, c in enumerate(counts))


def _describe_vectors(labels: np.ndarray) -> str:
    c_dim = labels.shape[1]
    pieces = [labels[i : i + ROWS] for i in range(0, len(labels), ROWS)]
    if not all(np.isin(p, (0, 1)).all() for p in pieces):
        low, high = min(p.min() for p in pieces), max(p.max() for p in pieces)
        return f"vectors of {c_dim} values from {low:g} to {high:g}"
    ones = np.sum([p.sum(0) for p in pieces], 0)
    each = " ".join(f"{c:.0f}" for c in ones) if c_dim <= SHOWN else f"{ones.min():.0f} to {ones.max():.0f}"
    return f"vectors of {c_dim} values 0 or 1; images with a 1: {each}"


def validate(path: Place, *, workers: int = 0) -> int:
    """Read all of a dataset, every resolution of it; exit status 1 if anything is damaged, with the file and record.

    Args:
        path: Dataset of any form.
        workers: Processes that read; 0 = one a core.
    """
    if not path.exists():
        open_dataset(path)  # says so
    problems = _record_problems(path) if FORMATS["TFRecords"].is_it(path) else _image_problems(path, _positive(workers))
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
    found = False
    for path in sorted(folder.glob("*.tfrecords")):
        try:
            file = RecordFile(path, checksums=True)
        except UserError as e:
            found = True
            yield str(e)
            continue
        for i in tqdm(range(len(file)), unit="img", desc=path.name):
            try:
                file[i]
            except UserError as e:
                found = True
                yield str(e)
    try:
        resolutions = sorted(TFRecordDataset(folder).files_by_resolution)
    except UserError as e:
        if not found:
            yield str(e)
        return
    for r in range(2, resolutions[-1].bit_length()):
        if 2**r not in resolutions:
            yield f"{folder}: no level of {2**r}x{2**r}, which the original's tools need"
    facts = folder / "dataset.json"
    try:
        if facts.exists():
            json.loads(facts.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as e:
        yield f"{facts}: not readable: {e}"


def _image_problems(path: Path, workers: int) -> Iterator[str]:
    try:
        dataset = open_dataset(path)
    except UserError as e:
        yield str(e)
        return
    if isinstance(dataset, ImageDataset):
        yield from dataset.files.refused
    yield from (s.error for s in scan(dataset, workers) if s.error)
