"""CelebA's aligned faces (Liu et al. 2015)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import Picture, Refused
from dataprep.sources.images import ImageFiles, open_files
from dnnlib.errors import UserError
from training.data.archives import image_names
from training.data.decode import decoding_error

Folder = tyro.conf.Positional[Path]
CELEBA_IMAGES = 202599


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
