"""What the runs of an experiment look like: samples along the way, and the scores that D gave."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dnnlib.files import atomic
from dnnlib.sinks import read_stats
from experiments.plan import label
from experiments.running import Outcome

SHARES = (0.1, 0.3, 1.0)  # of a run, after which samples are shown
COLUMNS, ROWS = 8, 3  # samples from the corner of each sheet


def write_pictures(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw a row for each setting, from its first seed: samples of the largest level, and D's mean scores."""
    from matplotlib.figure import Figure as Canvas

    shown = [outcome for outcome in outcomes if outcome.trial.seed == 0]
    canvas = Canvas(figsize=(1 + 2.7 * (len(SHARES) + 1), 1.3 * len(shown)), layout="constrained")
    grid = canvas.subplots(len(shown), len(SHARES) + 1, squeeze=False)
    for panels, outcome in zip(grid, shown, strict=True):
        sheets = _sheets(outcome.run_dir)

        # Samples: of each time, the sheet nearest to it.
        for share, panel in zip(SHARES, panels, strict=False):
            kimg = min(sheets, key=lambda k: abs(k - share * max(sheets)))
            panel.imshow(_corner(sheets[kimg]), interpolation="nearest")
            panel.set_xticks([], [])
            panel.set_yticks([], [])
            panel.set_title(f"{kimg:g} kimg", fontsize=7)
        name = label(outcome.trial.experiment, outcome.trial.setting)
        panels[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")

        # Scores of reals and of fakes.
        rows = read_stats(outcome.run_dir / "stats.jsonl")
        kimg_of_rows = [row["kimg"] for row in rows]
        for side, color in (("real", "#1f4e79"), ("fake", "#c0504d")):
            scores = [row.get(f"Loss/scores/{side}") for row in rows]
            panels[-1].plot(kimg_of_rows, scores, color=color, marker="o" if len(rows) == 1 else "")
        panels[-1].tick_params(labelsize=6)

    grid[0][-1].set_title("D's scores: reals blue, fakes red", fontsize=7)
    with atomic(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=110)


def _sheets(run_dir: Path) -> dict[float, Path]:
    """Return the sheets of the largest level, by the thousands of images after which they were drawn."""
    largest = max((path for path in run_dir.glob("*x*") if path.is_dir()), key=_image_size)
    return {float(path.stem.removeprefix("fakes")): path for path in largest.glob("fakes*.png")}


def _image_size(level: Path) -> tuple[int, int]:
    """Return the width and height of the images in a folder of sheets, such as 64x64."""
    width, height = level.name.split("x")
    return int(width), int(height)


def _corner(sheet: Path) -> Image.Image:
    """Return the first images of a sheet."""
    width, height = _image_size(sheet.parent)
    with Image.open(sheet) as image:
        return image.crop((0, 0, min(COLUMNS * width, image.width), min(ROWS * height, image.height)))
