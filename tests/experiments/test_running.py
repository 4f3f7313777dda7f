"""An experiment, from its plan to its table; stopped in between, and started again."""

import json
import re
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from dnnlib.errors import UserError
from experiments.plan import Dataset, Experiment, Figure, Setting, Trial
from experiments.running import forecast, run_all
from experiments.tables import write_results
from tests.runs import make_dataset, run_dirs

EXPERIMENT = Experiment(
    name="example",
    question="Is it so?",
    columns=("rate", "images"),
    settings=[
        Setting(("high", "40"), ("--G-opt.lr", "0.01"), Dataset(40)),
        Setting(("low", "40"), ("--G-opt.lr", "0.001"), Dataset(40)),
    ],
    figures=[Figure("swd", "swd16"), Figure("change", "stability4", over_snapshots=True)],
    kimg=0.032,
    preset="tiny",
    args=(
        *("--resolution", "16", "--batch", "8", "--tick-kimg", "0.016"),
        *("--network-snapshot-ticks", "1", "--precision", "fp32"),
    ),
    held_out=Dataset(24, 1),
    random_detectors=False,
)


@pytest.fixture
def datasets(tmp_path):
    for data in (Dataset(40), Dataset(24, 1)):
        make_dataset(data.path(tmp_path / "datasets"), data.images, seed=data.seed)
    return tmp_path / "datasets"


def break_weights(path):
    """Set all weights of a network file to NaN."""
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    broken = {name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_file(broken, path, metadata)


def trials(experiment, seeds=2):
    return [Trial(experiment, s, seed, experiment.kimg) for seed in range(seeds) for s in experiment.settings]


def test_an_experiment_goes_on_where_it_was(datasets, tmp_path, capsys):
    out = tmp_path / "out"
    assert forecast(trials(EXPERIMENT), out, datasets) == "0 of 4 runs done"

    # One that fails is named, and what went before it stays.
    high, low = EXPERIMENT.settings
    wrong = replace(EXPERIMENT, settings=[high, Setting(("none", "40"), ("--batch", "7"), Dataset(40)), low])
    with pytest.raises(UserError, match=r"none_40_seed0: train\.py ended with status 2"):
        run_all(trials(wrong, seeds=1), out, datasets, jobs=1, threads=1)
    assert "multiple" in (out / "none_40_seed0" / "output.txt").read_text()
    assert not (out / "low_40_seed0").exists(), "no other is started after that"
    assert "1 of 4 runs done" in forecast(trials(EXPERIMENT), out, datasets)
    first = (out / "high_40_seed0" / "trial.json").stat().st_mtime_ns

    # Started again: the others are trained, and the first is not trained anew.
    outcomes = run_all(trials(EXPERIMENT), out, datasets, jobs=2, threads=1)
    assert (out / "high_40_seed0" / "trial.json").stat().st_mtime_ns == first
    assert [o.trial.name for o in outcomes] == ["high_40_seed0", "low_40_seed0", "high_40_seed1", "low_40_seed1"]
    for outcome in outcomes:
        assert run_dirs(out / outcome.trial.name) == [outcome.run_dir] and outcome.seconds > 0

    # The table has the values of the metrics.
    text = write_results(EXPERIMENT, outcomes, out, seeds=2)
    table = json.loads((out / "table.json").read_text())
    [high, low] = table["rows"]
    scores = json.loads((out / "high_40_seed1" / "trial.json").read_text())["scores"]
    assert high["values"][0][1] == [row["value"] for row in scores if row["metric"] == "swd16"][-1]
    assert len(low["values"]) == 2 and len(low["values"][1]) == 2
    assert text.startswith("| rate | images | swd (lower is better) | change (lower is better) | time |")
    assert "±" in text
    assert "--seeds 2 --kimg 0.032 --threads 1`: 4 runs of 0.032 kimg in fp32" in text
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")

    # A run that was stopped while it was scored is scored again, not trained again, and so is one with other metrics.
    (out / "high_40_seed0" / "trial.json").unlink()
    other = replace(EXPERIMENT, figures=(Figure("swd", "swd8"),))
    rescored = run_all(trials(other), out, datasets, jobs=2, threads=1)
    assert [o.run_dir for o in rescored] == [o.run_dir for o in outcomes]
    assert all(run_dirs(out / o.trial.name) == [o.run_dir] for o in rescored)
    assert [row["metric"] for row in rescored[0].rows] == ["swd8"] == [row["metric"] for row in rescored[3].rows]

    # A run keeps the scores of its last snapshot if only an earlier one is broken.
    snapshots = sorted(outcomes[0].run_dir.glob("network-snapshot-*.safetensors"))
    break_weights(snapshots[0])
    (out / "high_40_seed0" / "trial.json").unlink()
    [partly, *_] = run_all(trials(EXPERIMENT), out, datasets, jobs=1, threads=1)
    assert [row["metric"] for row in partly.rows] == ["swd16"]

    # A run whose images are not finite is a result without values, and does not stop the others.
    break_weights(snapshots[-1])
    (out / "high_40_seed0" / "trial.json").unlink()
    broken = run_all(trials(EXPERIMENT), out, datasets, jobs=1, threads=1)
    assert [o.has_diverged for o in broken] == [True, False, False, False]
    text = write_results(EXPERIMENT, broken, out, seeds=2)
    assert re.search(r"^\| high \| 40 \| \S+ \(1 of 2 diverged\) \|", text, flags=re.M)

    # What was made in another way is not mixed with the rest.
    longer = replace(EXPERIMENT, kimg=0.064)
    with pytest.raises(UserError, match="made with other options"):
        run_all(trials(longer), out, datasets, jobs=1, threads=1)


def test_runs_that_start_from_another(datasets, tmp_path):
    """The base is trained once, with seed 0, before the others."""
    make_dataset(Dataset(30, sets=(2, 5)).path(datasets), 30)
    settings = [
        Setting(("scratch",), (), Dataset(40)),
        Setting(("other",), ("--init", "{base}", "--freeze-d", "1"), Dataset(40)),
    ]
    base = Setting(("base",), (), Dataset(30, sets=(2, 5)), share=0.5)
    experiment = replace(EXPERIMENT, settings=settings, columns=("start",), base=base, figures=EXPERIMENT.figures[:1])
    outcomes = run_all(trials(experiment, seeds=1), tmp_path / "out", datasets, jobs=1, threads=1)

    assert json.loads((tmp_path / "out" / "base" / "trial.json").read_text())["seed"] == 0
    [network] = (tmp_path / "out" / "base").glob("*/network-snapshot-000000.016.safetensors")
    for outcome in outcomes:
        config = json.loads((outcome.run_dir / "config.json").read_text())
        assert config["init"] == ([str(network)] if "other" in outcome.trial.name else [])
    assert len(run_all(trials(experiment, seeds=1), tmp_path / "out", datasets, jobs=1, threads=1)) == 2
