"""Image files as a dataset, without conversion: a folder, or the zip that StyleGAN2/3, EDM and R3GAN use."""

import io
import threading
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import os_error
from training.data.image_folder import labels_from_json, to_8bit
from training.data.tfrecord import levels
from training.networks.config import ImageSpec, is_power_of_two

LARGEST = 2**28  # bytes of one image file


class Files(Protocol):
    """Named files."""

    path: Path
    names: list[str]

    def read(self, name: str) -> bytes: ...


class FolderFiles:
    """The files of a folder and below, by their relative paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as e:
            raise os_error(e, self.path / name, "read") from e


class ZipFiles:
    """The files of a zip archive; nothing is unpacked. Each thread of each process has a handle of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self.names = sorted(i.filename for i in self._zip().infolist() if not i.is_dir())

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def _zip(self) -> zipfile.ZipFile:
        if not hasattr(self._local, "zip"):
            try:
                self._local.zip = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, ValueError, NotImplementedError) as e:
                raise UserError(f"{self.path}: not a whole zip archive: {e}") from e
            except OSError as e:
                raise os_error(e, self.path, "read") from e
        return self._local.zip  # type: ignore[no-any-return]

    def read(self, name: str) -> bytes:
        try:
            if self._zip().getinfo(name).file_size > LARGEST:
                raise UserError(f"{self.path}: {name}: more than {LARGEST} bytes")
            return self._zip().read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError) as e:
            raise UserError(f"{self.path}: {name}: damaged: {e}") from e
        except OSError as e:
            raise os_error(e, self.path, "read") from e


class ImageDataset:
    """Images uint8 [C,R,R] and labels float32 [c_dim], by index in the order of file names; labels from `dataset.json`.

    All must be squares of one power-of-two size with the same number of channels. `resolution` picks a smaller level,
    the 2x2 means that a TFRecord dataset of the same images holds.
    """

    decodes = True  # reading takes time: worth worker processes

    def __init__(self, files: Files, resolution: int | None = None, use_labels: bool = True) -> None:
        Image.init()
        self.files, self.path = files, files.path
        self.names = [n for n in files.names if Path(n).suffix.lower() in Image.EXTENSION and _wanted(n)]
        if not self.names:
            raise UserError(f"{self.path}: no *.tfrecords and no image in it, expected a dataset")
        self.stored = self._decode(0).shape
        channels, height, width = self.stored
        if height != width or not is_power_of_two(height):
            raise UserError(
                f"{self.path}: {self.names[0]}: {width}x{height} pixels, expected a square with a power of two as side "
                "(dataset_tool.py create_from_images --resize makes such a dataset)"
            )
        if resolution is not None and not 8 <= resolution <= height:
            raise UserError(f"{self.path}: no images of {resolution}x{resolution}, expected 8 to {height}")
        self.labels = self._read_labels() if use_labels else np.zeros((len(self), 0), np.float32)
        self.spec = ImageSpec(resolution=resolution or height, channels=channels, c_dim=self.labels.shape[1])

    @property
    def name(self) -> str:
        path = self.path.resolve()
        return path.name if path.is_dir() else path.stem

    def _read_labels(self) -> np.ndarray:
        if "dataset.json" not in self.files.names:
            return np.zeros((len(self), 0), np.float32)
        labels = labels_from_json(self.files.read("dataset.json"), self.names, f"{self.path}: dataset.json")
        return np.zeros((len(self), 0), np.float32) if labels is None else np.array(labels, np.float32)

    def _decode(self, i: int) -> np.ndarray:
        data = self.files.read(self.names[i])
        try:
            bomb = Image.DecompressionBombWarning  # beyond twice as many pixels it is an error
            with warnings.catch_warnings(action="ignore", category=bomb), Image.open(io.BytesIO(data)) as im:
                x = np.asarray(to_8bit(im))
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            raise UserError(f"{self.path}: {self.names[i]}: not a readable image: {e}") from e
        return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)

    def verify(self, limit: int) -> None:
        """Nothing: images are checked as they are read."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        image = self._decode(i)
        if image.shape != self.stored:
            found, expected = ("x".join(map(str, s)) for s in (image.shape, self.stored))
            raise UserError(f"{self.path}: {self.names[i]}: {found}, expected {expected} as {self.names[0]}")
        return next(x for x in levels(image) if x.shape[1] == self.spec.resolution), self.labels[i]


def _wanted(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
