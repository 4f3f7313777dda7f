"""dataset_tool.py's commands for the datasets that the original knew: same names, arguments, order and pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image

from dataprep.build import DEFAULT, Options, Output, build, shuffled
from dataprep.rules import Picture, Refused
from dataprep.sources import cifar, lsun
from dataprep.sources.mnist import load_mnist
from dataprep.sources.source import ImageFiles, Items, digest, open_files, stamp
from dataprep.sources.svhn import load_svhn
from dnnlib.errors import UserError
from training.data.archives import image_names
from training.data.decode import decoding_error
from training.data.labels import OneHot
from training.spec import is_power_of_two

Folder = tyro.conf.Positional[Path]
CELEBA_IMAGES = 202599


def _build_classes(
    dataset_dir: Path, images: np.ndarray, labels: np.ndarray, classes: int, output: Output, command: str, source: Path
) -> None:
    items = Items(len(images), images.__getitem__, OneHot(labels, classes), digest([images.tobytes()]))
    facts = {"command": command, "source": str(source), "shuffle": 1}
    build(dataset_dir, items, None, output, facts, order=shuffled(len(images)))


def create_mnist(dataset_dir: Folder, mnist_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Handwritten digits, 32x32 gray (28x28 with a border), labels one-hot over ten.

    Args:
        dataset_dir: New folder for the dataset.
        mnist_dir: Folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, packed (.gz) or not.
    """
    images, labels = load_mnist(mnist_dir)
    _build_classes(dataset_dir, images[:, None], labels, 10, output, "create_mnist", mnist_dir)


def create_mnistrgb(
    dataset_dir: Folder,
    mnist_dir: Folder,
    *,
    num_images: int = 1000000,
    random_seed: int = 123,
    output: Options = DEFAULT,
) -> None:
    """Three random digits as the colour channels of 32x32 images ("stacked MNIST": 1000 modes), no labels.

    Args:
        dataset_dir: New folder for the dataset.
        mnist_dir: Folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, packed (.gz) or not.
        num_images: Number of images to make.
        random_seed: Seed of the choice.
    """
    if num_images < 1:
        raise UserError(f"--num-images {num_images}: expected >= 1")
    if not 0 <= random_seed < 2**32:
        raise UserError(f"--random-seed {random_seed}: expected 0 to 2^32 - 1")
    digits, _ = load_mnist(mnist_dir)
    choice = np.random.RandomState(random_seed).randint(len(digits), size=[num_images, 3])
    facts = {"command": "create_mnistrgb", "source": str(mnist_dir), "random_seed": random_seed}
    items = Items(num_images, lambda i: digits[choice[i]], mark=digest([digits.tobytes()]))
    build(dataset_dir, items, None, output, facts)


