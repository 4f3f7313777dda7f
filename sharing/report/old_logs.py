"""Logs of the original systems: `loss.log` of BMSG-GAN, `log.txt` and TensorBoard events of msg-stylegan-tf."""

import re
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import os_error
from sharing.report.records import Curve, RunRecord, curves_of

# `tick 1 kimg 140.3 minibatch 16 time 15m 04s sec/tick 840.2 sec/kimg 5.99 maintenance 63.9 gpumem 4.1`; that of
# StyleGAN has `lod 7.00` too.
TICK = re.compile(r"tick +\d+ +kimg +(\d+\.?\d*) +.*?time +((?:\d{1,9}[smhd] *)+)(.*)", re.ASCII)
FIELD = re.compile(r"(sec/kimg|gpumem) +(\d+\.?\d*)", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_old_run(path: Path) -> RunRecord:
    """Read a loss.log or a log.txt, or the one of them in a folder; raise UserError if it is neither."""
    if path.is_dir():
        logs = [path / name for name in ("loss.log", "log.txt") if (path / name).exists()]
        if not logs:
            raise UserError(f"{path}: not a run dir: no stats.jsonl, loss.log or log.txt in it")
        path = logs[0]

    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as e:
        raise os_error(e, path, "read") from e

    # The content decides, since files may have been renamed.
    if any(TICK.match(line) for line in lines):
        return _read_ticks(path, lines)
    return _read_losses(path, lines)


def _read_losses(path: Path, lines: list[str]) -> RunRecord:
    """Read the lines of BMSG-GAN: step, loss of D and loss of G, separated by tabs."""
    rows: list[dict[str, float]] = []
    base = 0.0
    for number, line in enumerate(lines, 1):
        try:
            step, d_loss, g_loss = map(float, line.split("\t"))
        except ValueError:
            # The last line may be half-written.
            if number == len(lines) and rows:
                break
            message = f"{path}, line {number}: found {line[:80]!r}, expected `step<tab>loss of D<tab>loss of G`"
            raise UserError(f"{message} (BMSG-GAN), or lines with `tick 1 kimg ...` (msg-stylegan-tf)") from None

        # A run that was continued counts from 0 again.
        if rows and base + step / 1000 < rows[-1]["kimg"]:
            base = rows[-1]["kimg"]
        rows.append({"kimg": base + step / 1000, "Loss/D": d_loss, "Loss/G": g_loss})

    if not rows:
        raise UserError(f"{path}: no lines in it, expected a loss.log of BMSG-GAN or a log.txt of msg-stylegan-tf")
    return RunRecord(path=path, state="log of BMSG-GAN", curves=curves_of(rows), unit="thousand steps")


def _read_ticks(path: Path, lines: list[str]) -> RunRecord:
    """Read the lines of msg-stylegan-tf that end a tick, and the TensorBoard events beside them."""
    rows = []
    for match in filter(None, map(TICK.match, lines)):
        fields = dict(FIELD.findall(match[3]))
        row = {"kimg": float(match[1]), "total_sec": _seconds(match[2])}
        if float(fields.get("sec/kimg", 0)) > 0:
            row["img_per_sec"] = 1000 / float(fields["sec/kimg"])
        if "gpumem" in fields:
            row["Resources/peak_gpu_mem_gb"] = float(fields["gpumem"])
        rows.append(row)

    # The log itself has no losses.
    scalars = _read_events(path.parent)
    losses = {name: curve for name, curve in scalars.items() if name.startswith("Loss/")}
    scored = {name: curve for name, curve in scalars.items() if name.startswith("Metrics/")}
    notes = () if losses else ("Its losses are in a file events.out.tfevents.*, which is not beside the log.",)
    return RunRecord(
        path=path.parent if (path.parent / "log.txt") == path else path,
        state="log of msg-stylegan-tf",
        curves=curves_of(rows) | losses,
        metrics={name.removeprefix("Metrics/"): {"value": curve} for name, curve in scored.items()},
        notes=notes,
    )


def _read_events(folder: Path) -> dict[str, Curve]:
    """Return the scalars of the TensorBoard events in a folder over kimg."""
    if not any(folder.glob("events.out.tfevents.*")):
        return {}

    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})  # 0 = all of them
    events.Reload()
    curves: dict[str, Curve] = {}
    for name in events.Tags()[SCALARS]:
        # Steps are images.
        rows = [{"kimg": event.step / 1000, name: event.value} for event in events.Scalars(name)]
        curves |= curves_of(rows)
    return curves


def _seconds(text: str) -> float:
    """Return the seconds in a duration such as 1d 04h 10m."""
    return float(sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text)))
