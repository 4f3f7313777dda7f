"""dataset_tool.py's commands for any collection of images: files, tar shards, Hugging Face datasets."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import Rules
from dataprep.sources.hugging_face import HuggingFace
from dataprep.sources.source import ImageFiles, open_files
from dataprep.sources.web_dataset import WebDataset

Place = tyro.conf.Positional[Path]
Pictures = Annotated[Rules, tyro.conf.OmitArgPrefixes]
PLAIN = Rules()


def _facts(command: str, source: object, rules: Rules) -> dict[str, Any]:
    scaled = {"fit": rules.fit, "filter": rules.filter} if rules.resize else {}
    kept = {"resize": rules.resize, **scaled, "wanted_channels": rules.channels, "background": rules.background}
    return {"command": command, "source": str(source), **kept}


def create_from_images(
    dataset_dir: Place,
    image_dir: Place,
    *,
    shuffle: Literal[0, 1] = 1,
    labels: Literal["auto", "folders", "none"] = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a folder (with its sub-folders) or zip of images, of any format that Pillow reads.

    Everything becomes 8 bit sRGB, upright. Without --resize all images must be squares of one power-of-two size.

    Args:
        dataset_dir: New folder for the dataset.
        image_dir: Folder or zip of images.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = in the order of names.
        labels: auto = from dataset.json among the images if there is one; folders = one class a sub-folder; none.
    """
    source = ImageFiles(open_files(image_dir), labels)
    facts = {**_facts("create_from_images", image_dir, picture), "shuffle": shuffle, "labels": labels}
    build(dataset_dir, source, picture, output, facts, order=shuffled(len(source)) if shuffle else None)


def create_from_webdataset(
    dataset_dir: Place,
    shards: tyro.conf.Positional[tuple[Path, ...]],
    *,
    label: str = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from the tar shards of a WebDataset, in their order.

    Args:
        dataset_dir: New folder for the dataset.
        shards: Shards (.tar, .tar.gz), or folders of them.
        label: What of a sample has its label: cls (a class number as text), npy (a vector), json:KEY (a field of the
            .json: a number or a list); auto = cls if there is one; none.
    """
    source = WebDataset(shards, label)
    facts = _facts("create_from_webdataset", " ".join(map(str, shards)), picture)
    build(dataset_dir, source, picture, output, {**facts, "label": source.label})


def create_from_hf(
    dataset_dir: Place,
    hf_dir: Place,
    *,
    split: str | None = None,
    image: str = "auto",
    label: str = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a Hugging Face image dataset on this machine, in its order; needs pyarrow.

    Args:
        dataset_dir: New folder for the dataset.
        hf_dir: Folder of .parquet files (as on the hub) or of `save_to_disk`, or one such file.
        split: e.g. train; needed if there are several.
        image: Column of images; auto = the first one.
        label: Column of labels: class numbers or lists of numbers; auto = the class label, or `label`; none.
    """
    source = HuggingFace(hf_dir, split, image, label)
    facts = {**_facts("create_from_hf", hf_dir, picture), "split": split, "image": source.image, "label": source.label}
    build(dataset_dir, source, picture, output, facts)


COMMANDS: dict[str, Callable[..., int | None]] = {
    "create_from_images": create_from_images,
    "create_from_webdataset": create_from_webdataset,
    "create_from_hf": create_from_hf,
}
