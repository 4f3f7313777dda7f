"""The command line that all experiments share."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from dnnlib import cli, distributed
from experiments.pictures import write_pictures
from experiments.plan import Experiment, Trial
from experiments.running import forecast, run_all
from experiments.tables import T95, write_results


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train the runs of an experiment, score them, and write a table and pictures. Started again, it goes on."""

    out: Path | None = None
    """Folder of the experiment. Default: results/experiments/NAME."""
    datasets: Path = Path("datasets")
    """Folder of datasets, where those of the experiment are made."""
    seeds: int = 3
    """Runs of each setting, each with another seed."""
    kimg: float | None = None
    """Length of each run in thousands of images. Default: the experiment's own."""
    jobs: int = 1
    """Runs at a time."""
    threads: int | None = None
    """Threads of each run. Their number changes what a run computes, by rounding. Default: the cores, divided among the
    runs at a time."""
    dry_run: bool = False
    """Print the plan; train nothing."""

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= max(T95):
            raise ValueError(f"expected --seeds from 1 to {max(T95)}")
        if any(value is not None and value <= 0 for value in (self.jobs, self.threads, self.kimg)):
            raise ValueError("expected --jobs, --threads and --kimg above 0")


def main(experiment: Experiment) -> None:
    """Run an experiment as the command line says."""
    cli.run(lambda: _main(experiment))


def _main(experiment: Experiment) -> None:
    description = f"{experiment.question}\n\n{Options.__doc__}"
    program = f"python -m experiments.{experiment.name}"
    options = cli.one_line_errors(partial(tyro.cli, Options, prog=program, description=description))

    kimg = options.kimg or experiment.kimg
    out = options.out or Path("results/experiments") / experiment.name
    trials = [
        Trial(experiment, setting, seed, kimg) for seed in range(options.seeds) for setting in experiment.settings
    ]

    # The plan, before anything is made.
    print(experiment.question)
    print(f"{len(trials)} runs of {kimg:g} kimg: {len(experiment.settings)} settings with {options.seeds} seeds; {out}")
    for setting in experiment.settings:
        described = ", ".join(f"{name} {value}" for name, value in zip(experiment.columns, setting.values, strict=True))
        print(f"  {described}")
    if options.dry_run:
        print(forecast(trials, out, options.datasets))
        return

    threads = options.threads or max(1, distributed.cores() // options.jobs)
    outcomes = run_all(trials, out, options.datasets, options.jobs, threads)
    write_pictures(outcomes, out / "runs.png")
    print("\n" + write_results(experiment, outcomes, out, options.seeds))
