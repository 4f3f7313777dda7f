"""Making a dataset from a collection: in parallel, in order, in bounded memory, and resumable.

All work happens in a hidden folder beside the dataset, `.NAME.partial`, which takes its place when it is whole. Its
journal has a line for each entry and, every few seconds, a commit: what of the files counts up to there. The result is
the same bytes for any number of worker processes and interruptions.
"""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from dataprep.job import Job, MixedChannels, Result
from dataprep.rules import Picture, Refused
from dataprep.sources.source import Entry, Items, Source, digest
from dataprep.writers import Form, pack, writer
from dnnlib.errors import UserError
from dnnlib.pool import WorkerDied, cpu_count, ordered_map
from training.data.labels import OneHot

TASK_ENTRIES, TASK_BYTES = 16, 2**22  # a worker's task has at most so many, before and about so much after conversion
SEED = 123  # of the original's shuffle

Make = Callable[[Any], Picture | Refused]  # from an entry's data; called in worker processes
Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True, kw_only=True)
class Output:
    """Options of every command that makes a dataset."""

    max_images: int | None = None
    """stop after so many"""
    subset: int | None = None
    """take so many, chosen at random but always the same ones"""
    shard_mb: int | None = None
    """split the files of a dataset into shards of about so many MB (TFRecords only)"""
    workers: int = 0
    """processes that decode and encode; 0 = one a core; the result does not depend on it"""
    strict: Annotated[bool, Flag] = False
    """stop at the first entry that cannot be read, instead of skipping and listing it"""
    resume: Annotated[bool, Flag, tyro.conf.arg(name="continue")] = False
    """go on where an interrupted conversion to the same place stopped, if one did"""

    def __post_init__(self) -> None:
        for name in ("max_images", "subset", "shard_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: expected >= 1")
        if self.workers < 0:
            raise ValueError(f"--workers {self.workers}: expected >= 0")


Options = Annotated[Output, tyro.conf.OmitArgPrefixes]
DEFAULT = Output()


def shuffled(n: int) -> np.ndarray:
    """Return the order in which the original stored n images."""
    order = np.arange(n)
    np.random.RandomState(SEED).shuffle(order)
    return order


def build(
    dst: Path,
    source: Source,
    make: Make | None,
    output: Output,
    facts: dict[str, Any],
    *,
    order: np.ndarray | None = None,
    form: Form = "tfrecords",
) -> None:
    """Make the dataset `dst` of `source`.

    make: makes the image from an entry's data; None if the data is the image, uint8 [C,R,R].
    facts: how the dataset is made, for dataset.json; with the source's fingerprint they identify an interrupted
        conversion that is to be continued.
    order: indices of the source's entries; default: all, as they are.
    """
    if output.shard_mb and form != "tfrecords":
        raise UserError(f"--shard-mb: only TFRecords have shards, expected none of them for a {form}")
    dst = Path(os.path.realpath(dst))  # what a link leads to
    order = _chosen(len(source), order, output.subset)

    facts = {**facts, "subset": output.subset, "max_images": output.max_images}
    description = {**facts, "form": form, "shard_mb": output.shard_mb, "fingerprint": source.fingerprint()}
    make_writer = partial(writer, form=form, name=dst.name, shard_bytes=output.shard_mb and output.shard_mb * 10**6)

    with Job(dst, form == "zip", make_writer, output.resume, description) as job:
        # A second round is needed if gray images and RGB ones turn out to be mixed.
        while True:
            try:
                _take_all(job, source, order, make, form, output)
                break
            except MixedChannels:
                job.start_over_in_rgb()

        facts = {
            **facts,
            "num_images": job.kept,
            "resolution": job.shape[1] if job.shape else 0,
            "channels": job.shape[0] if job.shape else 0,
            "classes": source.class_names or job.summary.c_dim or None,
            "skipped": job.skipped,
            "notes": dict(job.notes),
        }
        job.finish(facts)
    job.report()


