"""Run dirs, `<result_dir>/00007-msg-stylegan-robohash64-2gpu/`: creating the next one, and which one to continue."""

import contextlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dnnlib import files
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir, os_error, read_json, remove_partial
from training.config import TrainConfig, as_dict, from_dict
from training.data.dataset import Dataset
from training.run.checkpoint import check_architecture, load_checkpoint, newest_whole

if TYPE_CHECKING:
    from training.run.mirror import Mirror

# Options that may differ between a run and its continuation by `--resume auto`.
FREE = {"preset", "result_dir", "resume", "dry_run", "device", "compile", "total_kimg", "tick_kimg",
        "image_snapshot_ticks", "network_snapshot_ticks", "metrics", "metric_every", "keep_last",
        "keep_every", "save_code", "gradient_norms", "weight_histograms", "on_divergence", "max_rollbacks",
        "hang_timeout", "gpus", "trackers", "heartbeat"}  # fmt: skip


@dataclass
class Run:
    """Where a run writes, and the checkpoint that it goes on from."""

    path: Path
    lock: IO[str] | None
    """Open file that holds the lock, which goes with the process, however it ends; None on other processes."""
    checkpoint: Path | None = None
    cur_nimg: int = 0
    """Progress of the checkpoint in images."""
    messages: list[str] = field(default_factory=list)
    """What the user should know about how the run was found."""
    is_new: bool = False
    """Whether the run dir was made by this process."""
    rollbacks: int = 0
    """Times that the run has gone back to a checkpoint since it diverged, if it did in this session."""
    rolled_back_to: Path | None = None
    """Where it went back to the last time."""
    mirror: "Mirror | None" = None
    """What keeps a copy of the run dir in an object store; None on other processes."""

    @property
    def stop_file(self) -> Path:
        """A file whose appearance asks the run to stop, as Ctrl-C does."""
        return self.path / "stop"

    @contextlib.contextmanager
    def discarded_on_failure(self) -> Iterator[None]:
        """Remove a new run dir if the block fails."""
        try:
            yield
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the run dir of a run that failed before its first step, if this process has made it."""
        if self.is_new:
            shutil.rmtree(self.path, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what other processes need; the lock and a new folder are the affair of this one."""
        return {**vars(self), "lock": None, "is_new": False, "mirror": None}


def description(cfg: TrainConfig, dataset_name: str) -> str:
    """Return what the name of a run dir says about the run, but for its number of processes."""
    return f"{cfg.G.kind.replace('_', '-')}-{dataset_name}"


def open_run(cfg: TrainConfig, dataset: Dataset, taken: Sequence[str] = ()) -> Run:
    """Return the run dir that `cfg.resume` asks for, locked and cleaned of half-written files.

    taken: names of run dirs elsewhere, whose numbers a new one must not have.
    """
    if cfg.resume not in ("auto", "none"):
        return _run_at(cfg, Path(cfg.resume), dataset, taken)

    # The newest unfinished run of the same description, or else a new one.
    messages: list[str] = []
    if cfg.resume == "auto":
        name = re.compile(rf"\d+-{re.escape(description(cfg, dataset.name))}-\d+gpu")
        paths = [path for path in Path(cfg.result_dir).glob("*") if name.fullmatch(path.name)]
        for path in sorted(paths, reverse=True):
            run = _unfinished_run(cfg, path, messages)
            if run:
                return run
    return _new_run(cfg, dataset.name, messages, taken)


def take_lock(path: Path, patience: float = 0) -> IO[str] | None:
    """Take the run dir for this process; return None if another process still has it after `patience` seconds."""
    # The file stays open, and the run locked, as long as the process or the Run that holds it.
    try:
        file = open(path / ".lock", "w")  # noqa: SIM115
    except OSError as e:
        raise os_error(e, path, "write") from e

    # A worker whose launcher was killed needs a moment to notice.
    for _ in range(1 + round(patience / 0.1)):
        if files.lock(file):
            return file
        time.sleep(0.1)
    return None


def has_ended(path: Path) -> bool:
    """Return whether the last session of a run came to its end, after the last checkpoint and what follows it."""
    try:
        return read_json(path / "run.json", "that of a run")["outcome"] == "finished"
    except (UserError, KeyError, TypeError):
        return True  # nothing says otherwise


def write_config(run: Run, cfg: TrainConfig) -> None:
    """Write config.json, from which the run can be launched again, as a new run."""
    # A checkpoint to start from is part of what the run is; anything else to resume is not.
    if not Path(cfg.resume).is_file():
        cfg = replace(cfg, resume="none")

    with atomic(run.path / "config.json") as temporary:
        temporary.write_text(json.dumps(as_dict(cfg), indent=1) + os.linesep, encoding="utf-8")


