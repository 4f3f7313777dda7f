"""Is training on pyramids robust to the learning rate? `python -m experiments.learning_rate`.

MSG-GAN, section 4.3, tries the first four rates on CIFAR-10. Here both networks have the rate, with connections and
without, and two more rates are to show where training breaks.
"""

from experiments.command import main
from experiments.plan import CONNECTIONS, QUALITY, SMALL, Experiment, Setting

LEARNING_RATE = Experiment(
    name="learning_rate",
    question="Is training with connections at all levels more robust to the learning rate than training without?",
    columns=("connections", "learning rate"),
    settings=[
        Setting((connections, rate), (*CONNECTIONS[connections], "--G-opt.lr", rate, "--D-opt.lr", rate))
        for connections in ("all", "none")
        for rate in ("0.001", "0.003", "0.005", "0.01", "0.03", "0.1")
    ],
    figures=QUALITY,
    args=SMALL,
    kimg=12,
)

if __name__ == "__main__":
    main(LEARNING_RATE)
