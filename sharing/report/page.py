"""The page of a report: one HTML file that fetches nothing. Whatever comes from a run is escaped."""

import base64
import hashlib
import json
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

from dnnlib.stats import format_time
from sharing.report.pictures import RunPictures
from sharing.report.plots import COLOURS, Plot
from sharing.report.records import RunRecord
from training.spec import size_text

FINE = 64  # pixels from which an image is enlarged smoothly


class Facts(NamedTuple):
    """A table of the runs: a row of texts for each name, a column for each run; None = the run does not have it."""

    rows: dict[str, list[str | None]]

    def differing(self) -> "Facts":
        """Return the rows in which the runs differ."""
        return Facts({name: values for name, values in self.rows.items() if len(set(values)) > 1})


def render(records: list[RunRecord], labels: list[str], pictures: list[RunPictures | None], plots: list[Plot]) -> str:
    """Return the page. labels: short names of the runs. pictures: what can be seen of each, if anything."""
    # Scripts run only if their hash is in the page's policy, and nothing may be fetched.
    plotly, script = get_plotlyjs(), _part("page.js")
    hashes = " ".join(f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'" for text in (plotly, script))
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:"

    # All parts are HTML by now, or data that cannot end their element.
    title = records[0].name if len(records) == 1 else f"{len(records)} training runs"
    summaries = [_summary(record, i, labels) for i, record in enumerate(records)]
    figures = [plot.figure.to_json() for plot in plots]
    return Template(_part("page.html")).substitute(
        policy=policy,
        title=escape(title),
        subtitle=f"Training report of {datetime.now().astimezone():%d %B %Y, %H:%M}",
        css=_part("page.css"),
        summary="\n".join(summaries),
        samples=_samples(labels, pictures),
        plots="\n".join(_plot(plot, i) for i, plot in enumerate(plots)),
        tables=_options(records, labels) + _provenance(records, labels),
        figures=_inert("[" + ",".join(figures) + "]"),
        sheets=_inert(json.dumps([_sheet_data(run) for run in pictures])),
        plotly=plotly,
        script=script,
    )


def _part(name: str) -> str:
    """Return a file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _inert(json_text: str) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    return json_text.replace("<", "\\u003c")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _summary(record: RunRecord, index: int, labels: list[str]) -> str:
    """Return the card that says how far a run came and how well it did."""
    # The heading of a single run is the page's.
    key = f'<span class="key" style="background:{COLOURS[index % len(COLOURS)]}"></span>'
    heading = f"<h3>{key}{escape(labels[index])} · {escape(record.name)}</h3>" if len(labels) > 1 else ""
    total = f" of {record.total:g}" if record.total is not None else ""
    bar = f'<progress max="{record.total:g}" value="{record.progress:g}"></progress>' if record.total else ""

    # The newest figures, and what is to be known about the run.
    tiles = {"progress": f"{record.progress:g}{total} {record.unit}", **_figures(record)}
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles.items())
    notes = "".join(f'<p class="muted">{escape(note)}</p>' for note in record.notes)
    state = f'<span class="state">{escape(record.state)}</span>'
    return f'<div class="card">{heading}{state}{bar}<dl class="tiles">{items}</dl>{notes}</div>'


def _figures(record: RunRecord) -> dict[str, str]:
    """Return the newest figures of a run by what they are called."""
    figures = {}
    seconds = record.last("total_sec")
    if seconds is not None:
        figures["time trained"] = format_time(seconds)

    # How long the rest takes, at the newest speed.
    speed = record.last("img_per_sec")
    if speed:
        figures["speed"] = f"{speed:.3g} img/s"
        rest = (record.total or 0) - record.progress
        if rest > 0:
            figures["time left to train"] = format_time(1000 * rest / speed)

    # Quality: losses, and the newest result of each metric.
    for name, title in (("Loss/D", "loss of D"), ("Loss/G", "loss of G")):
        value = record.last(name)
        if value is not None:
            figures[title] = f"{value:.3g}"
    for metric, values in record.metrics.items():
        curve = values["value"]
        spread = 0.0 if curve.deviation is None else curve.deviation[-1]
        deviation = f" ± {spread:.2g}" if spread else ""
        figures[f"{metric} at {curve.x[-1]:g} kimg"] = f"{curve.y[-1]:.4g}{deviation}"

    # Steps without finite gradients are rare, and mentioned only if there were some.
    skipped = record.last("Progress/skipped_steps")
    if skipped:
        figures["skipped steps"] = f"{skipped:g}"
    return figures


def _samples(labels: list[str], pictures: list[RunPictures | None]) -> str:
    """Return the sheets and films, of which one run is shown at a time."""
    shown = [i for i, run in enumerate(pictures) if run is not None]
    if not shown:
        return ""

    # A list of runs, of which the script shows the chosen one; browsers must not restore an earlier choice.
    choice = ""
    if len(shown) > 1:
        choices = "".join(f'<option value="{i}">{escape(labels[i])}</option>' for i in shown)
        choice = f'<p><label>Run <select id="run" autocomplete="off">{choices}</select></label></p>'
    viewers = [_viewer(run, i, i == shown[0]) for i, run in enumerate(pictures) if run is not None]
    return "\n".join(['<section id="samples">', "<h2>Samples</h2>", choice, *viewers, "</section>"])


def _viewer(run: RunPictures, index: int, is_shown: bool) -> str:
    """Return what shows the sheets and the film of a run."""
    # A button for each level, of which the full resolution is large at first.
    buttons = []
    for height, width in run.sizes:
        size = size_text(height, width)
        classes = ("large" if (height, width) == run.sizes[-1] else "", "fine" if height >= FINE else "")
        image = f'<img alt="Samples of {size} pixels">'
        buttons.append(f'<button type="button" class="{" ".join(classes)}">{image}<span>{size}</span></button>')

    # The slider starts at the newest sheet.
    last = len(run.kimg) - 1
    is_whole = len(run.kimg) == run.found
    left_out = "" if is_whole else f" The page has {len(run.kimg)} of the {run.found} sheets, evenly spread."
    lines = [
        f'<div class="viewer" id="viewer-{index}"{"" if is_shown else " hidden"}><div class="card">',
        '<p class="caption">What the generator makes of the same latents, at every level. Move the slider to go through'
        f" the training, and click a level to enlarge it.{left_out}</p>",
        '<p class="caption"><b>Healthy:</b> layout and colours come first and details later, and all levels show the'
        " same pictures. If most samples look alike, G has collapsed.</p>",
        '<div class="slider"><input type="range" aria-label="Sheet" autocomplete="off"'
        f' min="0" max="{last}" value="{last}"><output></output></div>',
        f'<div class="levels">{"".join(buttons)}</div></div>',
        _film(run),
        "</div>",
    ]
    return "\n".join(lines)


def _film(run: RunPictures) -> str:
    """Return the time-lapse of a run."""
    heading = '<h3 class="above">Time-lapse</h3>'
    if run.film is None:
        return (
            f'{heading}<p class="muted">It does not fit into this page; <code>--max-mb</code> allows a larger one.</p>'
        )

    # Before it is played, the film shows its end.
    poster = f"data:image/webp;base64,{_base64(run.film.poster)}"
    source = f"data:video/mp4;base64,{_base64(run.film.data)}"
    frames = "each sheet" if run.read == run.found else f"{run.read} of the {run.found} sheets"
    return (
        f'{heading}<div class="card"><video controls loop muted playsinline poster="{poster}" src="{source}"></video>'
        f'<p class="caption">The training as a film, with a frame for {frames}, a column for each of {run.film.samples}'
        " samples and a row for each level. <code>generate.py timelapse</code> makes larger ones.</p></div>"
    )


def _sheet_data(run: RunPictures | None) -> dict[str, Any]:
    """Return what the script needs to show the sheets of a run."""
    if run is None:
        return {"kimg": [], "images": []}

    images = [[f"data:image/webp;base64,{_base64(data)}" for data in levels] for levels in run.images]
    return {"kimg": run.kimg, "images": images}


def _plot(plot: Plot, index: int) -> str:
    """Return a figure and how to read it."""
    kind = plot.kind
    return (
        f'<figure class="card"><h3>{escape(kind.title)}</h3><div class="plot" id="plot-{index}"></div><figcaption>'
        f"<p>{escape(kind.meaning)}</p><p><b>Healthy:</b> {escape(kind.healthy)}</p></figcaption></figure>"
    )


def _options(records: list[RunRecord], labels: list[str]) -> str:
    """Return the options in which runs differ, and all options, folded away."""
    names = dict.fromkeys(name for record in records for name in record.options)
    if not names:
        return ""

    # Older runs may lack options, and other architectures have others.
    facts = Facts({name: [record.options.get(name) for record in records] for name in names})
    parts = ['<section id="options">', "<h2>Options</h2>"]
    if len(records) > 1:
        differing = facts.differing()
        parts.append('<p class="caption">The options in which the runs differ; the others are the same in all.</p>')
        parts.append(_table(differing, labels) if differing.rows else "<p>The runs have the same options.</p>")
    parts.append(f"<details><summary>All options</summary>{_table(facts, labels)}</details></section>")
    return "\n".join(parts)


def _provenance(records: list[RunRecord], labels: list[str]) -> str:
    """Return where runs come from."""
    names = dict.fromkeys(name for record in records for name in record.provenance)
    rows: dict[str, list[str | None]] = {"folder": [str(record.path) for record in records]}
    rows |= {name: [record.provenance.get(name) for record in records] for name in names}
    return f'<section id="provenance"><h2>Provenance</h2>{_table(Facts(rows), labels)}</section>'


def _table(facts: Facts, labels: list[str]) -> str:
    """Return a table with a column per run."""
    # A single run needs no heading.
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    head = f"<thead><tr><th></th>{head}</tr></thead>" if len(labels) > 1 else ""

    rows = []
    for name, values in facts.rows.items():
        cells = "".join(f"<td>{'–' if value is None else escape(value)}</td>" for value in values)
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