def _new_run(cfg: TrainConfig, dataset_name: str, messages: list[str], taken: Sequence[str]) -> Run:
    """Create the run dir with the next free number."""
    result_dir = make_dir(Path(cfg.result_dir))
    while True:
        names = [*(path.name for path in result_dir.iterdir()), *taken]
        numbers = [int(match[1]) for name in names if (match := re.match(r"(\d+)-", name))]
        path = result_dir / f"{max(numbers, default=-1) + 1:05d}-{description(cfg, dataset_name)}-{cfg.gpus}gpu"

        # Another run may take the number meanwhile.
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as e:
            raise os_error(e, path, "create the folder") from e

        # Of runs of several descriptions that start at once, each has made a folder of its own, with one number.
        if len([p for p in result_dir.iterdir() if p.name.startswith(f"{path.name.partition('-')[0]}-")]) > 1:
            with contextlib.suppress(OSError):
                path.rmdir()
            time.sleep(random.uniform(0, 0.1))
            continue

        # A run with `--resume auto` may have found and taken the new folder already.
        lock = take_lock(path)
        if lock:
            return Run(path, lock, messages=messages, is_new=True)


def _reopen(path: Path, processes: int) -> Run | None:
    """Return the run at `path`, to go on with this many processes from its newest whole checkpoint.

    Return None if another process is training it.
    """
    lock = take_lock(path, patience=5)
    if lock is None:
        return None

    remove_partial(path)
    checkpoint, cur_nimg, messages = newest_whole(path)
    if checkpoint is not None:
        before = load_checkpoint(checkpoint)["config"]["gpus"]
        if before != processes:
            messages.append(f"{path}: continued with --gpus {processes}, so far {before}")
    return Run(path, lock, checkpoint, cur_nimg, messages)


def _unfinished_run(cfg: TrainConfig, path: Path, messages: list[str]) -> Run | None:
    """Return the run at `path` if it is one to continue; otherwise add the reason to `messages`."""
    if (path / "config.json").exists():
        differing = _differences(cfg, path)
        if differing:
            messages.append(f"{path}: not continued: started with another {', '.join(differing)}")
            return None

    # Now that nobody else writes there, see how far it came.
    run = _reopen(path, cfg.gpus)
    if run is None:
        messages.append(f"{path}: not continued: another process is training it")
        return None

    if run.messages and not run.checkpoint:
        run.messages.append(f"{path}: no whole checkpoint is left: starting over")
    is_trained = run.cur_nimg >= round(cfg.total_kimg * 1000)
    return None if is_trained and has_ended(path) else run


def _run_at(cfg: TrainConfig, path: Path, dataset: Dataset, taken: Sequence[str]) -> Run:
    """Return the run of a run dir, or a new run that goes on from a checkpoint file."""
    # A checkpoint file: leave its run as it is, and go on in a new one.
    if path.is_file():
        check_architecture(load_checkpoint(path), cfg, dataset.spec, path)
        new = _new_run(cfg, dataset.name, [f"continuing {path} in a new run dir"], taken)
        new.checkpoint = path
        return new

    # Before anything in it is touched, make sure that this is a run dir.
    if not path.is_dir():
        raise UserError(f"{path}: no such run dir or checkpoint, expected `auto`, `none` or a path")
    if not (path / "config.json").is_file():
        raise UserError(f"{path}: not a run dir: no config.json in it, expected e.g. results/00000-...")

    differing = _differences(cfg, path)
    run = _reopen(path, cfg.gpus)
    if run is None:
        raise UserError(f"{path}: another process is training this run")
    if run.checkpoint is None:
        raise UserError(run.messages[0] if run.messages else f"{path}: no checkpoint in it, expected checkpoint-*.pt")
    if differing:
        run.messages.append(f"{path}: continued with another {', '.join(differing)}")
    return run


def _differences(cfg: TrainConfig, path: Path) -> list[str]:
    """Return the options in which the run at `path` differs from `cfg` in more than where, how long and how often."""
    try:
        # Read as options, so that former names and defaults count as what they are now.
        values = read_json(path / "config.json", "that of a run")
        theirs = vars(from_dict(TrainConfig, values, str(path)))

        # A run that is continued keeps its micro-batch and precision, unless others are asked for.
        ours = vars(cfg)
        kept = {name for name in ("micro_batch", "precision") if ours[name] in ("auto", None)}
        return [name for name, value in ours.items() if name not in FREE | kept and theirs[name] != value]
    except (UserError, ValueError):
        return ["config.json (it is damaged)"]
