"""MNIST's idx files (LeCun et al.): a big-endian header of type and sizes, then bytes."""

import gzip
import math
from pathlib import Path

import numpy as np

from dataprep.build import DEFAULT, Classified, Options, build, build_classes
from dataprep.sources.source import Items, Split, reading, require
from dnnlib.cli import Place
from dnnlib.errors import UserError

LARGEST = 2**30  # bytes of a file that are read; all variants of MNIST have less


def find(folder: Path, name: str) -> Path:
    """Return `folder/name` or `folder/name.gz`, whichever exists; raise UserError if neither does."""
    # Downloads are packed; many programs unpack them.
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder}: no {name} or {name}.gz in it, expected the files of MNIST")


def read_idx(path: Path) -> np.ndarray:
    """Return the bytes of a file, packed by gzip or not, as uint8 of the shape that its header gives.

    Raise UserError if the file is damaged or of another kind.
    """
    with reading(path, "damaged or truncated"):
        # The content tells whether a file is packed, not its name.
        with open(path, "rb") as f:
            packed = f.read(2) == b"\x1f\x8b"  # how gzip files begin
        with gzip.open(path) if packed else open(path, "rb") as f:
            data = f.read(LARGEST)

    # Bytes 0 to 2 give the type (8: unsigned bytes), byte 3 the number of dimensions.
    require(
        data[:3] == b"\0\0\x08" and b"\1" <= data[3:4] <= b"\4",
        f"{path}: begins with {data[:4].hex()}, expected 000008 and the number of dimensions (idx)",
    )

    # The size of each dimension, and then as many bytes as they make.
    start = 4 + 4 * data[3]
    require(len(data) >= start, f"{path}: truncated within its header")
    shape = np.frombuffer(data[4:start], ">u4").tolist()
    size = len(data) - start
    require(size == math.prod(shape), f"{path}: {size} bytes after the header, expected {math.prod(shape)} for {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def load_mnist(folder: Path, split: Split = "train") -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 [N,32,32], with two rows and columns of zeros added on each side, and digits [N].

    Raises UserError if files are missing or damaged.
    """
    begin = "train" if split == "train" else "t10k"
    image_file = find(folder, f"{begin}-images-idx3-ubyte")
    images = read_idx(image_file)
    require(images.shape[1:] == (28, 28), f"{image_file}: {list(images.shape)}, expected [N,28,28]")

    label_file = find(folder, f"{begin}-labels-idx1-ubyte")
    labels = read_idx(label_file)
    require(
        labels.shape == images.shape[:1],
        f"{label_file}: {list(labels.shape)}, expected [{len(images)}] as in {image_file.name}",
    )
    require(labels.max(initial=0) <= 9, f"{label_file}: label {labels.max(initial=0)}, expected digits")

    # As in the original, 28 pixels become 32.
    return np.pad(images, [(0, 0), (2, 2), (2, 2)]), labels


def create_mnist(dataset_dir: Place, mnist_dir: Place, *, split: Split = "train", output: Options = DEFAULT) -> None:
    """Make a dataset from MNIST: handwritten digits, 32x32 gray (28x28 with a border), in ten classes.

    Args:
        dataset_dir: New folder for the dataset.
        mnist_dir: Folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, packed (.gz) or not.
        split: The 60,000 training images, or the 10,000 test images (t10k-...).
    """
    images, labels = load_mnist(mnist_dir, split)
    data = Classified(images[:, None], labels, list("0123456789"))
    build_classes(dataset_dir, data, output, "create_mnist", mnist_dir, split)


def create_mnistrgb(
    dataset_dir: Place,
    mnist_dir: Place,
    *,
    num_images: int = 1000000,
    random_seed: int = 123,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset of "stacked MNIST": three random digits as the colour channels of 32x32 images, without labels.

    The thousand combinations are a common test of how many modes a GAN learns.

    Args:
        dataset_dir: New folder for the dataset.
        mnist_dir: Folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, packed (.gz) or not.
        num_images: Number of images to make.
        random_seed: Seed of the choice.
    """
    require(num_images >= 1, f"--num-images {num_images}: expected >= 1")
    require(0 <= random_seed < 2**32, f"--random-seed {random_seed}: expected 0 to 2^32 - 1")

    # The original drew three digits an image from one RandomState; a single draw gives the same numbers.
    digits, _ = load_mnist(mnist_dir)
    choice = np.random.RandomState(random_seed).randint(len(digits), size=[num_images, 3])
    build(
        dataset_dir,
        Items(num_images, lambda i: digits[choice[i]]),
        None,
        output,
        {"command": "create_mnistrgb", "source": str(mnist_dir), "random_seed": random_seed},
    )
