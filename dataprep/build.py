"""Making a dataset from a collection: in parallel, in order, and in bounded memory.

The dataset is written to a temporary folder or file beside its place, and moved there when it is complete; if the work
ends early, the temporary vanishes. The result is the same bytes for any number of worker processes.
"""

import contextlib
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from dataprep.rules import Picture, Refused
from dataprep.sources.source import Entry, Items, Source
from dataprep.writers import Form, Packed, new_writer, pack
from dnnlib.cli import Switch
from dnnlib.errors import UserError, printable
from dnnlib.files import atomic, make_dir
from dnnlib.pool import WorkerDied, cpu_count, ordered_map
from training.data.archives import by_suffix
from training.data.labels import LabelCollector, OneHot
from training.spec import shape_text, size_text

# A worker's task has at most so many entries, and about so many bytes before and after conversion.
TASK_ENTRIES = 16
TASK_BYTES = 2**22

SEED = 123  # of the shuffle in the dataset_tool.py of msg-stylegan-tf
SHOWN = 20  # skipped files that are printed

# Called in worker processes.
Make = Callable[[Any], Picture | Refused]  # from an entry's data
Pack = Callable[[np.ndarray], Packed]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Options of every command that makes a dataset."""

    # Which images it gets.
    max_images: int | None = None
    """Stop after this many images."""
    subset: int | None = None
    """Take this many entries, chosen at random but always the same ones."""

    # How it is written.
    to: Form | None = None
    """Form of the dataset: tfrecords, folder (of PNGs) or zip (of PNGs, as StyleGAN2/3 use it). Default: zip if its
    name ends in .zip, otherwise tfrecords."""
    uncompressed: Switch = False
    """Do not compress the PNGs of a folder or zip: larger, and read in half the time."""
    shard_mb: int | None = None
    """Split the files of a dataset into shards of about this many MB (TFRecords only)."""
    workers: int = 0
    """Number of processes that decode and encode; 0 = one per core. The result does not depend on it."""
    strict: Switch = False
    """Stop at the first entry that cannot be read, instead of skipping and listing it."""

    def __post_init__(self) -> None:
        for name in ("max_images", "subset", "shard_mb"):
            value = vars(self)[name]
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: expected >= 1")
        if self.workers < 0:
            raise ValueError(f"--workers {self.workers}: expected >= 0")


Options = Annotated[Output, tyro.conf.OmitArgPrefixes]
DEFAULT = Output()


def form_of(dst: Path, output: Output, other: Form = "tfrecords") -> Form:
    """Return the form that is asked for, or else a zip if the name is that of one, and `other` if it is not."""
    return output.to or ("zip" if Path(dst).suffix.lower() == ".zip" else other)


def shuffled(n: int) -> np.ndarray:
    """Return the order in which the original stored n images, int64 [n]."""
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
) -> None:
    """Make the dataset `dst` of `source`, and print what became of it.

    make: makes the image from an entry's data; None if the data is the image, uint8 [C,H,W].
    facts: how the dataset is made, for dataset.json.
    order: a permutation of the source's entries; default: as they are.

    Raises UserError if something is at the dataset's place, if no image can be read, if the images differ in shape or
    in the kind of their labels, or if `output` asks for what cannot be done.
    """
    form = form_of(dst, output)
    if form_of(dst, DEFAULT) == "zip" != form:
        raise UserError(f"{dst}: --to {form}: expected a name that does not end in .zip")
    if output.uncompressed and form == "tfrecords":
        raise UserError("--uncompressed: TFRecords are never compressed, expected it with a folder or zip")
    if output.shard_mb and form != "tfrecords":
        raise UserError(f"--shard-mb: only TFRecords have shards, expected none for a {form}")

    # Refuse a place that is taken before the work begins.
    dst = Path(os.path.realpath(dst))  # what a link leads to
    _check_free(dst, form)
    make_dir(dst.parent)
    order = _chosen(len(source), order, output.subset)

    def write(rgb: bool) -> Kept:
        # Images that are made already are packed by a thread, for sending them to processes takes longer.
        workers = (output.workers or cpu_count()) if make else 0
        convert = partial(_convert_group, make, partial(pack, form=form, compress=not output.uncompressed), rgb)
        entries = _converted(source.entries(order), convert, workers)
        return _write(dst, source, entries, len(order), form, output, facts)

    # If gray images and RGB ones turn out to be mixed, start again, and make all of them RGB.
    try:
        kept = write(rgb=False)
    except MixedChannels:
        tqdm.write(f"{dst}: gray and coloured images are mixed: starting again, with all of them in colour", sys.stderr)
        kept = write(rgb=True)
    kept.report(dst, _skip_list(dst, form))

    # What the user should know besides.
    if source.ignored:
        counts = printable(by_suffix(source.ignored))
        title = "not looked at, since they have no suffix of a readable image"
        print(f"{title}: {counts}, listed in {printable(str(_skip_list(dst, form)))}", file=sys.stderr)
    for hint in source.hints:
        print(printable(hint), file=sys.stderr)


class Classified(NamedTuple):
    """A published dataset in memory."""

    images: np.ndarray  # uint8 [N,C,H,W]
    labels: np.ndarray  # int [N], class numbers
    names: list[str]  # of the classes


def build_classes(dst: Path, data: Classified, output: Output, command: str, source: Path, split: str) -> None:
    """Make the dataset `dst` of one of the splits of a published dataset, in the order of the original."""
    images, labels, names = data
    items = Items(len(images), images.__getitem__, labels=OneHot(labels, len(names)), class_names=names)
    facts = {"command": command, "source": str(source), "split": split, "shuffle": 1}
    build(dst, items, None, output, facts, order=shuffled(len(images)))


def _check_free(dst: Path, form: Form) -> None:
    """Raise UserError unless nothing is at the dataset's place, or an empty folder if the dataset is a folder."""
    if os.path.ismount(dst):
        raise UserError(f"{dst}: a mount point, expected the name of a new dataset, e.g. a folder in it")
    if os.path.lexists(dst) and (form == "zip" or not dst.is_dir() or any(dst.iterdir())):
        raise UserError(f"{dst}: exists already, expected the name of a new dataset")


