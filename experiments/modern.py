"""Are the residual networks of R3GAN better in the same time? `python -m experiments.modern`."""

from experiments.command import main
from experiments.plan import QUALITY, Experiment, Figure, Setting

# On two CPU cores, modern-robohash sees 0.62 to 0.7 times as many images a second as robohash.
MODERN = Experiment(
    name="modern",
    question="Are residual networks without normalisation, with R3GAN's loss, better in the same time?",
    columns=("preset",),
    settings=[
        Setting(("robohash",), ()),
        Setting(("modern-robohash",), (), preset="modern-robohash", share=0.67),
    ],
    figures=[
        *QUALITY,
        Figure("fid of random weights", "fid500"),
        Figure("recall of random weights", "pr1k3", lower_is_better=False, key="recall"),
    ],
    kimg=60,
)

if __name__ == "__main__":
    main(MODERN)
