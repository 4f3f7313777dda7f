"""Train a short run by the fast operations and by plain ones, and compare the curves of their losses.

python benchmarks/curves.py DATA [--steps 200] [--json FILE]

All runs see the same images. Rounding makes them drift apart in the end, as training is chaotic, so a run
of another seed shows how far apart runs of the same program are. The table has means over quarters of the run.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from timing import machine, save
from train_step import plain_operations

from config import PRESETS
from training.config import TrainConfig
from training.data.dataset import Dataset, open_dataset
from training.data.sampler import SampleOrder, read_batch
from training.ema import ema_beta, update_ema
from training.state import TrainState
from training.update import Updater


def curves(cfg: TrainConfig, dataset: Dataset, steps: int) -> dict[str, list[float]]:
    """Return the losses of D and G and the R1 penalty of each step in which they were computed."""
    state = TrainState(cfg, dataset.spec, torch.device("cpu"))
    updater = Updater(state, dataset.labels)
    order = SampleOrder(len(dataset), 0, mirror=False)  # the same images, whatever the seed

    values: dict[str, list[float]] = {}
    for _ in range(steps):
        updater.d_update(*read_batch(dataset, order, state.cur_nimg, cfg.batch), cfg.D_opt.lr)
        state.cur_nimg += cfg.batch
        update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, ema_beta(cfg, state.cur_nimg))
        updater.g_update(cfg.G_opt.lr)
        for name, value in state.averages.take().items():
            values.setdefault(name, []).append(value)
    return {name: values[name] for name in ("Loss/D", "Loss/G", "Loss/r1_penalty")}


def main(
    data: tyro.conf.Positional[Path],
    preset: str = "robohash",
    steps: int = 200,
    lr: float = 3e-4,
    json: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        data: Dataset to train on.
        preset: Preset of the run; R1 is applied in every step.
        steps: Steps of D and G.
        lr: Learning rate of both networks. With that of the preset, a difference in the seventh digit grows a
            thousandfold in each of the first steps, and the curves are as far apart as those of two seeds.
        json: Also write the means to this file.
    """
    cfg = PRESETS[preset]()
    cfg = replace(
        cfg,
        device="cpu",
        precision="fp32",
        loss=replace(cfg.loss, reg_interval=1),
        G_opt=replace(cfg.G_opt, lr=lr),
        D_opt=replace(cfg.D_opt, lr=lr),
    )
    dataset = open_dataset(data, cfg.resolution, cfg.use_labels)
    facts = machine(torch.device("cpu"))

    # Each run by its name.
    results = {}
    for name, changed, operations in (
        ("plain, fp32", cfg, plain_operations()),
        ("fast, fp32", cfg, nullcontext()),
        ("fast, bf16", replace(cfg, precision="bf16"), nullcontext()),
        ("fast, fp32, another seed", replace(cfg, seed=1), nullcontext()),
    ):
        with operations:
            results[name] = curves(changed, dataset, steps)
    # Means over quarters of the run.
    means = {
        name: {key: [round(float(part.mean()), 4) for part in np.array_split(values, 4)] for key, values in run.items()}
        for name, run in results.items()
    }
    save({**facts, "preset": preset, "steps": steps, "learning rate": lr, "means": means}, json)
    print("\n| run | statistic | " + " | ".join(f"quarter {i}" for i in range(1, 5)) + " |\n|---|---|---|---|---|---|")
    for name, statistics in means.items():
        for statistic, values in statistics.items():
            print(f"| {name} | {statistic} | {' | '.join(map(str, values))} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
