"""Which loss trains pyramids best? `python -m experiments.losses`. (MSG-GAN, abstract: different loss functions.)"""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Experiment, Setting

NAMES = ("logistic", "relativistic-hinge", "relativistic-pairing", "hinge", "wgan-gp", "lsgan-per-sample")

LOSSES = Experiment(
    name="losses",
    question="Which loss trains pyramids best, without R1 and with it?",
    columns=("loss", "R1"),
    settings=[
        Setting((name, gamma), ("--loss.name", name, "--loss.r1-gamma", gamma))
        for gamma in ("0", "3")
        for name in NAMES
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(LOSSES)