def _skip_list(dst: Path, form: Form) -> Path:
    """Return the file that lists what was skipped: in a folder, or beside a zip."""
    return dst.with_name(f"{dst.name}.skipped.txt") if form == "zip" else dst / "skipped.txt"


def _chosen(n: int, order: np.ndarray | None, subset: int | None) -> np.ndarray:
    """Return the indices of the entries to convert, in their order: all n, or a subset that is always the same one."""
    try:
        order = np.arange(n) if order is None else order
    except MemoryError as e:
        raise UserError(f"found a claim of {n} entries, expected as many as memory has room for") from e

    if subset is None:
        return order
    if subset > len(order):
        raise UserError(f"--subset {subset}: expected at most {len(order)}, the number of entries")

    # The choice does not depend on the order: whatever that is, the same entries are taken.
    is_chosen = np.zeros(n, bool)
    is_chosen[shuffled(n)[:subset]] = True
    return order[is_chosen[order]]


class MixedChannels(UserError):
    """The collection mixes gray images and RGB ones."""


class Kept:
    """What was kept of a collection so far, and what was left out."""

    def __init__(self, classes: int, strict: bool) -> None:
        self.strict = strict
        self.labels = LabelCollector(classes)
        self.shape: tuple[int, ...] = ()  # of all images, [C,H,W]
        self.first = ""  # name of the image whose shape that is

        # What is worth reporting: how many images have each note, with an example, and the reasons of skipping.
        self.notes: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self.labels.labels)

    def add(self, entry: Entry) -> bool:
        """Count a converted entry; return whether there is an image to write.

        Raises UserError if the image cannot be stored as it is, if its shape or label does not go with those before it,
        or if it was refused and nothing may be skipped.
        """
        if isinstance(entry.data, Refused):
            if entry.data.readable:
                raise UserError(f"{entry.name}: {entry.data.reason}; or add --resolution, or --resize LOG2")
            self.skip(f"{entry.name}: {entry.data.reason}")
            return False

        shape = entry.data.shape
        if not self.shape:
            self.shape = shape
            self.first = entry.name
        if shape != self.shape:
            is_mixed = shape[1:] == self.shape[1:] and {shape[0], self.shape[0]} in ({1, 3}, {2, 4})
            actual, expected = shape_text(shape), shape_text(self.shape)
            message = f"{entry.name}: {actual}, expected {expected} as in {self.first}"
            if shape[1:] != self.shape[1:]:
                message += ", or --resolution, or --resize LOG2"
            raise MixedChannels(message) if is_mixed else UserError(message)

        self.labels.add(entry.label, entry.name)
        self.notes.update(entry.data.notes)
        for note in entry.data.notes:
            self.examples.setdefault(note, entry.name)
        return True

    def skip(self, reason: str) -> None:
        """Count an entry that is left out; raise UserError if that is not allowed."""
        if self.strict:
            raise UserError(reason)
        self.skipped.append(printable(reason))

    def report(self, dst: Path, skip_list: Path) -> None:
        """Print what became of the collection."""
        print(f"{printable(str(dst))}: {len(self)} image{'s' * (len(self) > 1)} of {size_text(*self.shape[1:])}")
        for note, count in self.notes.items():
            example = printable(self.examples[note])
            print(f"{count} {'image' if count == 1 else 'images'} {note}, e.g. {example}", file=sys.stderr)

        # The first of the skipped entries; the list has them all.
        count = len(self.skipped)
        if count:
            title = f"skipped {count} of {len(self) + count}, listed in {printable(str(skip_list))}:"
            lines = [title, *self.skipped[:SHOWN]]
            if count > SHOWN:
                lines.append(f"... and {count - SHOWN} more")
            print(*lines, sep="\n  ", file=sys.stderr)


