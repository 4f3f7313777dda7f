"""Pictures of runs show the sheets of the first seed, of the largest level."""

import json

import numpy as np
from PIL import Image

from experiments.pictures import write_pictures
from experiments.plan import Experiment, Setting, Trial
from experiments.running import Outcome

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def make_run(run_dir, color, small_color):
    for size, fill in ((16, color), (8, small_color)):
        folder = run_dir / f"{size}x{size}"
        folder.mkdir(parents=True)
        for tag in ("000000", "000001", "000002"):
            Image.new("RGB", (size * 10, size * 4), fill).save(folder / f"fakes{tag}.png")
    rows = [{"kimg": k, "Loss/scores/real": 1.0, "Loss/scores/fake": -k} for k in (1, 2)]
    (run_dir / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_setting_is_shown_by_the_largest_level_of_its_first_seed(tmp_path):
    settings = [Setting(("a",), ()), Setting(("b",), ())]
    experiment = Experiment("example", "Is it so?", ("name",), settings, (), kimg=2)
    outcomes = []
    for name, setting, seed, color in (("a0", 0, 0, RED), ("b0", 1, 0, BLUE), ("a1", 0, 1, YELLOW)):
        make_run(tmp_path / name, color, small_color=GREEN)
        outcomes.append(Outcome(Trial(experiment, settings[setting], seed, 2), tmp_path / name, 1.0, 1, "fp32", []))

    write_pictures(outcomes, tmp_path / "runs.png")
    pixels = np.asarray(Image.open(tmp_path / "runs.png").convert("RGB")).reshape(-1, 3)
    counts = [int((pixels == color).all(1).sum()) for color in (RED, BLUE, GREEN, YELLOW)]
    assert counts[0] > 10_000 and counts[1] > 10_000 and counts[2:] == [0, 0]
