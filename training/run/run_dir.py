"""Run dirs: `<result_dir>/00007-msg-stylegan-robohash64-2gpu/`, the next free number; and which one to continue."""

import glob
import json
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from dnnlib import distributed, files
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir, os_error, remove_partial
from training.config import TrainConfig, as_dict
from training.data.dataset import Dataset
from training.run.checkpoint import check_architecture, load_checkpoint, newest_whole

# Options that may differ between a run and its continuation by `--resume auto`.
FREE = {"preset", "result_dir", "resume", "dry_run", "device", "compile", "total_kimg", "tick_kimg",
        "image_snapshot_ticks", "network_snapshot_ticks", "metrics", "metric_every", "keep_last",
        "keep_every"}  # fmt: skip


@dataclass
class Run:
    """Where a run writes, and the checkpoint that it goes on from."""

    path: Path
    lock: IO[str] | None
    """Open file; the lock goes with the process, however it ends. None on processes other than the main one."""
    checkpoint: Path | None
    messages: list[str]
    """What the user should know of how it was found."""


def description(cfg: TrainConfig, dataset_name: str) -> str:
    """Return what the name of a run dir says about the run."""
    return f"{cfg.G.kind.replace('_', '-')}-{dataset_name}-{cfg.gpus}gpu"


def open_run_together(cfg: TrainConfig, dataset: Dataset) -> Run:
    """Open the run dir on the main process, and tell the others what it found; all processes must call it together."""
    run: Run | None = None
    error: UserError | None = None
    if distributed.is_main():
        try:
            run = open_run(cfg, dataset)
        except UserError as e:
            error = e

    # An error ends all processes, so that none waits for the main one.
    found = (run.path, run.checkpoint) if run else (Path(), None)
    error, (path, checkpoint) = distributed.broadcast_object((error, found))
    if error:
        raise error
    return run or Run(path, None, checkpoint, [])


def open_run(cfg: TrainConfig, dataset: Dataset) -> Run:
    """Return the run dir that `cfg.resume` asks for, locked and cleaned of half-written files."""
    if cfg.resume == "none":
        return _new_run(cfg, dataset.name)
    if cfg.resume != "auto":
        return _run_at(cfg, Path(cfg.resume), dataset)

    # The newest unfinished run of the same description, or else a new one.
    messages: list[str] = []
    for path in reversed(_runs_of(Path(cfg.result_dir), description(cfg, dataset.name))):
        unfinished = _unfinished_run(cfg, path, messages)
        if unfinished:
            return unfinished
    run = _new_run(cfg, dataset.name)
    run.messages[:0] = messages
    return run


def take_lock(path: Path, patience: float = 0) -> IO[str] | None:
    """Take the run dir for this process; return None if another process still has it after `patience` seconds.

    A worker whose launcher was killed needs a moment to notice.
    """
    try:
        file = open(path / ".lock", "w")  # noqa: SIM115 - open as long as the process
    except OSError as e:
        raise os_error(e, path, "write") from e

    end = time.monotonic() + patience
    while not files.lock(file):
        if time.monotonic() >= end:
            return None
        time.sleep(0.1)
    return file


def write_config(run: Run, cfg: TrainConfig) -> None:
    """Write config.json, from which the run can be launched again, as a new run."""
    # A checkpoint to start from is part of what the run is; anything else to resume is not.
    if not Path(cfg.resume).is_file():
        cfg = replace(cfg, resume="none")

    with atomic(run.path / "config.json") as temporary:
        temporary.write_text(json.dumps(as_dict(cfg), indent=1) + os.linesep, encoding="utf-8")


def _runs_of(result_dir: Path, wanted: str) -> list[Path]:
    """Return the run dirs of a description, oldest first."""
    paths = result_dir.glob(f"*-{glob.escape(wanted)}")
    return sorted(path for path in paths if re.fullmatch(rf"\d+-{re.escape(wanted)}", path.name))


def _new_run(cfg: TrainConfig, dataset_name: str) -> Run:
    """Create the run dir with the next free number."""
    result_dir = make_dir(Path(cfg.result_dir))
    while True:
        numbers = [int(match[1]) for p in result_dir.iterdir() if (match := re.match(r"(\d+)-", p.name))]
        path = result_dir / f"{max(numbers, default=-1) + 1:05d}-{description(cfg, dataset_name)}"

        try:
            path.mkdir()
        except FileExistsError:  # another run took the number meanwhile
            continue
        except OSError as e:
            raise os_error(e, path, "create the folder") from e

        lock = take_lock(path)
        if lock:
            return Run(path, lock, None, [])


def _unfinished_run(cfg: TrainConfig, path: Path, messages: list[str]) -> Run | None:
    """Return the run at `path` if it is one to continue; otherwise add the reason to `messages`."""
    if (path / "config.json").exists():
        differing = _differences(cfg, path)
        if differing:
            messages.append(f"{path}: not continued: started with another {', '.join(differing)}")
            return None

    lock = take_lock(path, patience=5)
    if lock is None:
        messages.append(f"{path}: not continued: another process is training it")
        return None

    remove_partial(path)
    checkpoint, cur_nimg, problems = newest_whole(path)
    if cur_nimg >= round(cfg.total_kimg * 1000):
        lock.close()
        return None
    if problems and not checkpoint:
        problems.append(f"{path}: no whole checkpoint is left: starting over")
    return Run(path, lock, checkpoint, problems)


def _run_at(cfg: TrainConfig, path: Path, dataset: Dataset) -> Run:
    """Return the run of a run dir, or a new run that goes on from a checkpoint file."""
    if path.is_file():
        check_architecture(load_checkpoint(path), cfg, dataset.spec, path)
        run = _new_run(cfg, dataset.name)
        run.checkpoint = path
        run.messages.append(f"continuing {path} in a new run dir")
        return run

    # Before anything in it is touched, make sure that this is a run dir.
    if not path.is_dir():
        raise UserError(f"{path}: no such run dir or checkpoint, expected `auto`, `none` or a path")
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a run dir: no config.json in it, expected e.g. results/00000-...")

    differing = _differences(cfg, path)
    lock = take_lock(path, patience=5)
    if lock is None:
        raise UserError(f"{path}: another process is training this run")

    remove_partial(path)
    checkpoint, _, problems = newest_whole(path)
    if checkpoint is None:
        raise UserError(problems[0] if problems else f"{path}: no checkpoint in it, expected checkpoint-*.pt")
    if differing:
        problems.append(f"{path}: continued with another {', '.join(differing)}")
    return Run(path, lock, checkpoint, problems)


def _differences(cfg: TrainConfig, path: Path) -> list[str]:
    """Return the options in which the run at `path` differs from `cfg` in more than where, how long and how often."""
    try:
        theirs = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return [name for name, value in as_dict(cfg).items() if name not in FREE and theirs.get(name) != value]
    except (ValueError, AttributeError, RecursionError):
        return ["config.json (it is damaged)"]
