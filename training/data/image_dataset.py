"""Image files as a dataset, without conversion: a folder, or the zip that StyleGAN2/3, EDM and R3GAN use."""

import hashlib

import numpy as np

from dnnlib.errors import UserError
from training.data.archives import Files, image_names, label_file
from training.data.decode import decode, decoding_error, planes
from training.data.labels import LabelTable, label_bytes, labels_from_json, no_labels
from training.data.tfrecord import halvings
from training.spec import ImageSpec, is_power_of_two

DAMAGED_AT_ONCE = 100  # images that may be damaged at the start of a dataset before it counts as none


class ImageDataset:
    """Images uint8 [C,R,R] and labels float32 [c_dim], by index in the order of file names; labels from `dataset.json`.

    All must be squares of one power-of-two size with the same number of channels. `resolution` picks a smaller one,
    the 2x2 means that a TFRecord dataset of the same images holds.
    """

    decodes = True  # reading takes time: worth worker processes

    def __init__(self, files: Files, resolution: int | None = None, use_labels: bool = True) -> None:
        self.files = files
        self.path = files.path
        self.name = self.path.resolve().name if self.path.is_dir() else self.path.resolve().stem
        self.names = image_names(files)
        if not self.names:
            raise UserError(f"{self.path}: no *.tfrecords and no image in it, expected a dataset")

        # The first image that can be read stands for all; the others are compared with it when they are read.
        self.stored, self.first = self._first()
        channels, height, width = self.stored
        if height != width or not is_power_of_two(height):
            raise UserError(
                f"{self.path}: {self.first}: {width}x{height} pixels, expected a square with a power of two as side "
                "(dataset_tool.py create_from_images --resize makes such a dataset)"
            )
        if resolution is not None and not 8 <= resolution <= height:
            raise UserError(f"{self.path}: no images of {resolution}x{resolution}, expected 8 to {height}")

        # Labels are optional, also within a dataset.json.
        labels: LabelTable | None = None
        found = label_file(files, self.names) if use_labels else None
        if found is not None:
            name, folder = found
            relative = [image.removeprefix(folder) for image in self.names]
            labels = labels_from_json(files.read(name), relative, f"{self.path}: {name}")
        self.labels = no_labels(len(self)) if labels is None else labels
        self.spec = ImageSpec(resolution=resolution or height, channels=channels, c_dim=self.labels.shape[1])

    def _first(self) -> tuple[tuple[int, ...], str]:
        """Return the shape and the name of the first image; those that are damaged are reported when they are read."""
        errors = []
        for i, name in enumerate(self.names[:DAMAGED_AT_ONCE]):
            try:
                return self._decode(i).shape, name
            except UserError as e:
                errors.append(e)
        raise errors[0]

    def _decode(self, i: int) -> np.ndarray:
        """Return image i in its own size, uint8 [C,H,W]."""
        data = self.files.read(self.names[i])

        # One line for the user, whatever is wrong with the file.
        try:
            return planes(decode(data)[0])
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            raise UserError(f"{self.where(i)}: {decoding_error(e)}") from e

    def fingerprint(self) -> str:
        """Return a hash of the images, by what the archive's index says or by sizes and times, and of the labels."""
        # Names of files need not be UTF-8.
        h = hashlib.sha256(f"{self.spec} {self.names}".encode("utf-8", "surrogateescape"))
        h.update(self.files.stamp(self.names))
        h.update(label_bytes(self.labels))
        return h.hexdigest()[:32]

    def where(self, i: int) -> str:
        """Return which file image i is in, for messages."""
        return f"{self.path}: {self.names[i]}"

    def verify(self, limit: int) -> None:
        """Do nothing: images are checked as they are read."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image i and its label; raise UserError if it is damaged or unlike the first one."""
        image = self._decode(i)
        if image.shape != self.stored:
            actual, expected = ("x".join(map(str, shape)) for shape in (image.shape, self.stored))
            raise UserError(f"{self.where(i)}: {actual}, expected {expected} as {self.first}")

        # The halvings below the chosen resolution are not needed.
        return next(x for x in halvings(image) if x.shape[1] == self.spec.resolution), self.labels[i]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images [n,C,R,R] and labels [n,c_dim] of these indices."""
        return np.stack([self[i][0] for i in indices.tolist()]), np.asarray(self.labels[indices])
