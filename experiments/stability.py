"""Do images of fixed latents change less with connections? `python -m experiments.stability`. (MSG-GAN, figure 5.)"""

from experiments.command import main
from experiments.plan import CONNECTIONS, QUALITY, SMALL, Experiment, Figure, Setting

STABILITY = Experiment(
    name="stability",
    question="Do the images of fixed latents change less from snapshot to snapshot with connections than without?",
    columns=("connections", "R1"),
    settings=[
        Setting((connections, gamma), (*CONNECTIONS[connections], "--loss.r1-gamma", gamma))
        for gamma in ("0", "3")
        for connections in ("all", "none")
    ],
    figures=[
        *(
            Figure(f"change at {n}x{n}", "stability36", key=f"stability_{n}", over_snapshots=True)
            for n in (4, 8, 16, 32)
        ),
        *QUALITY,
    ],
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(STABILITY)
