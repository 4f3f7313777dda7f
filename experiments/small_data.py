"""Does augmentation help where there are few images? `python -m experiments.small_data`."""

from experiments.command import main
from experiments.plan import QUALITY, SMALL, Dataset, Experiment, Figure, Setting

AUGMENTATIONS = {
    "none": (),
    # p can rise from 0 to 1 within half of the run.
    "ada": ("--augment.name", "ada", "--augment.kimg", "{half}"),
    "diffaugment": ("--augment.name", "diffaugment"),
}

SMALL_DATA = Experiment(
    name="small_data",
    question="Does augmentation help where there are few images?",
    columns=("images", "augmentation"),
    settings=[
        Setting((str(images), name), args, Dataset(images))
        for images in (200, 1000)
        for name, args in AUGMENTATIONS.items()
    ],
    figures=[*QUALITY, Figure("fid of random weights", "fid250")],
    args=SMALL,
    kimg=40,
)

if __name__ == "__main__":
    main(SMALL_DATA)
