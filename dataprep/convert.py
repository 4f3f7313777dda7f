"""dataset_tool.py convert and extract: between TFRecords, image folders and the zips of StyleGAN2/3, EDM and R3GAN."""

from dataclasses import replace
from functools import partial

import numpy as np

from dataprep.build import DEFAULT, Options, build, form_of
from dataprep.rules import Picture
from dataprep.sources.source import Items
from dnnlib.cli import Place
from training.data.dataset import Dataset, class_names, open_dataset


def _picture(dataset: Dataset, i: int) -> Picture:
    """Return image i of a dataset, in a worker process."""
    return Picture(np.asarray(dataset[i][0]))


def convert(src: Place, dst: Place, *, output: Options = DEFAULT) -> None:
    """Convert a dataset from one form to another, with the same images in the same order and the same labels.

    Args:
        src: Dataset: a folder of TFRecords, a folder of images, or a zip of images.
        dst: New dataset to write.
    """
    dataset = open_dataset(src)

    # Worker processes get the dataset once, and then only the numbers of its images.
    items = Items(len(dataset), int, labels=dataset.labels, class_names=class_names(src))
    facts = {"command": "convert", "source": str(src)}
    build(dst, items, partial(_picture, dataset), output, facts)


def extract(tfrecord_dir: Place, output_dir: Place, *, output: Options = DEFAULT) -> None:
    """Write every image of a dataset as img00000000.png and so on, and its labels as dataset.json.

    Images of more than four channels become arrays (.npy).

    Args:
        tfrecord_dir: Dataset folder, or a zip of images.
        output_dir: New folder for the images, or the name of a zip.
    """
    # The command and its arguments are the original's.
    convert(tfrecord_dir, output_dir, output=replace(output, to=form_of(output_dir, output, other="folder")))