def create_cifar10(dataset_dir: Folder, cifar10_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Photographs of ten classes, 32x32 RGB, the 50,000 of the training set.

    Args:
        dataset_dir: New folder for the dataset.
        cifar10_dir: The `python version`: cifar-10-python.tar.gz or the folder that it unpacks to.
    """
    _build_classes(dataset_dir, *cifar.load_cifar10(cifar10_dir), 10, output, "create_cifar10", cifar10_dir)


def create_cifar100(dataset_dir: Folder, cifar100_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Photographs of a hundred classes, 32x32 RGB, the 50,000 of the training set.

    Args:
        dataset_dir: New folder for the dataset.
        cifar100_dir: The `python version`: cifar-100-python.tar.gz or the folder that it unpacks to.
    """
    _build_classes(dataset_dir, *cifar.load_cifar100(cifar100_dir), 100, output, "create_cifar100", cifar100_dir)


def create_svhn(dataset_dir: Folder, svhn_dir: Folder, *, output: Options = DEFAULT) -> None:
    """House numbers, single digits, 32x32 RGB, labels one-hot over ten; needs scipy.

    Args:
        dataset_dir: New folder for the dataset.
        svhn_dir: train_32x32.mat or the folder that it is in.
    """
    _build_classes(dataset_dir, *load_svhn(svhn_dir), 10, output, "create_svhn", svhn_dir)


def create_lsun(
    dataset_dir: Folder,
    lmdb_dir: Folder,
    *,
    resolution: int = 256,
    output: Options = DEFAULT,
) -> None:
    """One category of LSUN, centre crops scaled by Lanczos, in the order of the database.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. church_outdoor_train_lmdb.
        resolution: Height and width in pixels.
    """
    if not is_power_of_two(resolution) or not 8 <= resolution <= 2**14:
        raise UserError(f"--resolution {resolution}: expected a power of two, 8 to 16384")
    facts = {"command": "create_lsun", "source": str(lmdb_dir), "resolution": resolution, "filter": "lanczos"}
    build(dataset_dir, lsun.LSUN(lmdb_dir), partial(lsun.square, resolution=resolution), output, facts)


def create_lsun_wide(
    dataset_dir: Folder,
    lmdb_dir: Folder,
    *,
    width: int = 512,
    height: int = 384,
    output: Options = DEFAULT,
) -> None:
    """One category of LSUN at another aspect ratio, on black squares, without images that are too small.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. car_lmdb.
        width: Width in pixels, a power of two; also the height of the square.
        height: Height of the picture in it.
    """
    if not is_power_of_two(width) or not 8 <= width <= 2**14:
        raise UserError(f"--width {width}: expected a power of two, 8 to 16384")
    if not 1 <= height <= width:
        raise UserError(f"--height {height}: expected 1 to {width}")
    facts = {"command": "create_lsun_wide", "source": str(lmdb_dir), "width": width, "height": height}
    build(dataset_dir, lsun.LSUN(lmdb_dir), partial(lsun.wide, width=width, height=height), output, facts)


@dataclass(frozen=True)
class CelebACrop:
    """The 128x128 pixels around a point of an aligned face."""

    cx: int
    cy: int

    def __call__(self, path: Path) -> Picture | Refused:
        try:
            with Image.open(path) as im:
                x = np.asarray(im.convert("RGB"))
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            return Refused(decoding_error(e, path))
        if x.shape != (218, 178, 3):
            return Refused(f"{x.shape[1]}x{x.shape[0]} pixels, expected 178x218")
        return Picture(x[self.cy - 64 : self.cy + 64, self.cx - 64 : self.cx + 64].transpose(2, 0, 1))


def create_celeba(
    dataset_dir: Folder,
    celeba_dir: Folder,
    *,
    cx: int = 89,
    cy: int = 121,
    allow_missing: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    output: Options = DEFAULT,
) -> None:
    """Aligned faces of celebrities, the 128x128 pixels around a point of each 178x218 image, no labels.

    Args:
        dataset_dir: New folder for the dataset.
        celeba_dir: Folder with img_align_celeba_png/*.png or img_align_celeba/*.jpg.
        cx: Column of the centre.
        cy: Row of the centre.
        allow_missing: Take any number of images, not only all 202,599.
    """
    if not (64 <= cx <= 178 - 64 and 64 <= cy <= 218 - 64):
        raise UserError(f"--cx {cx} --cy {cy}: expected 64 to 114 and 64 to 154")
    folders = [celeba_dir / "img_align_celeba_png", celeba_dir / "img_align_celeba"]
    found = [f for f in folders if f.is_dir() and image_names(open_files(f))]
    if not found:
        raise UserError(f"{celeba_dir}: no img_align_celeba_png/*.png or img_align_celeba/*.jpg in it")
    source = ImageFiles(open_files(found[0]), "none")
    if len(source) != CELEBA_IMAGES and not allow_missing:
        raise UserError(f"{found[0]}: {len(source)} images, expected {CELEBA_IMAGES}, or --allow-missing")
    facts = {"command": "create_celeba", "source": str(celeba_dir), "cx": cx, "cy": cy, "shuffle": 1}
    build(dataset_dir, source, CelebACrop(cx, cy), output, facts, order=shuffled(len(source)))


def create_from_hdf5(
    dataset_dir: Folder,
    hdf5_filename: Folder,
    *,
    shuffle: Literal[0, 1] = 1,
    output: Options = DEFAULT,
) -> None:
    """The legacy HDF5 archives of Progressive GAN, with labels from NAME-labels.npy beside it if there; needs h5py.

    Args:
        dataset_dir: New folder for the dataset.
        hdf5_filename: Archive whose keys data* hold uint8 [N,C,R,R]; the largest counts.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = as in the archive.
    """
    try:
        import h5py
    except ImportError as e:
        raise UserError("create_from_hdf5: needs h5py: pip install h5py") from e
    if not hdf5_filename.is_file():
        raise UserError(f"{hdf5_filename}: no such file, expected an HDF5 archive")
    try:
        with h5py.File(hdf5_filename, "r") as archive:
            levels = [v for k, v in archive.items() if k.startswith("data") and getattr(v, "ndim", 0) == 4]
            if not levels:
                raise UserError(f"{hdf5_filename}: no data* of four dimensions in it, found {list(archive)[:5]}")
            data = max(levels, key=lambda level: int(level.shape[3]))
            n, _, height, width = data.shape
            if data.dtype != np.uint8 or height != width or not is_power_of_two(height) or height < 8 or not n:
                raise UserError(
                    f"{hdf5_filename}: {data.name} is {data.dtype} {list(data.shape)}, expected uint8 [N,C,R,R]"
                )
            labels = _hdf5_labels(hdf5_filename.with_name(f"{hdf5_filename.stem}-labels.npy"), n)
            facts = {"command": "create_from_hdf5", "source": str(hdf5_filename), "shuffle": shuffle}
            items = Items(n, partial(_hdf5_image, hdf5_filename, data), labels, digest([stamp(hdf5_filename)]))
            build(dataset_dir, items, None, output, facts, order=shuffled(n) if shuffle else None)
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as e:
        raise UserError(f"{hdf5_filename}: not a readable HDF5 archive: {e}") from e


def _hdf5_image(path: Path, data: Any, i: int) -> np.ndarray:
    try:
        return data[i]  # type: ignore[no-any-return]
    except (OSError, RuntimeError, ValueError) as e:
        raise UserError(f"{path}: image {i}: damaged: {e}") from e


def _hdf5_labels(path: Path, n: int) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        labels = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        raise UserError(f"{path}: not a readable array: {e}") from e
    if labels.ndim != 2 or len(labels) != n or labels.dtype.kind not in "fiub":
        raise UserError(f"{path}: {labels.dtype} {list(labels.shape)}, expected numbers [{n},classes]")
    return labels.astype(np.float32)


COMMANDS: dict[str, Callable[..., int | None]] = {
    "create_mnist": create_mnist,
    "create_mnistrgb": create_mnistrgb,
    "create_cifar10": create_cifar10,
    "create_cifar100": create_cifar100,
    "create_svhn": create_svhn,
    "create_lsun": create_lsun,
    "create_lsun_wide": create_lsun_wide,
    "create_celeba": create_celeba,
    "create_from_hdf5": create_from_hdf5,
}
