"""How should D use labels? `python -m experiments.classes`. (Miyato and Koyama 2018: projection discriminators.)"""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Experiment, Setting

CLASSES = Experiment(
    name="classes",
    question="How should D use labels?",
    columns=("labels", "head of D"),
    settings=[
        Setting(("no", "one score"), ("--no-use-labels",)),
        Setting(("yes", "switch"), ("--D.label-head", "switch")),
        Setting(("yes", "projection"), ("--D.label-head", "projection")),
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(CLASSES)
