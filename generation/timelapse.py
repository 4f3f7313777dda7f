"""The training of a run as a film: what it made of the same latents, from the first sheet or snapshot to the last."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.images import enlarge, labelled, sheet
from dnnlib.video import CONTAINERS, open_video
from generation.output import check_fps, check_output
from generation.run_sheets import find_sheets, mean_squared_change
from generation.sampling import Sampler, SamplingOptions
from generation.selection import parse_levels
from metrics.networks import find_run, select_snapshots
from metrics.results import kimg_of
from training.spec import size_text

PLOT_WIDTH, PLOT_HEIGHT = 320, 160  # of the plot of changes in pixels; the width is the smallest
SMALLEST_CHANGE = 1e-5  # that the plot shows; the largest is 4, from black to white


class Moment(NamedTuple):
    """The images of all latents at one time of a run."""

    kimg: float
    levels: list[np.ndarray]
    """Samples of each level, uint8 [N,C,h,w], smallest first."""


class Moments(NamedTuple):
    """The times that a film shows."""

    kimg: list[float]
    sizes: list[tuple[int, int]]
    """(height, width) of each level, smallest first."""
    moments: Iterator[Moment]


def timelapse(
    run: Annotated[str, tyro.conf.Positional],
    *,
    result_dir: Path = Path("results"),
    source: Literal["sheets", "snapshots"] = "sheets",
    samples: int = 8,
    level: str = "all",
    stability: Switch = False,
    fps: float = 8.0,
    device: Literal["auto", "cuda", "cpu"] = "auto",
    output: Path = Path("timelapse.mp4"),
    overwrite: Switch = False,
) -> None:
    """Make a film of a run: how the images of fixed latents changed while it was trained.

    A frame has a row per sample and a column per level, and shows the number of kimg.

    Args:
        run: Run dir, or the number of a run.
        result_dir: Folder of run dirs, in which the number is looked for.
        source: What the film is made of: the sheets of the run, or images that its network snapshots draw of the seeds
            0, 1, ... without truncation.
        samples: Number of samples to show, at most as many as there are in a sheet.
        level: Levels to show: all, or numbers such as -1 (full resolution) or 0,2,4 (0 = smallest).
        stability: Plot below how much each level has changed since the frame before, as the mean squared difference of
            images in [-1,1].
        fps: Sheets or snapshots per second.
        device: Where snapshots are run; auto = CUDA if a GPU is available.
        output: File to write: .mp4, .webm or .gif; or a folder, without a suffix, for frames as PNG.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (*CONTAINERS, ""), overwrite)
    if not 1 <= samples <= 1000:
        raise UserError(f"--samples {samples}: expected 1 to 1000")
    check_fps(fps, output)

    # Where the run is, and what there is of it.
    run_dir = find_run(int(run), result_dir, "timelapse") if run.isdecimal() and not Path(run).exists() else Path(run)
    if not run_dir.is_dir():
        raise UserError(f"{run}: no such run dir")
    kimg, sizes, moments = _from_sheets(run_dir) if source == "sheets" else _from_snapshots(run_dir, samples, device)
    levels = parse_levels(level, len(sizes))

    # Cells have the size of the largest level, or a multiple of it, so that there is room for a plot.
    height, width = sizes[-1]
    if stability:
        factor = math.ceil(PLOT_WIDTH / (width * len(levels)))
        height, width = height * factor, width * factor
    names = [size_text(*sizes[i]) for i in levels]
    plot = ChangePlot(names, kimg, width * len(levels)) if stability else None

    # A frame for each moment.
    with open_video(output, fps) as add:
        for moment in tqdm(moments, total=len(kimg), unit="frame"):
            shown = [moment.levels[i] for i in levels]
            columns = [enlarge(images[:samples], height) for images in shown]  # of each level [samples,C,H,W]
            cells = np.stack(columns, 1).reshape(-1, *columns[0].shape[1:])  # row by row
            frame = labelled(sheet(cells, len(levels)), f"{moment.kimg:g} kimg")
            add(frame if plot is None else plot.below(frame, moment.kimg, shown))
    print(f"{output}: {len(kimg)} {source}, {kimg[0]:g} to {kimg[-1]:g} kimg")


def _from_sheets(run_dir: Path) -> Moments:
    """Return the moments of a run of which it has sheets."""
    sheets = find_sheets(run_dir)
    levels = range(len(sheets.folders))
    moments = (
        Moment(kimg, [sheets.cells(level, name) for level in levels])
        for kimg, name in zip(sheets.kimg, sheets.names, strict=True)
    )
    return Moments(sheets.kimg, sheets.sizes, moments)


def _from_snapshots(run_dir: Path, samples: int, device: Literal["auto", "cuda", "cpu"]) -> Moments:
    """Return the moments of a run of which it has snapshots, with images of the seeds 0, 1, ..."""
    # From the earliest snapshot to the last.
    networks = [snapshot.network for snapshot in select_snapshots(run_dir, "all")]
    kimg = [kimg_of(Path(network).name) or 0.0 for network in networks]

    def moment(kimg: float, network: str) -> Moment:
        sampler = Sampler(SamplingOptions(network=network, trunc=1.0, device=device))
        pyramids = [sample.images for sample in sampler.draw(sampler.latents(range(samples)))]
        return Moment(kimg, [np.stack(level) for level in zip(*pyramids, strict=True)])

    # All snapshots of a run have the same sizes.
    sizes = list(Sampler(SamplingOptions(network=networks[0], device=device)).sizes)
    return Moments(kimg, sizes, (moment(*pair) for pair in zip(kimg, networks, strict=True)))


class ChangePlot:
    """A plot that grows frame by frame: the change of each level since the frame before, over kimg."""

    def __init__(self, names: Sequence[str], kimg: Sequence[float], width: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.previous: list[np.ndarray] | None = None
        self.times: list[float] = []
        self.changes: list[list[float]] = []

        # The axes stay as they are from the first frame to the last.
        figure = Figure(figsize=(width / 100, PLOT_HEIGHT / 100), dpi=100, layout="constrained")
        self.canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set(xlim=(kimg[0], max(kimg[-1], kimg[0] + 1e-3)), ylim=(SMALLEST_CHANGE, 4), yscale="log")
        axes.set_title("change since the frame before", fontsize=7)
        axes.tick_params(labelsize=6)

        # A curve for each level.
        self.curves = [axes.plot([], [], marker=".", markersize=3, linewidth=1, label=name)[0] for name in names]
        axes.legend(fontsize=5, ncols=len(names), loc="lower left")

        # The layout is found once, which takes much longer than to draw.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")

    def below(self, frame: np.ndarray, kimg: float, levels: list[np.ndarray]) -> np.ndarray:
        """Return an opaque frame uint8 [C,h,w] with the plot below it, to which the images at `kimg` add a point."""
        # The first frame has nothing to be compared with.
        if self.previous is not None:
            self.times.append(kimg)
            self.changes.append(mean_squared_change(self.previous, levels))
        self.previous = levels

        for i, curve in enumerate(self.curves):
            curve.set_data(self.times, [max(change[i], SMALLEST_CHANGE) for change in self.changes])
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[:, :, :3].transpose(2, 0, 1)  # [3,PLOT_HEIGHT,width]

        picture = frame if len(frame) == 3 else frame[:1].repeat(3, 0)
        return np.concatenate([picture, pixels[:, :, : frame.shape[2]]], 1)
