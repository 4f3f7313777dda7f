"""The training of a run as a film, made of the sheets that it wrote."""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.images import sheet
from dnnlib.video import CONTAINERS, open_video
from generation.output import check_fps, check_output
from generation.sampling import check_level
from metrics.networks import find_run
from training.data.decode import decoding_error

LABEL_HEIGHT = 16  # of the strip with the number of kimg, in pixels


def timelapse(
    run: Annotated[str, tyro.conf.Positional],
    *,
    result_dir: Path = Path("results"),
    samples: int = 8,
    level: int | None = None,
    fps: float = 8.0,
    output: Path = Path("timelapse.mp4"),
    overwrite: Switch = False,
) -> None:
    """Make a film of a run: how the images of fixed latents changed while it was trained.

    A frame shows one sheet of the run, with its number of kimg: a row per sample and a column per level.

    Args:
        run: Run dir, or the number of a run.
        result_dir: Folder of run dirs, in which the number is looked for.
        samples: Number of samples to show, at most as many as there are in a sheet.
        level: Show this level alone: -1 = full resolution, 0 = 4x4, 1 = 8x8, ... Default: all levels.
        fps: Sheets per second.
        output: File to write: .mp4, .webm or .gif; or a folder, without a suffix, for frames as PNG.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (*CONTAINERS, ""), overwrite)
    if samples < 1:
        raise UserError(f"--samples {samples}: expected >= 1")
    check_fps(fps)

    run_dir = find_run(int(run), result_dir, "timelapse") if run.isdecimal() and not Path(run).exists() else Path(run)
    folders, names = _sheets(run_dir)
    if level is not None:
        check_level(level, folders)

    # Cells are as large as the largest level, whose folder is the last one.
    size = int(folders[-1].name.partition("x")[0])
    shown = folders if level is None else [folders[level]]

    # A frame for each sheet.
    with open_video(output, fps) as add:
        for name in tqdm(names, unit="sheet"):
            columns = [_cells(folder / name, size, samples) for folder in shown]  # of each level [samples,C,size,size]
            cells = np.stack(columns, 1).reshape(-1, *columns[0].shape[1:])  # row by row
            add(_labelled(sheet(cells, len(shown)), f"{_kimg(name):g} kimg"))
    print(f"{output}: {len(names)} sheets, {_kimg(names[0]):g} to {_kimg(names[-1]):g} kimg")


def _sheets(run_dir: Path) -> tuple[list[Path], list[str]]:
    """Return the folders of a run's levels, smallest first, and the names of the sheets that all of them have."""
    folders = [path for path in run_dir.glob("*x*") if re.fullmatch(r"(\d+)x\1", path.name)]
    folders.sort(key=lambda path: int(path.name.partition("x")[0]))

    # While a run goes on, the newest sheet may not be there for all levels yet.
    pattern = r"fakes\d+(\.\d+)?\.png"
    names = [{path.name for path in folder.iterdir() if re.fullmatch(pattern, path.name)} for folder in folders]
    complete = set.intersection(*names) if names else set()
    if not complete:
        raise UserError(f"{run_dir}: no sheets in it, expected a run dir with e.g. 64x64/fakes000000.png")
    return folders, sorted(complete, key=_kimg)


def _kimg(name: str) -> float:
    """Return the number in fakes000123.png, or in fakes000000.064.png."""
    return float(name.removeprefix("fakes").removesuffix(".png"))


def _cells(path: Path, size: int, count: int) -> np.ndarray:
    """Return the first cells of a sheet, uint8 [count,C,size,size], or as many as it has."""
    # Gray runs have gray sheets; those of four channels are shown without alpha.
    try:
        with Image.open(path) as im:
            pixels = np.asarray(im if im.mode == "L" else im.convert("RGB"))
    except Exception as e:  # Pillow raises whatever a damaged file leads it to
        raise UserError(f"{path}: {decoding_error(e, path)}") from e
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # [rows*size,columns*size,C]

    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    grid = pixels[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)
    return grid.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1, size, size)[:count]


def _labelled(image: np.ndarray, text: str) -> np.ndarray:
    """Return an image uint8 [C,h,w] with a line of text in a white strip below it."""
    channels, _, width = image.shape
    strip = Image.new("L", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((4, 2), text, fill="black")
    return np.concatenate([image, np.asarray(strip)[None].repeat(channels, 0)], 1)
