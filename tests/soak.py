"""A run that is killed every few seconds, against one that is not: `python -m tests.soak [OPTIONS]`.

Both must end in the same bits: weights, averages, optimizers, losses and sheets. Each kill hits, by chance, one
process, the launcher or all of them, with SIGKILL or, one time in four, SIGTERM. docs/reliability.md has the figures
of long runs.
"""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import tyro

from tests.runs import ENV, ROOT, assert_same_run, command, make_dataset, newest_checkpoint, run_dirs

BATCH = 8


@dataclass(frozen=True)
class Options:
    """Kill a run again and again, and compare how it ends."""

    steps: int = 2000
    """Steps of D, and of G, of the run."""
    gpus: int = 1
    """Processes of the run."""
    most_seconds: float = 6.0
    """Longest time that training is left alone."""
    seed: int = 0
    """Seed of the kills."""


@dataclass
class Figures:
    """What happened to the run that was killed."""

    sessions: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    while_writing: int = 0
    """Kills after which a half-written file was left."""

    def __str__(self) -> str:
        kills = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kills.items())) or "none"
        return f"{self.sessions} sessions; kills: {kills}; {self.while_writing} while a file was written"


def soak(options: Options, folder: Path) -> Figures:
    """Train undisturbed and disturbed in `folder`; raise AssertionError if the runs differ."""
    data = make_dataset(folder / "blobs")
    args = ["tiny", "--resolution", 16, "--batch", BATCH, "--micro-batch", BATCH // options.gpus, "--seed", 3,
            "--tick-kimg", 0.08, "--image-snapshot-ticks", 4, "--total-kimg", options.steps * BATCH / 1000,
            "--gpus", options.gpus, "--data", data, "--resume", "auto", "--result-dir"]  # fmt: skip
    subprocess.run(command(*args, folder / "whole"), cwd=ROOT, env=ENV, check=True, capture_output=True)

    figures = Figures()
    rng = random.Random(options.seed)
    while not is_finished(folder / "killed"):
        session([*args, folder / "killed"], folder / "killed", options, rng, figures)

    [whole], [killed] = run_dirs(folder / "whole"), run_dirs(folder / "killed")
    assert newest_checkpoint(killed)["progress"]["cur_nimg"] == options.steps * BATCH
    assert_same_run(whole, killed)
    return figures


def is_finished(results: Path) -> bool:
    """Return whether the run has come to its end."""
    return any(json.loads(path.read_text())["outcome"] == "finished" for path in results.glob("*/run.json"))


def session(args: list[object], results: Path, options: Options, rng: random.Random, figures: Figures) -> None:
    """Launch the run, leave it alone for a while, and kill it if it has not ended."""
    before = written(results)
    with results.with_suffix(".log").open("a") as log:
        launcher = subprocess.Popen(command(*args), cwd=ROOT, env=ENV, stdout=log, stderr=log, start_new_session=True)
    figures.sessions += 1

    # Usually it is left alone until it trains, but the start is a moment like any other.
    if rng.random() < 0.8:
        while launcher.poll() is None and written(results) <= before:
            time.sleep(0.02)
    end = time.monotonic() + rng.uniform(0, options.most_seconds)
    while launcher.poll() is None and time.monotonic() < end:
        time.sleep(0.005)

    # All of its processes must be gone before the next session, whichever was killed.
    everyone = psutil.Process(launcher.pid).children(recursive=True) if launcher.poll() is None else []
    if launcher.poll() is None:
        kill(launcher, rng, options.gpus, figures)
    status = launcher.wait(60)
    _, left = psutil.wait_procs(everyone, timeout=60)
    assert not left, f"processes that outlive a kill: {left}"
    assert status is not None
    figures.while_writing += any(results.glob("*/.*.partial"))


def kill(launcher: "subprocess.Popen[bytes]", rng: random.Random, gpus: int, figures: Figures) -> None:
    """Send a signal to some or all processes of a run."""
    ranks = [p for p in psutil.Process(launcher.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    victims = ["launcher", "all", *(["one process"] if gpus > 1 and len(ranks) == gpus else [])]
    victim = rng.choice(victims)
    signum = rng.choice([signal.SIGKILL] * 3 + [signal.SIGTERM])

    if victim == "all":
        os.killpg(launcher.pid, signum)
    elif victim == "launcher":
        launcher.send_signal(signum)
    else:
        rng.choice(ranks).send_signal(signum)
    figures.kills[f"{signum.name} of {victim}"] += 1


def written(results: Path) -> int:
    """Return how much the run has written about its progress."""
    return sum(path.stat().st_size for path in results.glob("*/stats.jsonl"))


if __name__ == "__main__":
    options = tyro.cli(Options)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        figures = soak(options, Path(folder))
        print(f"{options.steps} steps, {options.gpus} processes: the same bits after {time.monotonic() - start:.0f} s")
        print(figures)
