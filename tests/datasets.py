"""Datasets made from arrays."""

import numpy as np

from dataprep.build import Output, build
from dataprep.sources.source import Items
from training.data.labels import no_labels


def write_dataset(path, images, labels=None, **options):
    """uint8 [N,C,R,R] and float32 [N,c_dim] as a TFRecord dataset."""
    labels = no_labels(len(images)) if labels is None else np.asarray(labels, np.float32)
    build(path, Items(len(images), images.__getitem__, labels), None, Output(**options), {})
    return path
