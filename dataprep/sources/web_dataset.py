"""WebDataset collections: tar shards in which consecutive files of one key are one sample (`0001.jpg`, `0001.cls`).

The library `webdataset` (an extra) says which files are one sample. The archives themselves are read here, by the
standard library, because that tells apart what it passes over: links, paths outside of the archive, and damage.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import PLAIN, Pictures
from dataprep.sources.source import Entry, Stream, as_label, reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from training.data.archives import LARGEST, outside
from training.data.labels import Label

SUFFIXES = (".tar", ".tar.gz", ".tgz")
Sample = dict[str, Any]  # the content of its files by extension, `__key__` and `__url__`


class WebDataset(Stream):
    """The samples of tar shards, packed or not, in the order of the shards (those of a folder by name).

    label: extension of the file that has the label, e.g. `cls` (a class number as text), `npy` (a vector), `json:KEY`
    (a field of a .json file: a number or a list); `auto` = `cls` if the first sample has it; `none`.
    """

    def __init__(self, paths: Sequence[Path], label: str = "auto") -> None:
        require(paths, "no shards named, expected tar files or folders of them")
        self.shards = [shard for path in paths for shard in _shards(path)]

        # A first pass counts the samples, whose number the progress bar and `--subset` need, and collects refusals.
        self.refused: list[str] = []
        with_class = ["cls" in sample for shard in self.shards for sample in _samples(shard, self.refused)]
        self.length = len(with_class)
        require(
            with_class,
            f"{self.shards[0]}: no image in {len(self.shards)} shards, expected files such as 0001.jpg",
        )
        self.label = label if label != "auto" else "cls" if with_class[0] else "none"

    def stream(self) -> Iterator[Entry]:
        for shard in self.shards:
            # The first pass has listed what is refused.
            for sample in _samples(shard, []):
                # Of several images in a sample the first one counts.
                extension = next(filter(_is_image, sample))
                name = f"{shard}: {sample['__key__']}"
                yield Entry(f"{name}.{extension}", sample[extension], _label(sample, self.label, name))


def _shards(path: Path) -> list[Path]:
    """Return the shards in a folder, or the file alone; raise UserError if there is none."""
    if path.is_file():
        return [path]

    shards = sorted(p for p in path.glob("*") if p.name.endswith(SUFFIXES))
    require(shards, f"{path}: no such file, or no *.tar in it, expected the shards of a WebDataset")
    return shards


def _samples(shard: Path, refused: list[str]) -> Iterator[Sample]:
    """Yield the samples of a shard that have an image, as far as the shard can be read.

    Append to `refused` the files that are not trusted, and damage; samples without an image are passed over. Raise
    UserError if nothing can be read.
    """
    webdataset = import_extra("webdataset.tariterators", "create_from_webdataset")

    # `webdataset` calls this for a second file of the same name in a sample.
    def skip_file(error: Exception) -> bool:
        refused.append(f"{shard}: {error.args[0]}")
        return True

    count = 0
    with reading(shard, "not a whole tar archive"):
        try:
            for sample in webdataset.group_by_keys(_files(shard, refused), handler=skip_file):
                if any(map(_is_image, sample)):
                    count += 1
                    yield sample
        except Exception as e:  # tarfile raises whatever a damaged archive leads it to
            # The samples before the damage are kept, but for one that was not complete.
            if not count:
                raise
            refused.append(f"{shard}: damaged after {count} samples, the rest of it is left out: {e!r:.200}")


def _files(shard: Path, refused: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the files of a shard, each as a record that `webdataset` can group.

    Raise tarfile.ReadError where the shard is damaged.
    """
    with tarfile.open(shard, "r|*") as tar:
        while member := tar.next():
            # Memory stays bounded: tarfile would keep every header, and reads a file as large as its header says.
            tar.members.clear()  # type: ignore[attr-defined]
            if member.size > LARGEST:
                raise tarfile.ReadError(f"{member.name}: {member.size} bytes, expected at most {LARGEST}")

            # Files that are not trusted are left out, and listed.
            reason = outside(member.name) or (None if member.isfile() or member.isdir() else "a link or device")
            if reason:
                refused.append(f"{shard}: {member.name}: {reason}")
            elif file := tar.extractfile(member):
                yield {"fname": member.name, "data": file.read(), "__url__": str(shard)}

        # tarfile mistakes a damaged header for the end. The real end is at the end of a block, and only zeros follow.
        if tar.fileobj.tell() % tarfile.BLOCKSIZE or tar.fileobj.read(tarfile.RECORDSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _is_image(extension: str) -> bool:
    """Return whether files with this extension, e.g. `jpg` or `left.png`, are images."""
    # Pillow knows the suffixes of its formats only after this.
    Image.init()
    return "." + extension.rpartition(".")[2] in Image.EXTENSION


def _label(sample: Sample, label: str, name: str) -> Label:
    """Return the label of a sample as the option `label` says; raise UserError if it is missing or not a label."""
    if label == "none":
        return None

    extension, _, field = label.partition(":")
    require(extension in sample, f"{name}: no .{extension} beside it, expected its label; or --label none")

    # Anything but these forms has to be a number as text: nothing is unpickled, whatever its extension.
    file = f"{name}.{extension}"
    with reading(Path(file), "not a label, expected a number or a list"):
        data = sample[extension]
        if extension == "npy":
            value = np.load(io.BytesIO(data), allow_pickle=False).tolist()
        else:
            value = json.loads(data)[field] if field else int(data)
    return as_label(value, f"{file}: not a label")


def create_from_webdataset(
    dataset_dir: Place,
    shards: tyro.conf.Positional[tuple[Path, ...]],
    *,
    label: str = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from the tar shards of a WebDataset, in their order; it needs the package webdataset.

    Args:
        dataset_dir: New folder for the dataset.
        shards: Shards (.tar, .tar.gz), or folders of them.
        label: Which file of a sample has its label: cls (a class number as text), npy (a vector), json:KEY (a field of
            the .json: a number or a list); auto = cls if the first sample has it; none.
    """
    source = WebDataset(shards, label)
    facts = {
        "command": "create_from_webdataset",
        "source": " ".join(map(str, shards)),
        **picture.facts(),
        "label": source.label,
    }
    build(dataset_dir, source, picture, output, facts)
