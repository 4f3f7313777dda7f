"""What do runs look like that go wrong? `python -m experiments.sick_runs --seeds 1` (docs/training-guide.md)."""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Dataset, Experiment, Setting

WEAK_PENALTIES = ("--loss.r1-gamma", "1", "--loss.r2-gamma", "1", "--G-opt.lr", "0.001", "--D-opt.lr", "0.001")

SICK_RUNS = Experiment(
    name="sick_runs",
    question="What do runs look like that go wrong?",
    columns=("run",),
    settings=[
        Setting(("healthy",), ()),
        Setting(("few images",), (), Dataset(200), share=2.0),
        Setting(("gamma too small",), WEAK_PENALTIES, preset="modern-robohash"),
        Setting(("rate too large",), ("--D-opt.lr", "0.008"), preset="modern-robohash"),
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=20,
)

if __name__ == "__main__":
    main(SICK_RUNS)
