"""Images for collections, and what a dataset made of them has to hold."""

import io
import tarfile

import numpy as np
from PIL import Image

from training.data.tfrecord import TFRecordDataset, halvings


def order(n):
    """The order of the original: RandomState(123)."""
    indices = np.arange(n)
    np.random.RandomState(123).shuffle(indices)
    return indices


def check_dataset(folder, images, labels=None, classes=0):
    """Every level of every record, and the labels, are these."""
    dataset = TFRecordDataset(folder)
    assert len(dataset) == len(images) and dataset.labels.shape[1] == classes
    for r, file in dataset.files_by_resolution.items():
        for i, image in enumerate(images):
            expected = next(x for x in halvings(image) if x.shape[1] == r)
            np.testing.assert_array_equal(file[i], expected)
    if classes:
        np.testing.assert_array_equal(dataset.labels, np.eye(classes)[labels])


def image(i, size=16):
    return np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(i, size=16):
    buffer = io.BytesIO()
    Image.fromarray(image(i, size)).save(buffer, format="PNG")
    return buffer.getvalue()


def check_images(folder, indices, expected=None):
    """The dataset has these images in this order, and these labels."""
    data = TFRecordDataset(folder)
    assert len(data) == len(indices)
    for k, i in enumerate(indices):
        np.testing.assert_array_equal(data[k][0], image(i).transpose(2, 0, 1))
    np.testing.assert_array_equal(data.labels, np.zeros((len(data), 0)) if expected is None else expected)


def tar(path, *members):
    with tarfile.open(path, "w") as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = data
                t.addfile(info)
    return path
