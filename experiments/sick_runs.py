"""What do runs look like that go wrong? `python -m experiments.sick_runs --seeds 1` (docs/training-guide.md)."""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Experiment, Setting

SICK_RUNS = Experiment(
    name="sick_runs",
    question="What do runs look like that go wrong?",
    columns=("run",),
    settings=[
        Setting(("healthy",), ()),
        Setting(("R1 and R2 too weak",), ("--loss.r1-gamma", "1", "--loss.r2-gamma", "1")),
        Setting(("D as slow as G",), ("--D-opt.lr", "0.002")),
        Setting(("D too fast",), ("--D-opt.lr", "0.008")),
    ],
    figures=QUALITY,
    preset="modern-robohash",
    args=SMALL,
    kimg=14,
)

if __name__ == "__main__":
    main(SICK_RUNS)
