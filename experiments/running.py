"""Trials as processes of train.py and run_metrics.py, each with a folder that records its progress."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir, read_json
from dnnlib.sinks import read_stats
from dnnlib.stats import format_time
from experiments.plan import Dataset, Experiment, Trial

ROOT = Path(__file__).parent.parent
BEGUN, DONE = "arguments.json", "trial.json"
NOT_FINITE = "images that are not finite numbers"  # as run_metrics.py says


class NotFinite(UserError):
    """A network whose images are not finite numbers."""


@dataclass(frozen=True)
class Outcome:
    """The result of a trial."""

    trial: Trial
    run_dir: Path
    seconds: float
    """Time trained."""
    threads: int
    """Threads of the process."""
    precision: str
    """That of training, as config.json has it."""
    rows: list[dict[str, Any]]
    """Rows of run_metrics.py; none if the run diverged so far that its images are not finite."""

    @property
    def has_diverged(self) -> bool:
        """Whether there are no images to measure."""
        return not self.rows


def run_all(trials: Sequence[Trial], out: Path, datasets: Path, jobs: int, threads: int) -> list[Outcome]:
    """Train and score all trials that are not done, `jobs` at a time, each with so many threads.

    Raise UserError if one fails.
    """
    experiment, kimg = trials[0].experiment, trials[0].kimg
    base = [Trial(experiment, experiment.base, 0, kimg)] if experiment.base else []
    for data in {trial.setting.data for trial in [*base, *trials]} | {experiment.held_out}:
        _make_dataset(data, datasets)

    # The network that others start from comes first.
    for trial in base:
        if not _is_done(trial, out, datasets):
            print(f"{trial.name} ...", flush=True)
            _run(trial, out, datasets, threads)

    # Threads only wait for processes. After an error or Ctrl-C, which reaches the processes as well, no other begins.
    start = time.monotonic()
    pool = ThreadPoolExecutor(jobs)
    has_failed = threading.Event()

    def run(trial: Trial) -> None:
        if has_failed.is_set():
            return
        try:
            _run(trial, out, datasets, threads)
        except BaseException:
            has_failed.set()
            raise

    pending = [trial for trial in trials if not _is_done(trial, out, datasets)]
    try:
        futures = {pool.submit(run, trial): trial for trial in pending}
        for number, future in enumerate(as_completed(futures), start=1):
            future.result()
            left = (time.monotonic() - start) / number * (len(pending) - number)
            print(f"{number}/{len(pending)}  {futures[future].name}  (about {format_time(left)} left)", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)

    return [_read_outcome(trial, out) for trial in trials]


def forecast(trials: Sequence[Trial], out: Path, datasets: Path) -> str:
    """Say how many trials are done, and from these how long it takes to train the others."""
    done = [_read_outcome(trial, out) for trial in trials if _is_done(trial, out, datasets)]
    if not done:
        return f"0 of {len(trials)} runs done"
    speed = sum(outcome.trial.length for outcome in done) / max(sum(outcome.seconds for outcome in done), 1e-9)
    left = sum(trial.length for trial in trials) - sum(outcome.trial.length for outcome in done)
    return f"{len(done)} of {len(trials)} runs done; training the others takes about {format_time(left / speed)}"


def _run(trial: Trial, out: Path, datasets: Path, threads: int) -> None:
    """Train and score one trial, from where it was left."""
    folder = make_dir(out / trial.name)
    args = trial.train_args(out, datasets)
    _write_json(folder / BEGUN, {"args": args})

    # A run that was asked to stop ends with status 0 as well.
    if _newest_run(folder)[1] != "finished":
        _call(trial, folder, threads, "train.py", [*args, "--result-dir", str(folder), "--resume", "auto"])
    run_dir, outcome = _newest_run(folder)
    if run_dir is None or outcome != "finished":
        raise UserError(f"{trial.name}: {outcome}; start the experiment again to go on")

    scores = folder / "scores.jsonl"
    scores.unlink(missing_ok=True)
    for metrics in _metrics_args(trial.experiment, datasets):
        so_far = scores.read_text(encoding="utf-8") if scores.exists() else ""
        try:
            _call(trial, folder, threads, "run_metrics.py", ["--network", str(run_dir), "--out", str(scores), *metrics])
        except NotFinite:
            # A run that diverged is a result. The last snapshot is scored first, so that it keeps its scores if only
            # another one is broken.
            scores.write_text(so_far, encoding="utf-8")
            break

    # Written last: where it exists, the trial is done.
    done = {
        "setting": trial.setting.values,
        "seed": trial.seed,
        "args": args,
        "metrics": list(chain(*_metrics_args(trial.experiment, datasets))),
        "run": run_dir.name,
        "seconds": read_stats(run_dir / "stats.jsonl")[-1]["total_sec"],
        "threads": threads,
        "scores": read_stats(scores),
    }
    _write_json(folder / DONE, done)


def _newest_run(folder: Path) -> tuple[Path | None, str]:
    """Return the newest run in a folder and its outcome; None if there is none."""
    runs = [path for path in folder.iterdir() if (path / "run.json").is_file()]
    if not runs:
        return None, "no run"
    return max(runs), str(read_json(max(runs) / "run.json", "that of a run")["outcome"])


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _call(trial: Trial, folder: Path, threads: int, script: str, arguments: list[str]) -> None:
    """Run a script of the project with this many threads; raise UserError if it fails, NotFinite for such images."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = folder / "output.txt"
    start = output.stat().st_size if output.exists() else 0
    with open(output, "a", encoding="utf-8") as log:
        command = [sys.executable, str(ROOT / script), *arguments]
        status = subprocess.run(command, env=env, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if not status:
        return

    # Only what this call has said counts.
    if NOT_FINITE.encode() in output.read_bytes()[start:]:
        raise NotFinite(f"{trial.name}: {NOT_FINITE}")
    raise UserError(f"{trial.name}: {script} ended with status {status}; {output} says why")


def _metrics_args(experiment: Experiment, datasets: Path) -> list[list[str]]:
    """Return what run_metrics.py is to measure: of the last snapshot, and what all snapshots are needed for."""
    data = str(experiment.held_out.path(datasets))
    detectors = ["--random-detectors"] if experiment.random_detectors else []

    calls = []
    for over_snapshots in (False, True):
        wanted = [figure.metric for figure in experiment.figures if figure.over_snapshots == over_snapshots]
        snapshots = ["--snapshot", "all"] if over_snapshots else []
        if wanted:
            metrics = ",".join(dict.fromkeys(wanted))
            calls.append(["--data", data, "--metrics", metrics, "--seed", "0", *snapshots, *detectors])
    return calls


def _is_done(trial: Trial, out: Path, datasets: Path) -> bool:
    """Return whether a trial is done; raise UserError if its folder holds one that was made in another way."""
    folder = out / trial.name
    for path in (folder / BEGUN, folder / DONE):
        if path.exists() and read_json(path, "that of a trial")["args"] != trial.train_args(out, datasets):
            raise UserError(f"{path}: made with other options; choose another --out, or delete {folder}")

    # With other metrics, it is scored again.
    metrics = list(chain(*_metrics_args(trial.experiment, datasets)))
    done = folder / DONE
    return done.exists() and read_json(done, "that of a trial")["metrics"] == metrics


def _read_outcome(trial: Trial, out: Path) -> Outcome:
    """Return the result of a trial that is done."""
    folder = out / trial.name
    done = read_json(folder / DONE, "that of a trial")
    run_dir = folder / done["run"]
    precision = read_json(run_dir / "config.json", "that of a run")["precision"]
    return Outcome(trial, run_dir, done["seconds"], done["threads"], precision, done["scores"])


def _make_dataset(data: Dataset, datasets: Path) -> None:
    """Draw a dataset if it is not there yet."""
    path = data.path(datasets)
    if path.exists():
        return
    command = [sys.executable, str(ROOT / "dataset_tool.py"), "create_robohash", str(path)]
    sets = ["--sets", *map(str, data.sets)] if data.sets else []
    command += ["--num-images", str(data.images), "--seed", str(data.seed), *sets]
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"{path}: could not be made")
