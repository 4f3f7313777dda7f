"""CelebA's aligned faces (Liu et al. 2015)."""

from functools import partial
from pathlib import Path

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import Picture, Refused
from dataprep.sources.images import ImageFiles, open_files
from dataprep.sources.source import require
from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from training.data.decode import decode, decoding_error, planes

CELEBA_IMAGES = 202599
PATTERNS = ("img_align_celeba_png/*.png", "img_align_celeba/*.jpg")


def face(path: Path, cx: int, cy: int) -> Picture | Refused:
    """Return the 128x128 pixels around a point of an aligned face."""
    try:
        im, notes = decode(path)
    except Exception as e:  # decoders raise whatever a damaged file leads them to
        return Refused(decoding_error(e, path))

    # Another size means another version of CelebA, whose faces lie elsewhere.
    if im.size != (178, 218):
        return Refused(f"{im.width}x{im.height} pixels, expected 178x218")
    return Picture(planes(im.convert("RGB").crop((cx - 64, cy - 64, cx + 64, cy + 64))), notes)


def create_celeba(
    dataset_dir: Place,
    celeba_dir: Place,
    *,
    cx: int = 89,
    cy: int = 121,
    allow_missing: Switch = False,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from CelebA: the 128x128 pixels around a point of each aligned face, without labels.

    Args:
        dataset_dir: New folder for the dataset.
        celeba_dir: Folder with img_align_celeba_png/*.png or img_align_celeba/*.jpg.
        cx: Column of the centre in the 178x218 image.
        cy: Row of the centre in the 178x218 image.
        allow_missing: Take any number of images, not only all 202,599.
    """
    require(64 <= cx <= 114 and 64 <= cy <= 154, f"--cx {cx} --cy {cy}: expected 64 to 114 and 64 to 154")

    # If both folders exist, the lossless images are preferred.
    image = next((path for pattern in PATTERNS for path in celeba_dir.glob(pattern)), None)
    if image is None:
        raise UserError(f"{celeba_dir}: no {' or '.join(PATTERNS)} in it")
    source = ImageFiles(open_files(image.parent), "none")

    # An incomplete download must not pass for the whole set.
    require(
        allow_missing or len(source) == CELEBA_IMAGES,
        f"{image.parent}: {len(source)} images, expected {CELEBA_IMAGES}, or --allow-missing",
    )

    # The original shuffled as well.
    build(
        dataset_dir,
        source,
        partial(face, cx=cx, cy=cy),
        output,
        {"command": "create_celeba", "source": str(celeba_dir), "cx": cx, "cy": cy, "shuffle": 1},
        order=shuffled(len(source)),
    )
