"""The commands of dataset_tool.py."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from dnnlib import cli, distributed
from dnnlib.errors import UserError
from training.data import classic, inspection
from training.data.image_folder import Refused, find_images, folder_names, read_images
from training.data.robohash import CLASSES, characters
from training.data.tfrecord import TFRecordWriter
from training.networks.config import is_power_of_two


def _workers(workers: int) -> int:
    if workers < 0:
        raise UserError(f"--workers {workers}: expected >= 0")
    return workers or distributed.cpu_count()


def create_robohash(
    dataset_dir: tyro.conf.Positional[Path],
    *,
    resolution: int = 64,
    num_images: int = 4000,
    sets: tuple[int, ...] = (1, 2, 3, 4, 5),
    seed: int = 0,
    workers: int = 0,
) -> None:
    """Draw characters from the artwork of the robohash package, on white; no download.

    Args:
        dataset_dir: New folder for the dataset.
        resolution: Height and width in pixels: 32, 64, 128 or 256.
        num_images: Number of images.
        sets: Character sets: 1 robots, 2 monsters, 3 robot heads, 4 cats, 5 humans. Labels are one-hot over the five.
        seed: Another seed draws other characters.
        workers: Processes that decode artwork; 0 = one a core. The result does not depend on it.
    """
    if resolution not in (32, 64, 128, 256):
        raise UserError(f"--resolution {resolution}: expected 32, 64, 128 or 256")
    if num_images < 1:
        raise UserError(f"--num-images {num_images}: expected >= 1")
    if not sets or len(set(sets)) != len(sets) or not set(sets) <= {1, 2, 3, 4, 5}:
        raise UserError(f"--sets {' '.join(map(str, sets))}: expected some of 1 2 3 4 5, each once")
    if seed < 0:
        raise UserError(f"--seed {seed}: expected >= 0")
    sets = tuple(sorted(sets))
    with TFRecordWriter(dataset_dir) as out:
        classes = []
        drawn = characters(num_images, resolution, sets, seed, _workers(workers))
        for image, k in tqdm(drawn, total=num_images, unit="img", desc=str(dataset_dir)):
            out.add(image)
            classes.append(k)
        out.labels(np.eye(len(CLASSES), dtype=np.float32)[classes])
        out.describe(
            {
                "command": "create_robohash",
                "num_images": num_images,
                "resolution": resolution,
                "sets": sets,
                "seed": seed,
                "classes": CLASSES,
            }
        )
    print(f"{dataset_dir}: {num_images} images of {resolution}x{resolution}")


def create_from_images(
    dataset_dir: tyro.conf.Positional[Path],
    image_dir: tyro.conf.Positional[Path],
    *,
    resize: int | None = None,
    shuffle: Literal[0, 1] = 1,
    labels: Literal["auto", "folders", "none"] = "auto",
    channels: Literal[1, 3] | None = None,
    strict: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    workers: int = 0,
) -> None:
    """Make a dataset from a folder of images (with its sub-folders), of any format that Pillow reads.

    16-bit images are scaled to 8 bit, palettes looked up, alpha laid on white, EXIF rotation applied. Without --resize
    all images must be squares of one power-of-two size. Unreadable files are skipped and listed.

    Args:
        dataset_dir: New folder for the dataset.
        image_dir: Folder of images.
        resize: log2 of the resolution to crop (centre) and scale (Lanczos) to: 6 = 64x64, 8 = 256x256.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = in the order of names.
        labels: auto = from dataset.json in the folder if there is one; folders = one class a sub-folder; none.
        channels: 1 = gray, 3 = RGB; default: gray if all images are gray, an error if they are mixed.
        strict: Stop at the first unreadable file.
        workers: Processes that decode; 0 = one a core. The result does not depend on it.
    """
    if resize is not None and not 3 <= resize <= 14:
        raise UserError(f"--resize {resize}: expected the log2 of the resolution, 3 (8x8) to 14 (16384x16384)")
    files = find_images(image_dir, labels)
    if shuffle:
        order = np.arange(len(files))
        np.random.RandomState(123).shuffle(order)
        files = [files[i] for i in order]
    resolution = None if resize is None else 2**resize
    skipped: list[str] = []
    kept = []
    pictures = read_images(files, resolution, channels, _workers(workers))
    with TFRecordWriter(dataset_dir) as out, contextlib.closing(pictures):
        first = None
        for file, picture in tqdm(pictures, total=len(files), unit="img", desc=str(dataset_dir)):
            if isinstance(picture, Refused):
                if picture.readable:
                    expected = "a square with a power of two as side, or --resize LOG2"
                    raise UserError(f"{file.path}: {picture.reason}, expected {expected}")
                skipped.append(f"{file.path}: {picture.reason}")
                if strict:
                    raise UserError(skipped[-1])
                continue
            if first is None:
                first = file.path, picture.shape
                if not is_power_of_two(picture.shape[1]) or picture.shape[1] < 8:
                    raise UserError(f"{file.path}: {picture.shape[1]} pixels wide, expected at least 8")
            if picture.shape != first[1]:
                raise UserError(_mixed(file.path, picture.shape, *first))
            out.add(picture)
            kept.append(file)
        if not kept:
            raise UserError(f"{image_dir}: none of {len(files)} files is a readable image, e.g. {skipped[0]}")
        if kept[0].label is not None:
            out.labels(np.array([f.label for f in kept], np.float32))
        out.describe(
            {
                "command": "create_from_images",
                "source": str(image_dir),
                "num_images": len(kept),
                "resize": resize,
                "filter": None if resize is None else "centre crop, lanczos",
                "shuffle": shuffle,
                "channels": first[1][0],  # type: ignore[index]
                "labels": labels,
                "classes": folder_names(files, image_dir) if labels == "folders" else None,
                "skipped": skipped,
            }
        )
    print(f"{dataset_dir}: {out.count} images of {first[1][1]}x{first[1][2]}")  # type: ignore[index]
    if skipped:
        print(f"skipped {len(skipped)} of {len(files)} files:", *skipped, sep="\n  ", file=sys.stderr)


def _mixed(path: Path, found: Sequence[int], first: Path, expected: Sequence[int]) -> str:
    if found[0] != expected[0]:
        return (
            f"{path}: {found[0]} channels, expected {expected[0]} as in {first}; "
            f"convert all with --channels 3 or --channels 1"
        )
    return f"{path}: {found[1]}x{found[2]} pixels, expected {expected[1]}x{expected[2]} as in {first}, or --resize LOG2"


COMMANDS: dict[str, Callable[..., int | None]] = {
    "create_robohash": create_robohash,
    "create_from_images": create_from_images,
    **classic.COMMANDS,
    **inspection.COMMANDS,
}


def main() -> int | None:
    """Parse the command line and run the command."""
    return cli.run_command(COMMANDS, "Create datasets for training, and look at them.")
