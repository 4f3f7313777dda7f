"""What the page shows of a run while it trains."""

import contextlib
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

from dnnlib.errors import UserError
from dnnlib.images import sheet, to_pil
from generation.run_sheets import RunSheets, find_sheets
from sharing.report.plots import LOSSES, SCORES, plots_of
from sharing.report.records import is_locked, read_run

MOST_SHEETS = 24
SHEET_SIZE = 768  # largest height and width of a sheet on the page


class RunView(NamedTuple):
    """What a run has so far."""

    state: str
    """What it does, in a sentence."""
    sheets: list[tuple[bytes, str]]
    """Its newest sheets of samples as PNG, newest first, and their titles."""
    losses: Any
    """Figure of plotly, or None before the first tick has ended."""
    scores: Any


class RunWatch:
    """A run that is looked at again and again."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._pictures: dict[str, bytes | None] = {}

    def version(self) -> tuple[int, ...]:
        """Return numbers that change whenever there is anything new to show."""
        times = []
        for path in (self.run_dir / "stats.jsonl", *self.run_dir.glob("*x*"), *self.run_dir.glob("network-snapshot-*")):
            with contextlib.suppress(OSError):  # not there yet, or not any more
                times.append(path.stat().st_mtime_ns)
        return (is_locked(self.run_dir), *sorted(times))

    def look(self) -> RunView:
        """Return what the run has now, without files that are damaged."""
        sheets = self._newest_sheets()
        try:
            record = read_run(self.run_dir)
        except UserError as e:
            return RunView("No curves yet: " + str(e).replace(f"{self.run_dir}/", ""), sheets, None, None)

        total = "" if record.total is None else f" of {record.total:g}"
        state = f"{record.name}: {record.state}, {record.progress:g}{total} kimg"
        figures = {plot.kind: plot.figure for plot in plots_of([record], [record.name], [{}])}
        for figure in figures.values():
            # Legible on white and on black, with the legend beside the page's own label.
            figure.update_layout(font={"color": "#888"}, margin={"t": 40}, legend={"x": 1, "xanchor": "right"})
        return RunView(state, sheets, figures.get(LOSSES), figures.get(SCORES))

    def _newest_sheets(self) -> list[tuple[bytes, str]]:
        try:
            sheets = find_sheets(self.run_dir)
        except UserError:
            return []

        # Sheets do not change, so each is read once.
        newest = sheets.names[: -MOST_SHEETS - 1 : -1]
        known = self._pictures
        self._pictures = {name: known[name] if name in known else _picture(sheets, name) for name in newest}

        kimg = dict(zip(sheets.names, sheets.kimg, strict=True))
        return [(picture, f"{kimg[name]:g} kimg") for name, picture in self._pictures.items() if picture]


def _picture(sheets: RunSheets, name: str) -> bytes | None:
    """Return as many samples of a sheet as the page has room for, as PNG; None if it is damaged."""
    try:
        cells = sheets.cells(len(sheets.folders) - 1, name)
    except UserError:
        return None

    columns = max(1, min(8, SHEET_SIZE // max(sheets.size), math.isqrt(len(cells))))
    picture = to_pil(sheet(cells[: columns * columns], columns))
    picture.thumbnail((SHEET_SIZE, SHEET_SIZE))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
