"""Checkpoint files: everything that is needed to resume a run exactly."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import atomic, os_error
from dnnlib.pickles import read_torch
from training.config import TrainConfig, architecture, as_dict
from training.spec import ImageSpec
from training.state import PROGRESS, TrainState, ticks_after

VERSION = 3

# Version 2 kept its statistics as one tensor, in this order of names; version 1 knew one architecture only.
READABLE = (2, 3)
VERSION_2_STATS = ("Loss/D", "Loss/G", "Loss/scores/real", "Loss/scores/fake", "Loss/r1_penalty", "Loss/r2_penalty",
                   "Loss/gradient_penalty")  # fmt: skip

# Dicts that every version holds.
PARTS = ("architecture", "config", "G", "D", "G_ema", "G_opt", "D_opt", "progress")


class DamagedCheckpoint(UserError):
    """A checkpoint that is not whole."""


def kimg_tag(cfg: TrainConfig, nimg: int, off_tick: bool = False) -> str:
    """Return the progress as it stands in file names: whole kimg in six digits.

    Three decimals follow if ticks or the end of the run do not fall on whole kimg, or if the file belongs to no tick.
    """
    whole = cfg.tick_kimg % 1 == 0 and cfg.total_kimg % 1 == 0 and not off_tick
    return f"{nimg // 1000:06d}" if whole else f"{nimg / 1000:010.3f}"


def save_checkpoint(run_dir: Path, state: TrainState, off_tick: bool = False) -> None:
    """Write `checkpoint-KIMG.pt`, whole or not at all, then delete those that need not be kept.

    The main process writes; all processes must call it together.
    """
    # Gathering the state takes all processes.
    content = {
        "version": VERSION,
        "architecture": architecture(state.cfg, state.spec),
        "config": as_dict(state.cfg),
        **state.state_dict(),
    }
    if not distributed.is_main():
        return

    path = run_dir / f"checkpoint-{kimg_tag(state.cfg, state.cur_nimg, off_tick)}.pt"
    with atomic(path) as temporary:
        # Through memory, because torch.save hides that a disk is full; a plain write raises OSError.
        buffer = io.BytesIO()
        torch.save(content, buffer)

        # This is no copy; and a view that a failure keeps alive would end Python 3.12 when it exits.
        temporary.write_bytes(buffer.getvalue())
    _remove_old(run_dir, state.cfg, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to CPU memory after checking all of it against its checksums; raise UserError if damaged."""
    try:
        with zipfile.ZipFile(path):  # the older container of torch has no checksums
            content = read_torch(path)
    except OSError as e:
        raise os_error(e, path, "read") from e

    # Zip files, pickles and torch raise nearly anything on bytes that make no sense.
    except Exception as e:
        reason = str(e).partition("\n")[0] or type(e).__name__
        raise DamagedCheckpoint(f"{path}: damaged checkpoint, or none: {reason}, expected a whole file") from e

    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is not int or version not in READABLE:
        raise UserError(f"{path}: not a checkpoint of this program, expected version {VERSION}")
    _check_parts(content, path)

    # Statistics of version 2 come as [processes,names,2]; now there is one tensor [processes,2] per name.
    if content["version"] == 2:
        content["averages"] = dict(zip(VERSION_2_STATS, content["averages"].unbind(1), strict=True))

    # Options under their former names.
    architecture = content["architecture"]
    if "D.levels" in architecture:
        architecture["D.resolutions"] = architecture.pop("D.levels")

    # Until images could be of other shapes, they were squares.
    architecture.setdefault("images.width", architecture.get("images.resolution"))

    # Until D could have other heads, it had this one.
    architecture.setdefault("D.label_head", "switch")
    return content


