"""dataset_tool.py compare: the differences of two datasets."""

from typing import Literal

import numpy as np
from tqdm import tqdm

from dnnlib.cli import Place
from training.data.dataset import open_dataset

SHOWN = 10  # differences of each kind that are printed


def compare(tfrecord_dir_a: Place, tfrecord_dir_b: Place, *, ignore_labels: Literal[0, 1] = 0) -> int:
    """Compare two datasets image by image and label by label; exit status 1 if they differ.

    Args:
        tfrecord_dir_a: First dataset, of any form.
        tfrecord_dir_b: Second dataset, of any form.
        ignore_labels: 1 = compare images only.
    """
    a, b = (open_dataset(path, use_labels=not ignore_labels) for path in (tfrecord_dir_a, tfrecord_dir_b))

    # Numbers and shapes.
    properties = {
        "images": (len(a), len(b)),
        "pixels": (list(a.spec.shape), list(b.spec.shape)),
        "label values": (a.labels.shape[1], b.labels.shape[1]),
    }
    differing = {name: values for name, values in properties.items() if values[0] != values[1]}
    for name, (x, y) in differing.items():
        print(f"{name}: {x} and {y}")

    # What both have is compared one by one.
    n = min(len(a), len(b))
    images = [i for i in tqdm(range(n), unit="img") if not np.array_equal(a[i][0], b[i][0])]
    labels = [i for i in range(n) if not np.array_equal(a.labels[i], b.labels[i])]
    for kind, indices in (("image", images), ("label", labels)):
        for i in indices[:SHOWN]:
            print(f"{kind} {i} differs")
        if len(indices) > SHOWN:
            print(f"... and {len(indices) - SHOWN} more")

    # The lines that the original prints.
    print(f"identical images: {n - len(images)} of {n}")
    if not ignore_labels:
        print(f"identical labels: {n - len(labels)} of {n}")
    return 1 if differing or images or labels else 0
