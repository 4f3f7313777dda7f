"""`python -m experiments` lists the experiments."""

from experiments.classes import CLASSES
from experiments.combine import COMBINE
from experiments.learning_rate import LEARNING_RATE
from experiments.levels import LEVELS
from experiments.losses import LOSSES
from experiments.modern import MODERN
from experiments.sick_runs import SICK_RUNS
from experiments.small_data import SMALL_DATA
from experiments.transfer import TRANSFER

for experiment in (LEVELS, LEARNING_RATE, LOSSES, COMBINE, CLASSES, SMALL_DATA, TRANSFER, MODERN, SICK_RUNS):
    print(f"python -m experiments.{experiment.name:<15} {experiment.question}")
    print(f"{'':<37} {len(experiment.settings)} settings of {experiment.kimg:g} kimg with each seed")
