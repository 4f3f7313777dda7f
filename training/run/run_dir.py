"""Run dirs: `<result_dir>/00007-msg-stylegan-robohash64-2gpu/`, the next free number; which one to continue."""

import glob
import json
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnnlib import files
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir, os_error, remove_partial
from training.config import TrainConfig, as_dict
from training.data.dataset import Dataset
from training.state import check_architecture, load_checkpoint, newest_whole

# Options that may differ between a run and its continuation by `--resume auto`.
FREE = {"preset", "result_dir", "resume", "dry_run", "device", "compile", "total_kimg", "tick_kimg",
        "image_snapshot_ticks", "network_snapshot_ticks", "metrics", "metric_every", "keep_last",
        "keep_every"}  # fmt: skip


@dataclass
class Run:
    """Where a run writes, and the checkpoint that it goes on from."""

    path: Path
    lock: Any  # open file; the lock goes with the process, however it ends
    checkpoint: Path | None
    messages: list[str]


def description(cfg: TrainConfig, dataset_name: str) -> str:
    return f"{cfg.G.kind.replace('_', '-')}-{dataset_name}-{cfg.gpus}gpu"


def lock(path: Path, patience: float = 0) -> Any:
    """Take the run dir for this process; None if another still has it after `patience` seconds (a worker whose launcher
    was killed needs a moment to notice)."""
    try:
        f = open(path / ".lock", "w")  # noqa: SIM115 - open as long as the process
    except OSError as e:
        raise os_error(e, path, "write") from e
    end = time.monotonic() + patience
    while not files.lock(f):
        if time.monotonic() >= end:
            return None
        time.sleep(0.1)
    return f


def open_run(cfg: TrainConfig, dataset: Dataset) -> Run:
    """The run dir that `cfg.resume` asks for, locked and cleaned of half-written files."""
    if cfg.resume == "none":
        return _new(cfg, dataset.name)
    if cfg.resume != "auto":
        return _from_path(cfg, Path(cfg.resume), dataset)
    messages: list[str] = []
    for path in reversed(_runs(Path(cfg.result_dir), description(cfg, dataset.name))):
        found = _unfinished(cfg, path, messages)
        if found:
            return found
    new = _new(cfg, dataset.name)
    new.messages[:0] = messages
    return new


def _runs(result_dir: Path, desc: str) -> list[Path]:
    return sorted(
        p for p in result_dir.glob(f"*-{glob.escape(desc)}") if re.fullmatch(rf"\d+-{re.escape(desc)}", p.name)
    )


def _new(cfg: TrainConfig, dataset_name: str) -> Run:
    result_dir = make_dir(Path(cfg.result_dir))
    while True:
        numbers = [int(m[1]) for p in result_dir.iterdir() if (m := re.match(r"(\d+)-", p.name))]
        path = result_dir / f"{max(numbers, default=-1) + 1:05d}-{description(cfg, dataset_name)}"
        try:
            path.mkdir()
        except FileExistsError:  # another run took the number meanwhile
            continue
        except OSError as e:
            raise os_error(e, path, "create the folder") from e
        held = lock(path)
        if held:
            return Run(path, held, None, [])


def _unfinished(cfg: TrainConfig, path: Path, messages: list[str]) -> Run | None:
    """The run at `path` if it is one to continue; else says why not."""
    config = path / "config.json"
    if config.exists():
        differing = _differences(cfg, path)
        if differing:
            messages.append(f"{path}: not continued: started with another {', '.join(differing)}")
            return None
    held = lock(path, patience=5)
    if held is None:
        messages.append(f"{path}: not continued: another process is training it")
        return None
    remove_partial(path)
    checkpoint, cur_nimg, problems = newest_whole(path)
    if cur_nimg >= round(cfg.total_kimg * 1000):
        held.close()
        return None
    if problems and not checkpoint:
        problems.append(f"{path}: no whole checkpoint is left: starting over")
    return Run(path, held, checkpoint, problems)


def _differences(cfg: TrainConfig, path: Path) -> list[str]:
    """The options in which the run at `path` differs from `cfg` in more than where, how long and how often."""
    try:
        theirs = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return [k for k, v in as_dict(cfg).items() if k not in FREE and theirs.get(k) != v]
    except (ValueError, AttributeError, RecursionError):
        return ["config.json (it is damaged)"]


def _from_path(cfg: TrainConfig, path: Path, dataset: Dataset) -> Run:
    if path.is_file():  # a checkpoint: a new run that goes on from it
        check_architecture(load_checkpoint(path), cfg, dataset.spec, path)
        run = _new(cfg, dataset.name)
        run.checkpoint = path
        run.messages.append(f"continuing {path} in a new run dir")
        return run
    if not path.is_dir():
        raise UserError(f"{path}: no such run dir or checkpoint, expected `auto`, `none` or a path")
    if not (path / "config.json").is_file():  # before anything in it is touched
        raise UserError(f"{path}: not a run dir: no config.json in it, expected e.g. results/00000-...")
    differing = _differences(cfg, path)
    held = lock(path, patience=5)
    if held is None:
        raise UserError(f"{path}: another process is training this run")
    remove_partial(path)
    checkpoint, _, problems = newest_whole(path)
    if checkpoint is None:
        raise UserError(problems[0] if problems else f"{path}: no checkpoint in it, expected checkpoint-*.pt")
    if differing:
        problems.append(f"{path}: continued with another {', '.join(differing)}")
    return Run(path, held, checkpoint, problems)


def write_config(run: Run, cfg: TrainConfig) -> None:
    """Write config.json, from which the run can be launched again: as a new run."""
    if not Path(cfg.resume).is_file():  # a checkpoint to start from is part of what the run is
        cfg = replace(cfg, resume="none")
    with atomic(run.path / "config.json") as temporary:
        temporary.write_text(json.dumps(as_dict(cfg), indent=1) + os.linesep, encoding="utf-8")