def _write(
    dst: Path,
    source: Source,
    entries: Generator[Entry, None, None],
    total: int,
    form: Form,
    output: Output,
    facts: dict[str, Any],
) -> Kept:
    """Write `total` converted entries as the dataset `dst`; return what was kept of them."""
    kept = Kept(source.classes, output.strict)
    for reason in source.refused:
        kept.skip(reason)

    with atomic(dst) as temporary:
        writer = new_writer(form, temporary, dst.name, output.shard_mb)
        bar = tqdm(total=min(total, output.max_images or total), unit="img", desc=str(dst))
        with contextlib.closing(writer), contextlib.closing(entries), bar:
            for entry in entries:
                if kept.add(entry):
                    writer.add(len(kept) - 1, entry.data.packed)
                    bar.update()
                if len(kept) == output.max_images:
                    break

            if not len(kept):
                example = next(iter(kept.skipped), "none")
                raise UserError(f"{dst}: no image to write; {len(kept.skipped)} skipped, e.g. {example}")

            # The kind of labels and the numbers are known only now.
            labels = kept.labels.table()
            facts = {
                **facts,
                "subset": output.subset,
                "max_images": output.max_images,
                "num_images": len(kept),
                "resolution": kept.shape[1],
                "width": kept.shape[2],
                "channels": kept.shape[0],
                "classes": source.class_names or labels.shape[1] or None,
                "skipped": len(kept.skipped),
                "notes": kept.notes,
            }
            writer.finish(facts, labels)

        # Another process may have made the dataset meanwhile.
        _check_free(dst, form)
        left_out = [*kept.skipped, *(printable(f"{name}: not an image, by its suffix") for name in source.ignored)]
        if left_out:
            skip_list = _skip_list(dst if form == "zip" else temporary, form)
            skip_list.write_text("".join(f"{reason}\n" for reason in left_out), encoding="utf-8")
    return kept


class Converted(NamedTuple):
    """An image as a worker process returns it: packed for the writer, its shape [C,H,W], and notes on it."""

    packed: Packed
    shape: tuple[int, ...]
    notes: tuple[str, ...]


def _convert(make: Make | None, pack: Pack, rgb: bool, data: Any) -> Converted | Refused:
    """Convert an entry's data; `rgb` makes gray images RGB by repeating their channel."""
    if isinstance(data, Refused):
        return data
    picture = make(data) if make else Picture(data)
    if isinstance(picture, Refused):
        return picture

    image = picture.image
    if rgb and len(image) in (1, 2):
        image = image[[0, 0, 0, 1][: len(image) + 2]]  # alpha stays the last channel
    return Converted(pack(image), image.shape, picture.notes)


def _convert_group(make: Make | None, pack: Pack, rgb: bool, group: list[Entry]) -> list[Entry]:
    """Return the entries of a group with their data converted."""
    return [entry._replace(data=_convert(make, pack, rgb, entry.data)) for entry in group]


def _groups(entries: Iterable[Entry], limit: list[int]) -> Iterator[list[Entry]]:
    """Yield entries in groups of at most limit[0], which the caller may change meanwhile."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        group.append(entry)
        size += len(entry.data) if isinstance(entry.data, bytes) else 0

        # Files of many bytes come in smaller groups too.
        if len(group) >= limit[0] or size > TASK_BYTES:
            yield group
            group = []
            size = 0

    if group:
        yield group


def _converted(
    entries: Iterable[Entry], convert: Callable[[list[Entry]], list[Entry]], workers: int
) -> Generator[Entry, None, None]:
    """Yield each entry converted, in their order, a bounded number ahead.

    An entry that ends the worker process that converts it is refused.
    """
    limit = [TASK_ENTRIES]
    groups = _groups(entries, limit)
    while True:
        try:
            with contextlib.closing(ordered_map(convert, groups, workers)) as results:
                for group in results:
                    # Adapt the size of groups to that of the images.
                    sizes = [sum(map(len, e.data.packed)) for e in group if isinstance(e.data, Converted)]
                    limit[0] = max(1, min(TASK_ENTRIES, TASK_BYTES // max(sizes, default=1)))
                    yield from group
            return
        except WorkerDied as e:
            undelivered = [entry for group in e.tasks for entry in group]

        # One of them ends the process; go on with the others, and then with the groups that are left.
        yield from _one_by_one(undelivered, convert)


def _one_by_one(entries: Iterable[Entry], convert: Callable[[list[Entry]], list[Entry]]) -> Iterator[Entry]:
    """Yield entries converted, of which some end the process that converts them."""
    remaining = deque(entries)
    while remaining:
        try:
            # One task at a time: a worker that dies was converting the first of the remaining entries.
            for group in ordered_map(convert, [[entry] for entry in remaining], workers=1, ahead=1):
                remaining.popleft()
                yield from group
        except WorkerDied:
            yield remaining.popleft()._replace(data=Refused("ends the process that reads it"))
