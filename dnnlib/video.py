"""Films written frame by frame: mp4 and webm through PyAV, gif and numbered pictures through Pillow."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from dnnlib.images import opaque, to_pil

AddFrame = Callable[[np.ndarray], None]


class Codec(NamedTuple):
    """How a container is encoded: its codec, options of it for a quality at which artefacts are hard to see, and
    options of the container."""

    name: str
    options: dict[str, str]
    container_options: dict[str, str]


CODECS = {
    ".mp4": Codec("libx264", {"crf": "18"}, {"movflags": "+faststart"}),  # plays before it is loaded as a whole
    ".webm": Codec("libvpx-vp9", {"crf": "28", "b": "0", "row-mt": "1"}, {}),
}
CONTAINERS = (*CODECS, ".gif")
"""Suffixes of films. A path without a suffix becomes a folder of PNG files."""


def check_container(path: Path) -> None:
    """Raise UserError unless a film can be written under this name."""
    if path.suffix and path.suffix.lower() not in CONTAINERS:
        known = ", ".join(CONTAINERS)
        raise UserError(f"{path}: unknown kind of film {path.suffix}, expected one of {known}, or a folder for frames")


@contextlib.contextmanager
def open_video(path: Path, fps: float = 30.0) -> Iterator[AddFrame]:
    """Yield a function that appends a frame, uint8 [C,H,W] with C = 1 or 3, all of one size.

    The film appears under its name when the block ends, whole, and not at all if the block raises. Raises UserError for
    an unknown suffix, or if the film cannot be written.
    """
    # The folder is made only for a film that can be written.
    check_container(path)
    make_dir(path.parent)
    suffix = path.suffix.lower()
    with atomic(path) as temporary:
        if not suffix:
            opened = _open_folder(temporary)
        elif suffix == ".gif":
            opened = _open_gif(temporary, fps)
        else:
            opened = _open_film(temporary, CODECS[suffix], suffix.removeprefix("."), fps)
        with opened as add:
            yield add


def save_video(frames: Iterable[np.ndarray], path: Path | str, fps: float = 30.0) -> None:
    """Write frames, uint8 [C,H,W] at least one, as a film; see `open_video`."""
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError(f"{path}: no frames, expected at least one")

    with open_video(Path(path), fps) as add:
        add(first)
        for frame in remaining:
            add(frame)


@contextlib.contextmanager
def _open_film(path: Path, codec: Codec, container: str, fps: float) -> Iterator[AddFrame]:
    """Encode frames as they come."""
    import av

    with av.open(str(path), "w", format=container, options=codec.container_options) as film:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = film.add_stream(codec.name, rate=rate, options=codec.options)
        stream.pix_fmt = "yuv420p"  # the one that every player knows

        def add(frame: np.ndarray) -> None:
            # Players want even sizes, because colours are stored at half the resolution.
            pixels = np.asarray(to_pil(opaque(frame)).convert("RGB"))  # [H,W,3]
            height, width, _ = pixels.shape
            pixels = np.pad(pixels, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")
            if not stream.codec_context.is_open:  # the first frame decides
                stream.height, stream.width = pixels.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

        yield add
        film.mux(stream.encode())  # what the encoder still holds


@contextlib.contextmanager
def _open_gif(path: Path, fps: float) -> Iterator[AddFrame]:
    """Collect frames, one byte a pixel, and write them at the end."""
    frames: list[Image.Image] = []

    def add(frame: np.ndarray) -> None:
        # A palette for each frame: 256 colours are few.
        frames.append(to_pil(opaque(frame)).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT))

    yield add

    # Delays are whole hundredths of a second; rounded like this, they add up to the length of the film.
    ends = [round(100 * k / fps) for k in range(len(frames) + 1)]
    delays = [10 * (end - start) for start, end in pairwise(ends)]  # milliseconds

    # The palette of the first frame is the file's, those of the others are their own.
    if frames:
        frames[0].save(
            path,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=delays,
            loop=0,
            optimize=False,
        )


@contextlib.contextmanager
def _open_folder(path: Path) -> Iterator[AddFrame]:
    """Write frames as numbered files."""
    path.mkdir()
    count = 0

    def add(frame: np.ndarray) -> None:
        nonlocal count
        to_pil(opaque(frame)).save(path / f"frame{count:05d}.png")
        count += 1

    yield add
