"""Datasets made from arrays."""

import json

import numpy as np
from PIL import Image

from dataprep.build import Output, build
from dataprep.sources.source import Items
from training.data.labels import no_labels


def write_dataset(path, images, labels=None, **options):
    """uint8 [N,C,H,W] and float32 [N,c_dim] as a TFRecord dataset."""
    labels = no_labels(len(images)) if labels is None else np.asarray(labels, np.float32)
    build(path, Items(len(images), images.__getitem__, labels), None, Output(**options), {})
    return path


def write_images(folder, *images, labels=None):
    """Images [H,W] or [H,W,3] as 0.png, 1.png ... in a folder, and their labels as dataset.json."""
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    if labels is not None:
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder
