"""Does it help to start from a network that was trained on other images? `python -m experiments.transfer`.

The base has learned robots, monsters and robot heads; the runs learn cats, of which there are 200. Labels are left out,
since the base has seen none of a cat.
"""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Dataset, Experiment, Setting

CATS = Dataset(200, sets=(4,))
FROM_BASE = ("--init", "{base}")

TRANSFER = Experiment(
    name="transfer",
    question="Does it help, with 200 images, to start from a network that was trained on others?",
    columns=("start", "frozen"),
    settings=[
        Setting(("from scratch", "nothing"), (), CATS),
        Setting(("another network", "nothing"), FROM_BASE, CATS),
        Setting(("another network", "D: 1 level"), (*FROM_BASE, "--freeze-d", "1"), CATS),
        Setting(("another network", "D: 2 levels"), (*FROM_BASE, "--freeze-d", "2"), CATS),
        Setting(("another network", "G: all but the mapping"), (*FROM_BASE, "--mapping-only"), CATS),
    ],
    figures=QUALITY,
    args=(*SMALL, "--no-use-labels"),
    held_out=Dataset(2000, seed=1, sets=(4,)),
    base=Setting(("base", ""), (), Dataset(4000, sets=(1, 2, 3)), share=2.0),
    kimg=12,
)

if __name__ == "__main__":
    main(TRANSFER)
