"""LSUN's LMDB databases (Yu et al. 2015), one for each category, of encoded images."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import Picture, Refused, Rules, crop_wide
from dataprep.sources.source import Entry, Stream, reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from training.data.decode import decode, decoding_error, planes
from training.spec import is_power_of_two


class LSUN(Stream):
    """The images of one category in the order of their keys."""

    def __init__(self, folder: Path) -> None:
        self.path = folder if folder.is_file() else folder / "data.mdb"
        require(
            self.path.is_file(),
            f"{folder}: no data.mdb in it, expected an unpacked LMDB such as bedroom_train_lmdb",
        )

        # The database is opened now to count its images, and again to read them.
        with self._opened() as database:
            self.length = int(database.stat()["entries"])

    def stream(self) -> Iterator[Entry]:
        # LMDB keeps its keys sorted.
        with self._opened() as database, database.begin() as transaction:
            for key, value in transaction.cursor():
                yield Entry(f"{self.path}: {key.decode('utf-8', 'replace')}", value)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the database for reading; raise its library's errors as UserError."""
        lmdb = import_extra("lmdb", "create_lsun")

        # No lock file: the database may be on a disk that cannot be written.
        options = {"subdir": False, "readonly": True, "lock": False, "readahead": False}
        with reading(self.path, "not a readable LMDB"), lmdb.open(str(self.path), **options) as database:
            yield database


def wide(data: bytes, width: int, height: int) -> Picture | Refused:
    """Return an encoded image in the middle of a black square, uint8 [3,width,width]; refuse it if it is too small."""
    try:
        im, notes = decode(data)
    except Exception as e:  # decoders raise whatever a damaged image leads them to
        return Refused(decoding_error(e))

    picture = crop_wide(im.convert("RGB"), width, height)
    if picture is None:
        return Refused(f"{im.width}x{im.height} pixels, too small for {width}x{height}")
    return Picture(planes(picture), notes)


def create_lsun(
    dataset_dir: Place,
    lmdb_dir: Place,
    *,
    resolution: int = 256,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from one category of LSUN: centre crops scaled by Lanczos, in the order of the database.

    It needs the package lmdb.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. church_outdoor_train_lmdb.
        resolution: Height and width in pixels, a power of two.
    """
    _check_size("--resolution", resolution)

    # The same pixels as the original's: a centre crop, scaled by Pillow.
    build(
        dataset_dir,
        LSUN(lmdb_dir),
        Rules(resize=resolution.bit_length() - 1, fit="crop", filter="lanczos", channels="3"),
        output,
        {"command": "create_lsun", "source": str(lmdb_dir), "resolution": resolution, "filter": "lanczos"},
    )


def create_lsun_wide(
    dataset_dir: Place,
    lmdb_dir: Place,
    *,
    width: int = 512,
    height: int = 384,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from one category of LSUN at another aspect ratio, on black squares.

    Images that are too small are skipped. It needs the package lmdb.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. car_lmdb.
        width: Width of the picture and of its square in pixels, a power of two.
        height: Height of the picture in pixels.
    """
    _check_size("--width", width)
    # The picture lies inside its square.
    require(1 <= height <= width, f"--height {height}: expected 1 to {width}")

    build(
        dataset_dir,
        LSUN(lmdb_dir),
        partial(wide, width=width, height=height),
        output,
        {"command": "create_lsun_wide", "source": str(lmdb_dir), "width": width, "height": height},
    )


def _check_size(option: str, pixels: int) -> None:
    """Raise UserError unless a dataset can have this resolution."""
    require(
        is_power_of_two(pixels) and 8 <= pixels <= 2**14,
        f"{option} {pixels}: expected a power of two, 8 to 16384",
    )
