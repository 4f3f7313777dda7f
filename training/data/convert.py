"""dataset_tool.py convert: between TFRecords, image folders and the zips of StyleGAN2/3, EDM and R3GAN."""

import io
import json
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from dnnlib.distributed import cpu_count
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from dnnlib.images import to_pil
from dnnlib.launch import process_pool
from training.data.formats import open_dataset
from training.data.sampler import Dataset
from training.data.tfrecord import TFRecordWriter

Form = Literal["tfrecords", "folder", "zip"]
PIECE = 64  # images that one task of a worker encodes


def convert(
    src: tyro.conf.Positional[Path], dst: tyro.conf.Positional[Path], *, to: Form | None = None, workers: int = 0
) -> None:
    """Make a dataset of one form into another: same images in the same order, same labels.

    Args:
        src: Dataset: a folder of TFRecords, a folder of images, or a zip of images.
        dst: New dataset.
        to: tfrecords, folder (of PNGs) or zip (of PNGs, as StyleGAN2/3 have it). Default: zip if DST ends in .zip,
            otherwise tfrecords.
        workers: Processes that encode and decode; 0 = one a core. The result does not depend on it.
    """
    if workers < 0:
        raise UserError(f"--workers {workers}: expected >= 0")
    form = to or ("zip" if dst.suffix.lower() == ".zip" else "tfrecords")
    if dst.exists() and (not dst.is_dir() or form == "zip" or any(dst.iterdir())):
        raise UserError(f"{dst}: exists already, expected the name of a new dataset")
    dataset = open_dataset(src)
    if form == "tfrecords":
        _to_tfrecords(dataset, src, dst, workers or cpu_count())
    else:
        make_dir(dst.parent)
        write_images(dataset, dst, form, workers or cpu_count())
    print(f"{dst}: {len(dataset)} images of {dataset.spec.resolution}x{dataset.spec.resolution}, {form}")


def _to_tfrecords(dataset: Dataset, src: Path, dst: Path, workers: int) -> None:
    with TFRecordWriter(dst) as out:
        for images in _in_pieces(dataset, _decode, workers, str(dst)):
            for image in images:
                out.add(image)
        if dataset.spec.c_dim:
            out.labels(dataset.labels)
        out.describe({"command": "convert", "source": str(src), "num_images": len(dataset)})


def write_images(dataset: Dataset, dst: Path, form: Form, workers: int) -> None:
    """PNGs and, if there are labels, dataset.json. A folder has img00000000.png ..., as `extract` always wrote; a zip
    has thousands to a folder, 00000/img00000000.png, as StyleGAN2's. The same images give the same bytes."""
    if dataset.spec.channels not in (1, 3, 4):
        raise UserError(f"{dataset.name}: {dataset.spec.channels} channels, expected 1, 3 or 4: PNG holds no other")
    names = [f"img{i:08d}.png" if form == "folder" else f"{i // 1000:05d}/img{i:08d}.png" for i in range(len(dataset))]
    labels = list(zip(names, class_numbers(dataset.labels), strict=True)) if dataset.spec.c_dim else None
    pngs = (png for piece in _in_pieces(dataset, _encode, workers, str(dst)) for png in piece)
    facts = json.dumps({"labels": labels}).encode()
    with atomic(dst) as temporary:
        if form == "folder":
            temporary.mkdir()
            for name, png in zip(names, pngs, strict=True):
                (temporary / name).write_bytes(png)
            if labels:
                (temporary / "dataset.json").write_bytes(facts)
        else:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as z:
                for name, png in zip(names, pngs, strict=True):
                    z.writestr(zipfile.ZipInfo(name), png)
                z.writestr(zipfile.ZipInfo("dataset.json"), facts)


def class_numbers(labels: np.ndarray) -> list[Any]:
    """One-hot labels [N,c_dim] as numbers of classes, as StyleGAN2 has them, anything else as vectors; also if the last
    class never occurs, since numbers would not tell that there is one."""
    onehot = np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all() and labels[:, -1].any()
    return labels.argmax(1).tolist() if onehot else labels.tolist()  # type: ignore[no-any-return]


def _in_pieces(dataset: Dataset, task: Any, workers: int, title: str) -> Iterator[list[Any]]:
    """The results of `task` on runs of indices, in order, a bounded number ahead."""
    runs = deque(range(i, min(i + PIECE, len(dataset))) for i in range(0, len(dataset), PIECE))
    with (
        process_pool(workers, _setup, (dataset,)) as pool,
        tqdm(total=len(dataset), unit="img", desc=title) as bar,
    ):
        pending: deque[Any] = deque()
        try:
            while runs or pending:
                while runs and len(pending) < 3 * workers:
                    pending.append(pool.submit(task, runs.popleft()))
                results = pending.popleft().result()
                bar.update(len(results))
                yield results
        finally:
            pool.shutdown(cancel_futures=True)


_source: Dataset  # of a worker process


def _setup(dataset: Dataset) -> None:
    global _source
    _source = dataset


def _decode(indices: range) -> list[np.ndarray]:
    return [np.array(_source[i][0]) for i in indices]


def _encode(indices: range) -> list[bytes]:
    out = []
    for i in indices:
        buffer = io.BytesIO()
        to_pil(_source[i][0]).save(buffer, format="PNG")
        out.append(buffer.getvalue())
    return out
