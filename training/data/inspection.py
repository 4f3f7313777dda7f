"""dataset_tool.py's commands that look at datasets: display, extract, compare."""

import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from dnnlib.distributed import cpu_count
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from dnnlib.images import save_png, sheet, to_pil
from dnnlib.launch import process_pool
from training.data.tfrecord import TFRecordDataset

Folder = tyro.conf.Positional[Path]
SHOWN = 10  # differences that compare prints of each kind


def display(
    tfrecord_dir: Folder,
    *,
    output: Path | None = None,
    first: int = 0,
    open: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Write a contact sheet of a dataset's images.

    Args:
        tfrecord_dir: Dataset folder.
        output: PNG file; default: NAME.png in the current folder.
        first: Index of the first image shown.
        open: Show it with the system's viewer.
    """
    dataset = TFRecordDataset(tfrecord_dir)
    if not 0 <= first < len(dataset):
        raise UserError(f"--first {first}: expected 0 to {len(dataset) - 1}")
    path = output or Path(f"{dataset.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: expected a file name that ends in .png")
    r = dataset.spec.resolution
    columns, rows = max(3, min(16, 1920 // r)), max(2, min(9, 1080 // r))
    images = np.stack([dataset[i][0] for i in range(first, min(first + columns * rows, len(dataset)))])
    make_dir(path.parent)
    save_png(sheet(images, columns), path)
    print(f"{path}: images {first} to {first + len(images) - 1} of {len(dataset)}, {r}x{r}")
    if open:
        webbrowser.open(path.resolve().as_uri())


def extract(tfrecord_dir: Folder, output_dir: Folder, *, workers: int = 0) -> None:
    """Write every image of a dataset as img00000000.png ..., and its labels as dataset.json.

    Args:
        tfrecord_dir: Dataset folder.
        output_dir: New folder for the images.
        workers: Processes that encode; 0 = one a core. The result does not depend on it.
    """
    dataset = TFRecordDataset(tfrecord_dir)
    if workers < 0:
        raise UserError(f"--workers {workers}: expected >= 0")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"{output_dir}: exists already, expected a new or empty folder")
    make_dir(output_dir.parent)
    if dataset.spec.channels not in (1, 3, 4):
        raise UserError(f"{tfrecord_dir}: {dataset.spec.channels} channels, expected 1, 3 or 4: PNG holds no other")
    names = [f"img{i:08d}.png" for i in range(len(dataset))]
    with atomic(output_dir) as folder:
        folder.mkdir()
        pieces = [range(i, min(i + 64, len(dataset))) for i in range(0, len(dataset), 64)]
        with process_pool(workers or cpu_count()) as pool, tqdm(total=len(dataset), unit="img") as bar:
            jobs = [pool.submit(_extract, dataset, piece, folder) for piece in pieces]
            for job, piece in zip(jobs, pieces, strict=True):
                job.result()
                bar.update(len(piece))
        if dataset.labels.shape[1]:
            labels = list(zip(names, _labels(dataset.labels), strict=True))
            (folder / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    print(f"{output_dir}: {len(dataset)} images")


def _extract(dataset: TFRecordDataset, indices: range, folder: Path) -> None:
    for i in indices:
        to_pil(dataset[i][0]).save(folder / f"img{i:08d}.png")


def _labels(labels: np.ndarray) -> list[Any]:
    """One-hot labels [N,c_dim] as numbers of classes, as StyleGAN2 has them, anything else as vectors; also if the last
    class never occurs, since numbers would not tell that there is one."""
    onehot = np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all() and labels[:, -1].any()
    return labels.argmax(1).tolist() if onehot else labels.tolist()  # type: ignore[no-any-return]


def compare(tfrecord_dir_a: Folder, tfrecord_dir_b: Folder, *, ignore_labels: Literal[0, 1] = 0) -> int:
    """Compare two datasets image by image and label by label; exit status 1 if they differ.

    Args:
        tfrecord_dir_a: First dataset folder.
        tfrecord_dir_b: Second dataset folder.
        ignore_labels: 1 = compare images only.
    """
    a, b = (TFRecordDataset(path, use_labels=not ignore_labels) for path in (tfrecord_dir_a, tfrecord_dir_b))
    same = True
    for what, x, y in (("images", len(a), len(b)), ("pixels", a.file.shape, b.file.shape)):
        if x != y:
            print(f"{what}: {x} and {y}")
            same = False
    if a.labels.shape[1] != b.labels.shape[1]:
        print(f"label values: {a.labels.shape[1]} and {b.labels.shape[1]}")
        same = False
    n = min(len(a), len(b))
    images = [i for i in tqdm(range(n), unit="img") if not np.array_equal(a.file[i], b.file[i])]
    labels = [i for i in range(n) if not np.array_equal(a.labels[i], b.labels[i])]
    for what, found in (("image", images), ("label", labels)):
        for i in found[:SHOWN]:
            print(f"{what} {i} differs")
        if len(found) > SHOWN:
            print(f"... and {len(found) - SHOWN} more")
    print(f"identical images: {n - len(images)} of {n}")
    if not ignore_labels:
        print(f"identical labels: {n - len(labels)} of {n}")
    return 0 if same and not images and not labels else 1


COMMANDS: dict[str, Callable[..., int | None]] = {"display": display, "extract": extract, "compare": compare}