def _take_all(job: Job, source: Source, order: np.ndarray, make: Make | None, form: Form, output: Output) -> None:
    """Convert the entries that the job does not have yet."""
    if not job.consumed:
        for reason in source.refused:
            job.skip(reason, output.strict)
    job.summary.classes = max(job.summary.classes, source.classes)

    total = len(order) if output.max_images is None else min(len(order), output.max_images)
    entries = source.entries(order[job.consumed :])
    results = _results(entries, Conversion(make, form, job.rgb), output.workers or cpu_count())
    with contextlib.closing(results), tqdm(total=total, initial=job.kept, unit="img", desc=str(job.dst)) as bar:
        while output.max_images is None or job.kept < output.max_images:
            entry_and_result = next(results, None)
            if entry_and_result is None:
                break
            bar.update(job.take(*entry_and_result, strict=output.strict))


def build_classes(
    dst: Path, images: np.ndarray, labels: np.ndarray, classes: int, output: Output, command: str, source: Path
) -> None:
    """Make the dataset `dst` of images uint8 [N,C,R,R] and class numbers [N], in the order of the original."""
    items = Items(len(images), images.__getitem__, OneHot(labels, classes), digest([images.tobytes()]))
    facts = {"command": command, "source": str(source), "shuffle": 1}
    build(dst, items, None, output, facts, order=shuffled(len(images)))


def _chosen(n: int, order: np.ndarray | None, subset: int | None) -> np.ndarray:
    try:
        order = np.arange(n) if order is None else order
    except MemoryError as e:
        raise UserError(f"{n} entries announced, expected as many as memory has room for") from e

    if subset is None:
        return order
    if subset > len(order):
        raise UserError(f"--subset {subset}: expected at most {len(order)}, the number of entries")

    # The choice does not depend on the order: whatever that is, the same entries are taken.
    among = np.zeros(n, bool)
    among[shuffled(n)[:subset]] = True
    return order[among[order]]


@dataclass(frozen=True)
class Conversion:
    """How worker processes convert a group of entries."""

    make: Make | None
    form: Form
    rgb: bool  # repeat the channel of gray images

    def __call__(self, group: list[Entry]) -> list[Result]:
        return [self._convert(entry.data) for entry in group]

    def _convert(self, data: Any) -> Result:
        if isinstance(data, Refused):
            return data
        picture = self.make(data) if self.make else Picture(data)
        if isinstance(picture, Refused):
            return picture

        image = picture.image
        if self.rgb and len(image) == 1:
            image = image.repeat(3, 0)
        return pack(image, self.form), image.shape, picture.notes


def _tasks(entries: Iterable[Entry], limit: list[int]) -> Iterator[list[Entry]]:
    """Yield entries in groups of at most limit[0], which the caller may change meanwhile."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += len(entry.data) if isinstance(entry.data, bytes) else 0

        if len(group) >= limit[0] or size > TASK_BYTES:
            yield group
            group = []
            size = 0

    if group:
        yield group


def _results(
    entries: Iterable[Entry], convert: Conversion, workers: int
) -> Generator[tuple[Entry, Result], None, None]:
    """Yield each entry with its result, in their order, a bounded number ahead; refuse an entry that ends the worker
    process that converts it."""
    if convert.make is None:
        for entry in entries:
            yield entry, convert([entry])[0]
        return

    limit = [TASK_ENTRIES]
    # The pool draws groups ahead; their entries are needed again when the results arrive.
    groups, converted = itertools.tee(_tasks(entries, limit))
    while True:
        try:
            with contextlib.closing(ordered_map(convert, groups, workers)) as results_of_groups:
                for results in results_of_groups:
                    # Large images come in smaller groups from here on.
                    largest = max((sum(map(len, r[0])) for r in results if not isinstance(r, Refused)), default=1)
                    limit[0] = max(1, min(TASK_ENTRIES, TASK_BYTES // largest))
                    yield from zip(next(converted), results, strict=True)
            return
        except WorkerDied as e:
            lost = [entry for _ in e.tasks for entry in next(converted)]
        yield from _one_by_one(lost, convert)


def _one_by_one(entries: Iterable[Entry], convert: Conversion) -> Iterator[tuple[Entry, Result]]:
    """Yield entries with their results, of which some end the process that converts them."""
    remaining = deque(entries)
    while remaining:
        try:
            # One task at a time: a worker that dies was converting the first of the remaining entries.
            for results in ordered_map(convert, [[entry] for entry in remaining], workers=1, ahead=1):
                yield remaining.popleft(), results[0]
        except WorkerDied:
            yield remaining.popleft(), Refused("ends the process that reads it")
