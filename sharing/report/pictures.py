"""The pictures of a report: sheets of samples and a film, in as many bytes as the page has for them, and stability."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnnlib.images import labelled, sheet, to_pil
from dnnlib.pool import cpu_count, ordered_map
from dnnlib.video import open_video
from generation.run_sheets import RunSheets, mean_squared_change
from sharing.report.records import Curve

MOST_SHEETS = 200  # that are read, evenly spread over the run
MOST_VIEWED = 60  # of these, that can be looked at one by one
WIDEST = 1600  # pixels of an embedded sheet
FILM_SHARE = 0.3  # of the bytes of a run
SMALLEST_CELL, LARGEST_CELL = 64, 128  # pixels of an image in the film


class Film(NamedTuple):
    """A film as a file."""

    data: bytes  # mp4
    poster: bytes  # its last frame, WebP
    samples: int  # images of each level


class RunPictures(NamedTuple):
    """What can be seen of a run."""

    found: int  # sheets in the run dir
    read: int  # of these, those that the film and the stability are made of
    sizes: list[tuple[int, int]]  # (height, width) of the levels, smallest first
    kimg: list[float]  # of the sheets in the page
    images: list[list[bytes]]  # WebP files, by sheet and level
    film: Film | None  # None = it has too many bytes
    stability: dict[str, Curve]  # of each level, by the name of its folder: mean squared change since the last sheet


def look_at(found: RunSheets, most_bytes: int) -> RunPictures:
    """Return the pictures of a run in at most `most_bytes`, with the newest sheet in any case.

    Raises UserError if a sheet is damaged.
    """
    sheets = _thinned(found, MOST_SHEETS)
    film = make_film(sheets, int(FILM_SHARE * most_bytes))
    viewed = set(spread(len(sheets.names), MOST_VIEWED))

    # Each sheet is compared with the one before it, and some become files.
    kimg, images, changes = [], [], []
    previous: list[np.ndarray] | None = None
    for k, levels in enumerate(_read(sheets, "sheets")):
        if previous is not None:
            changes.append(mean_squared_change(previous, levels))
        previous = levels
        if k in viewed:
            kimg.append(sheets.kimg[k])
            images.append([encode(level) for level in levels])

    # A change belongs to the later one of two sheets.
    folders = [folder.name for folder in sheets.folders]
    by_level = np.array(changes).reshape(-1, len(folders))  # [sheets-1,levels]
    times = np.array(sheets.kimg[1:])
    stability = {folder: Curve(times, by_level[:, i]) for i, folder in enumerate(folders) if len(times)}

    # The film goes first; sheets get what it leaves.
    kept = _fitting(images, most_bytes - (len(film.data) + len(film.poster) if film else 0))
    return RunPictures(
        found=len(found.names),
        read=len(sheets.names),
        sizes=sheets.sizes,
        kimg=[kimg[i] for i in kept],
        images=[images[i] for i in kept],
        film=film,
        stability=stability,
    )


def spread(length: int, count: int) -> list[int]:
    """Return at most `count` evenly spread indices of a sequence, both ends included; a single one is the last."""
    if count <= 1:
        return [length - 1]
    return sorted({round(i) for i in np.linspace(0, length - 1, min(count, length))})


def _fitting(images: list[list[bytes]], most_bytes: int) -> list[int]:
    """Return the indices of evenly spread sheets that together have at most `most_bytes`, or of the last one alone."""
    # Keep as many as possible.
    sizes = [sum(map(len, levels)) for levels in images]
    counts = range(len(images), 1, -1)
    choices = (spread(len(images), count) for count in counts)
    return next((kept for kept in choices if sum(sizes[i] for i in kept) <= most_bytes), [len(images) - 1])


def _thinned(sheets: RunSheets, count: int) -> RunSheets:
    """Return at most `count` sheets, evenly spread."""
    return sheets._replace(names=[sheets.names[i] for i in spread(len(sheets.names), count)])


def _read(sheets: RunSheets, what: str) -> Iterator[list[np.ndarray]]:
    """Yield the images of each sheet, uint8 [N,C,h,w] for each level, smallest first, behind a progress bar."""
    # Decoding takes longest, and lets other threads run.
    threads = cpu_count()
    levels = ordered_map(partial(_levels, sheets), sheets.names, 0, ahead=2 * threads, threads=threads)
    with contextlib.closing(levels):
        yield from tqdm(levels, what, len(sheets.names), leave=False, unit="sheet", disable=not sys.stderr.isatty())


def _levels(sheets: RunSheets, name: str) -> list[np.ndarray]:
    """Return the images of one sheet."""
    # In the files, all levels have the size of the largest, which need not stay in memory.
    steps = [sheets.size[0] // height for height, _ in sheets.sizes]
    return [np.ascontiguousarray(sheets.cells(i, name)[:, :, ::step, ::step]) for i, step in enumerate(steps)]


def encode(images: np.ndarray) -> bytes:
    """Return images uint8 [N,C,h,w] as a sheet in the shape of a screen, a WebP file."""
    # A sheet of a few large images is scaled down.
    columns = max(1, round((len(images) * 16 / 9) ** 0.5))
    picture = to_pil(sheet(images, columns))
    if picture.width > WIDEST:
        picture = picture.reduce(-(-picture.width // WIDEST))

    # Small images are shown pixel by pixel, so that every pixel counts.
    return _webp(picture, lossless=max(images.shape[2:]) <= 16)


def _webp(picture: Image.Image, lossless: bool = False) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=85, lossless=lossless)
    return file.getvalue()


def make_film(sheets: RunSheets, most_bytes: int) -> Film | None:
    """Return the sheets as a film in H.264, with a column per sample and a row per level.

    It shows 8, 4 or 2 samples, whatever has at most `most_bytes`; None if nothing has.
    """
    for samples in (8, 4, 2):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            last_frame = _write_film(sheets, samples, path)
            data, poster = path.read_bytes(), _webp(to_pil(last_frame))
        if len(data) + len(poster) <= most_bytes:
            return Film(data, poster, min(samples, last_frame.shape[2] // _cell_size(sheets)[1]))
    return None


def _write_film(sheets: RunSheets, samples: int, path: Path) -> np.ndarray:
    """Write a film of the first samples of each sheet, and return its last frame."""
    # It takes about a quarter of a minute; a short one is slow enough to look at.
    fps = min(12.0, max(2.0, len(sheets.names) / 12))
    size = _cell_size(sheets)

    with open_video(path, fps) as add:
        for levels, kimg in zip(_read(sheets, "film"), sheets.kimg, strict=True):
            # Rows are levels, and columns are samples.
            rows = [_resized(images[:samples], size) for images in levels]  # [samples,C,H,W] each
            frame = labelled(sheet(np.concatenate(rows), len(rows[0])), f"{kimg:g} kimg")
            add(frame)
    return frame


def _cell_size(sheets: RunSheets) -> tuple[int, int]:
    """Return the height and width of an image in the film: the full size halved or multiplied as often as needed."""
    height, width = sheets.size
    while max(height, width) > LARGEST_CELL and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
    factor = max(1, SMALLEST_CELL // height)
    return height * factor, width * factor


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return images uint8 [N,C,h,w] as [N,C,H,W]: pixels are repeated, or averaged if there are too many."""
    n, channels, h, w = images.shape
    height, width = size
    if h <= height:
        return images.repeat(height // h, axis=2).repeat(width // w, axis=3)

    # Average over blocks of pixels.
    blocks = images.reshape(n, channels, height, h // height, width, w // width)
    return blocks.mean((3, 5)).round().astype(np.uint8)
