"""Which levels should be connected? `python -m experiments.levels`. (MSG-GAN, section 4.3.)"""

from experiments.command import main
from experiments.plan import CONNECTIONS, QUALITY, SMALL, Experiment, Setting

LEVELS = Experiment(
    name="levels",
    question="Which levels should be connected?",
    columns=("connections", "R1"),
    settings=[
        Setting((connections, gamma), (*args, "--loss.r1-gamma", gamma))
        for gamma in ("0", "3")
        for connections, args in CONNECTIONS.items()
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(LEVELS)
