"""The command of report.py."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from generation.output import check_output
from generation.run_sheets import RunSheets, find_sheets
from metrics.networks import find_run
from sharing.report.old_logs import read_old_run
from sharing.report.page import render
from sharing.report.pictures import look_at
from sharing.report.plots import plots_of
from sharing.report.records import RunRecord, read_run

PAGE_MB = 6.0  # of a page with curves but without pictures


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a page about one or several runs: curves, sheets of samples, time-lapse and options in one HTML file."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run dirs, or numbers of runs; also a loss.log of BMSG-GAN, a log.txt of msg-stylegan-tf, or their folders."""
    result_dir: Path = Path("results")
    """Folder of run dirs, in which numbers are looked for."""
    output: Path = Path("report.html")
    """File to write."""
    overwrite: cli.Switch = False
    """Replace the file if it exists."""
    max_mb: float = 25.0
    """Largest size of the page in MB; a larger page holds more sheets."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("expected a run dir, or several")
        if not PAGE_MB + 1 <= self.max_mb <= 2000:
            raise ValueError(f"--max-mb {self.max_mb:g}: expected {PAGE_MB + 1:g} to 2000")


def main() -> None:
    """Parse the command line and write the page."""
    parse = partial(tyro.cli, Options, prog="report.py", description=Options.__doc__)
    options: Options = cli.one_line_errors(parse)

    # The page may take a while, so a name that is taken is reported first.
    check_output(options.output, (".html", ".htm"), options.overwrite)
    write_report(options)


def write_report(options: Options) -> None:
    """Write the page that the options ask for."""
    # Everything that can be wrong with a log is found before the pictures are looked at, which takes longer.
    paths = list(dict.fromkeys(find(run, options.result_dir) for run in options.runs))
    records = [read_run(path) if (path / "stats.jsonl").is_file() else read_old_run(path) for path in paths]

    # Pictures share what the page leaves to them; as text they are a third larger.
    sheets = [sheets_of(record.path) for record in records]
    most_bytes = (options.max_mb - PAGE_MB) * 1e6 * 3 / 4 / len(records)
    pictures = [look_at(found, int(most_bytes)) if found else None for found in sheets]

    # Write the page, whole or not at all.
    labels = labels_of(records)
    changes = [run.stability if run else {} for run in pictures]
    page = render(records, labels, pictures, plots_of(records, labels, changes))
    make_dir(options.output.parent)
    with atomic(options.output) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")  # names of files may be no text

    # Say where it is and what it holds.
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    count = sum(len(run.kimg) for run in pictures if run)
    print(f"{options.output}: {runs}, {count} sheets, {len(page) / 1e6:.1f} MB")


def find(run: str, result_dir: Path) -> Path:
    """Return the path of a run, given by its path or number; raise UserError if there is none."""
    # A folder may have a number as its name.
    path = Path(run)
    if run.isdecimal() and not path.exists():
        return find_run(int(run), result_dir, "run")
    if not path.exists():
        raise UserError(f"{path}: no such run, expected a run dir, the number of a run, or the log of an old run")
    return path


def labels_of(records: list[RunRecord]) -> list[str]:
    """Return a short name for each run: its number, or its name if it has none; what is taken already is counted."""
    labels: list[str] = []
    used: Counter[str] = Counter()
    for record in records:
        # 00007-msg-stylegan-faces-1gpu is 7.
        number = re.match(r"0*(\d+)-", record.name)
        label = number[1] if number else record.name
        used[label] += 1
        labels.append(label if used[label] == 1 else f"{label} ({used[label]})")
    return labels


def sheets_of(run_dir: Path) -> RunSheets | None:
    """Return the sheets of a run, or None if it has none, as in the first minutes and in old logs."""
    try:
        return find_sheets(run_dir)
    except UserError:
        return None
