"""Which recipe is best in the time of the demo? `python -m experiments.modern`.

The demo's own, the same without connections, and the residual networks of R3GAN.
"""

from experiments.command import main
from experiments.plan import CONNECTIONS, QUALITY, Experiment, Figure, Setting

# On two CPU cores, modern-robohash sees 0.56 to 0.7 times as many images a second as robohash.
MODERN = Experiment(
    name="modern",
    question="Which recipe is best in the time of the demo?",
    columns=("recipe",),
    settings=[
        Setting(("robohash",), ()),
        Setting(("robohash, no connections",), CONNECTIONS["none"]),
        Setting(("modern-robohash",), (), preset="modern-robohash", share=0.67),
    ],
    figures=[
        *QUALITY,
        Figure("fid of random weights", "fid1k"),
        Figure("recall of random weights", "pr1k3", lower_is_better=False, key="recall"),
    ],
    kimg=60,
)

if __name__ == "__main__":
    main(MODERN)
