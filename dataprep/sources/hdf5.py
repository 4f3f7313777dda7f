"""The legacy HDF5 archives of Progressive GAN, read by h5py (an extra)."""

from pathlib import Path
from typing import Literal

import numpy as np

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.sources.source import Items, reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from training.spec import size_error


def create_from_hdf5(
    dataset_dir: Place,
    hdf5_filename: Place,
    *,
    shuffle: Literal[0, 1] = 1,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a legacy HDF5 archive of Progressive GAN.

    Labels come from NAME-labels.npy beside the archive if that file exists. It needs the package h5py.

    Args:
        dataset_dir: New folder for the dataset.
        hdf5_filename: Archive whose keys data* hold uint8 [N,C,H,W]; the largest resolution is taken.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = as in the archive.
    """
    h5py = import_extra("h5py", "create_from_hdf5")
    require(hdf5_filename.is_file(), f"{hdf5_filename}: no such file, expected an HDF5 archive")

    with reading(hdf5_filename, "not a readable HDF5 archive"), h5py.File(hdf5_filename, "r") as archive:
        # The archive has every resolution; smaller ones are computed anew from the largest.
        stored = [v for k, v in archive.items() if k.startswith("data") and getattr(v, "ndim", 0) == 4]
        require(stored, f"{hdf5_filename}: no data* of four dimensions in it, found {list(archive)[:5]}")
        data = max(stored, key=lambda images: int(images.shape[3]))
        n, _, height, width = data.shape
        found = f"{hdf5_filename}: {data.name} is {data.dtype} {list(data.shape)}"
        require(data.dtype == np.uint8 and n, f"{found}, expected uint8 [N,C,H,W]")
        problem = size_error(height, width)
        require(problem is None, f"{found}: {problem}")

        # Images are read from the open archive while the dataset is made.
        labels = _labels(hdf5_filename.with_name(f"{hdf5_filename.stem}-labels.npy"), n)
        build(
            dataset_dir,
            Items(n, data.__getitem__, labels),
            None,
            output,
            {"command": "create_from_hdf5", "source": str(hdf5_filename), "shuffle": shuffle},
            order=shuffled(n) if shuffle else None,
        )


def _labels(path: Path, n: int) -> np.ndarray | None:
    """Return a table of labels float32 [n,c_dim], None without a file."""
    if not path.is_file():
        return None

    # A pickle inside the file would run code: it is refused.
    with reading(path, "not a readable array"):
        labels = np.load(path, allow_pickle=False)

    # Numbers of any type become float32.
    require(
        labels.ndim == 2 and len(labels) == n and labels.dtype.kind in "fiub",
        f"{path}: {labels.dtype} {list(labels.shape)}, expected numbers [{n},classes]",
    )
    return labels.astype(np.float32)  # type: ignore[no-any-return]