def _check_parts(content: dict[str, Any], path: Path) -> None:
    """Raise UserError unless a checkpoint has all its parts, each of its type."""
    for name in PARTS:
        if not isinstance(content.get(name), dict) or not all(isinstance(key, str) for key in content[name]):
            raise UserError(f"{path}: not a checkpoint of this program: {name} is missing, or not a dict by names")

    # Progress becomes attributes of the state.
    progress, averages = content["progress"], content.get("averages")
    numbers = {name for name, value in progress.items() if value is None or type(value) in (int, float)}
    if not numbers == progress.keys() <= set(PROGRESS) or type(progress.get("cur_nimg")) is not int:
        raise UserError(f"{path}: not a checkpoint of this program: its progress is {progress!s:.100}")
    for name, value in (("gpus", content["config"].get("gpus")), ("tick_kimg", content.get("tick_kimg"))):
        if type(value) not in (int, float):
            raise UserError(f"{path}: not a checkpoint of this program: {name} is {value!s:.100}, expected a number")

    expected = (len(VERSION_2_STATS), 2)
    is_table = isinstance(averages, torch.Tensor) and averages.ndim == 3 and averages.shape[1:] == expected
    if not (is_table if content["version"] == 2 else isinstance(averages, dict)):
        raise UserError(f"{path}: not a checkpoint of this program: its averages are {type(averages).__name__}")


def check_architecture(content: dict[str, Any], cfg: TrainConfig, spec: ImageSpec, path: Path) -> None:
    """Raise UserError, naming the first difference, if the checkpoint read from `path` holds other networks."""
    ours, theirs = architecture(cfg, spec), content["architecture"]
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"{path}: checkpoint of another architecture: {key} is {theirs.get(key)}, expected {ours.get(key)}"
            )


def restore(state: TrainState, path: Path) -> None:
    """Load a checkpoint file into `state`; raise UserError if it is damaged or of another architecture.

    All processes must call it together. Those that do not see the file are sent its content by the main process.
    """
    if distributed.any_rank(not path.exists()):
        content = distributed.on_main(lambda: load_checkpoint(path))
    else:
        content = distributed.together(lambda: load_checkpoint(path))
    check_architecture(content, state.cfg, state.spec, path)

    # The architecture is that of the state, so tensors that do not fit are those of a file that was made up.
    try:
        state.load_state_dict(content)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as e:
        reason = str(e).partition("\n")[0]
        raise UserError(f"{path}: not a checkpoint of these networks: {type(e).__name__}: {reason}") from e


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoint files of a run, newest first; copies under other names do not count."""
    # Ticks on whole kimg give six digits, others three decimals more.
    pattern = re.compile(r"checkpoint-\d{6,}(\.\d{3})?\.pt")
    paths = [path for path in run_dir.iterdir() if pattern.fullmatch(path.name)]
    return sorted(paths, key=_kimg_of, reverse=True)


def newest_whole(run_dir: Path) -> tuple[Path | None, int, list[str]]:
    """Return the newest whole checkpoint, its progress in images, and what was wrong with newer ones.

    Damaged files are put aside under another name.
    """
    problems: list[str] = []
    for path in checkpoints(run_dir):
        try:
            return path, load_checkpoint(path)["progress"]["cur_nimg"], problems
        except UserError as e:
            problems.append(str(e))
            if isinstance(e, DamagedCheckpoint):
                path.rename(path.with_name(f"{path.name}.damaged"))
    return None, 0, problems


def _kimg_of(path: Path) -> float:
    """Return the progress that a checkpoint's name carries."""
    return float(path.stem.split("-")[1])


def _remove_old(run_dir: Path, cfg: TrainConfig, written: Path) -> None:
    """Delete old checkpoints.

    Those that stay are the one just written, the last `keep_last`, and every `keep_every`-th with a network snapshot.
    """
    old = checkpoints(run_dir)[cfg.keep_last :] if cfg.keep_last else []
    for path in old:
        tag = path.stem.removeprefix("checkpoint-")
        has_snapshot = (run_dir / f"network-snapshot-{tag}.safetensors").exists()

        # The number of the network snapshot, from the name, in which whole kimg are rounded down.
        nimg = _kimg_of(path) * 1000 + (0 if "." in tag else 999)
        number = ticks_after(cfg, nimg) // max(cfg.network_snapshot_ticks, 1)

        is_kept = has_snapshot and cfg.keep_every and number % cfg.keep_every == 0
        if path != written and not is_kept:
            path.unlink(missing_ok=True)
