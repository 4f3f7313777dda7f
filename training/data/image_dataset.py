"""Image files as a dataset, without conversion: a folder, or the zip that StyleGAN2/3, EDM and R3GAN use.

Files are pictures, or arrays [C,H,W] as .npy where images have another number of channels than pictures can.
"""

import hashlib

import numpy as np

from dnnlib.errors import UserError
from training.data.archives import Files, image_names, label_file
from training.data.decode import bands_of, decode, decoding_error, planes, with_alpha
from training.data.labels import LabelTable, channels_from_json, label_bytes, labels_from_json, no_labels
from training.data.tfrecord import halvings, image_spec
from training.spec import pyramid_sizes, shape_text, size_error

DAMAGED_AT_ONCE = 100  # images that may be damaged at the start of a dataset before it counts as none


class ImageDataset:
    """Images uint8 [C,H,W] and labels float32 [c_dim], by index in the order of file names; labels from `dataset.json`.

    All must be of one size that has a pyramid, with the same number of channels. Transparency is kept if `dataset.json`
    says that images have 2 or 4 channels; otherwise they are laid on white. `resolution`, a height, picks smaller
    images, the 2x2 means that a TFRecord dataset of the same images holds.
    """

    decodes = True  # reading takes time: worth worker processes

    def __init__(self, files: Files, resolution: int | None = None, use_labels: bool = True) -> None:
        self.files = files
        self.path = files.path
        self.name = self.path.resolve().name if self.path.is_dir() else self.path.resolve().stem
        pictures = image_names(files)
        arrays = [name for name in image_names(files, (".npy",)) if name.lower().endswith(".npy")]
        self.names = pictures if len(pictures) >= len(arrays) else arrays
        if not self.names:
            raise UserError(f"{self.path}: no *.tfrecords and no image in it, expected a dataset")

        # The first image that can be read stands for all; the others are compared with it when they are read. Whether
        # images have transparency, dataset.json tells.
        found = label_file(files, self.names)
        self.channels = None if found is None else channels_from_json(files.read(found[0]))
        self.stored, self.first = self._first()
        channels, *stored_size = self.stored
        if problem := size_error(*stored_size):
            raise UserError(
                f"{self.path}: {self.first}: {problem} (dataset_tool.py create_from_images --resolution makes such a "
                "dataset)"
            )

        # A smaller resolution is a level of the pyramid that networks can be built for.
        sizes = {height: width for height, width in pyramid_sizes(*stored_size) if size_error(height, width) is None}
        height = stored_size[0] if resolution is None else resolution
        if height not in sizes:
            raise UserError(f"{self.path}: no images of height {resolution}, found {sorted(sizes)}")

        # Labels are optional, also within a dataset.json.
        labels: LabelTable | None = None
        if found is not None and use_labels:
            name, folder = found
            relative = [image.removeprefix(folder) for image in self.names]
            labels = labels_from_json(files.read(name), relative, f"{self.path}: {name}")
        self.labels = no_labels(len(self)) if labels is None else labels
        c_dim = self.labels.shape[1]
        self.spec = image_spec(self.path, height, sizes[height], channels, c_dim)

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
            bands = bands_of(data, self.channels)
            if bands is not None:
                return bands
            has_alpha = self.channels in (2, 4)
            im, _ = decode(data, background=None if has_alpha else "white")
            return planes(with_alpha(im) if has_alpha else im)
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            advice = "dataset_tool.py create_from_images leaves such files out"
            raise UserError(f"{self.where(i)}: {decoding_error(e)}; {advice}") from e

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
            actual, expected = shape_text(image.shape), shape_text(self.stored)
            raise UserError(f"{self.where(i)}: {actual}, expected {expected} as {self.first}")

        # The halvings below the chosen resolution are not needed.
        return next(x for x in halvings(image) if x.shape[1] == self.spec.resolution), self.labels[i]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images [n,C,H,W] and labels [n,c_dim] of these indices."""
        return np.stack([self[i][0] for i in indices.tolist()]), np.asarray(self.labels[indices])
