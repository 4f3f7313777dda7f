"""How should D merge features and images? `python -m experiments.combine`. (MSG-GAN, section 4.3.)"""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Experiment, Setting

COMBINE = Experiment(
    name="combine",
    question="How should D merge its features with the image of a level, without R1 and with it?",
    columns=("combine", "R1"),
    settings=[
        Setting((kind, gamma), ("--D.combine", kind, "--loss.r1-gamma", gamma))
        for gamma in ("0", "3")
        for kind in ("simple", "lin_cat", "cat_lin")
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(COMBINE)
