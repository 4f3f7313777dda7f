"""Which levels should be connected, and do connections make training more stable? `python -m experiments.levels`.

MSG-GAN, section 4.3: the table of connections, and figure 5, the mean squared change of the images of fixed latents.
Without a connection, what G draws at a level is not trained, so that only the change at 32x32 can be compared.
"""

from experiments.command import main
from experiments.plan import CONNECTIONS, QUALITY, SMALL, Experiment, Figure, Setting

LEVELS = Experiment(
    name="levels",
    question="Which levels should be connected, and do connections make training more stable?",
    columns=("connections", "R1"),
    settings=[
        Setting((connections, gamma), (*args, "--loss.r1-gamma", gamma))
        for gamma in ("0", "3")
        for connections, args in CONNECTIONS.items()
    ],
    figures=[
        *QUALITY,
        *(
            Figure(f"change at {n}x{n}", "stability36", key=f"stability_{n}", over_snapshots=True, names_best=n == 32)
            for n in (4, 8, 16, 32)
        ),
    ],
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(LEVELS)
