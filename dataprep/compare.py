"""dataset_tool.py compare: the differences of two datasets."""

from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from tqdm import tqdm

from training.data.dataset import open_dataset

Folder = tyro.conf.Positional[Path]
SHOWN = 10  # differences that compare prints of each kind


def compare(tfrecord_dir_a: Folder, tfrecord_dir_b: Folder, *, ignore_labels: Literal[0, 1] = 0) -> int:
    """Compare two datasets image by image and label by label; exit status 1 if they differ.

    Args:
        tfrecord_dir_a: First dataset, of any form.
        tfrecord_dir_b: Second dataset, of any form.
        ignore_labels: 1 = compare images only.
    """
    a, b = (open_dataset(path, use_labels=not ignore_labels) for path in (tfrecord_dir_a, tfrecord_dir_b))

    same = True
    shapes = ([d.spec.channels, d.spec.resolution, d.spec.resolution] for d in (a, b))
    for what, x, y in (("images", len(a), len(b)), ("pixels", *shapes)):
        if x != y:
            print(f"{what}: {x} and {y}")
            same = False
    if a.labels.shape[1] != b.labels.shape[1]:
        print(f"label values: {a.labels.shape[1]} and {b.labels.shape[1]}")
        same = False

    # What both have is compared one by one.
    n = min(len(a), len(b))
    images = [i for i in tqdm(range(n), unit="img") if not np.array_equal(a[i][0], b[i][0])]
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
