"""The film of a run, from its sheets."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import LABEL_HEIGHT, save_image, sheet
from generation.sampling import Sampler, SamplingOptions
from generation.timelapse import PLOT_HEIGHT, PLOT_WIDTH, timelapse
from tests.runs import make_dataset, run_dirs, train

KIMG = ("000000", "000002", "000010")


@pytest.fixture
def run(tmp_path):
    """A run with three sheets of two levels, 3x2 samples; sample i of sheet k has the gray value 10 * i + k."""
    path = tmp_path / "00003-msg-stylegan-set-1gpu"
    for r in (4, 8):
        (path / f"{r}x{r}").mkdir(parents=True)
        for k, kimg in enumerate(KIMG):
            samples = np.full((6, 3, r, r), 0, np.uint8) + (10 * np.arange(6, dtype=np.uint8) + k)[:, None, None, None]
            samples[:, 0] += 100 if r == 4 else 0  # the smaller level is red
            save_image(sheet(samples, 3, (8, 8)), path / f"{r}x{r}" / f"fakes{kimg}.png")
    (path / "8x8" / "fakes000012.png").touch()  # the other level is not written yet
    return path


def frames(folder):
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def test_a_frame_shows_each_sample_at_every_level_in_the_order_of_kimg(run, tmp_path):
    timelapse(str(run), samples=2, output=tmp_path / "film")
    shown = frames(tmp_path / "film")
    assert len(shown) == 3 and shown[0].shape == (16 + LABEL_HEIGHT, 16, 3)
    for k, frame in enumerate(shown):
        for i in range(2):
            row = frame[8 * i : 8 * i + 8]
            assert (row[:, :8] == [10 * i + k + 100, 10 * i + k, 10 * i + k]).all() and (row[:, 8:] == 10 * i + k).all()
        assert (frame[16:] < 128).any()  # the text


def test_one_level_and_the_number_of_a_run(run, tmp_path, capsys):
    timelapse("3", result_dir=tmp_path, level="0", samples=99, output=tmp_path / "film")
    assert frames(tmp_path / "film")[0].shape == (6 * 8 + LABEL_HEIGHT, 8, 3)
    assert "3 sheets, 0 to 10 kimg" in capsys.readouterr().out


def test_the_change_of_each_level_is_plotted_below(run, tmp_path):
    timelapse(str(run), stability=True, output=tmp_path / "film")
    shown = frames(tmp_path / "film")
    assert shown[0].shape == (6 * PLOT_WIDTH // 2 + LABEL_HEIGHT + PLOT_HEIGHT, PLOT_WIDTH, 3)
    plots = [frame[-PLOT_HEIGHT:] for frame in shown]
    # The curves grow from frame to frame: each plot differs from the one before.
    assert all(not np.array_equal(a, b) for a, b in pairwise(plots))


def test_a_film_of_snapshots_shows_what_the_networks_draw(tmp_path):
    results = tmp_path / "results"
    train("tiny", "--data", make_dataset(tmp_path / "set"), "--resolution", 16, "--batch", 8, "--total-kimg", 0.032,
          "--tick-kimg", 0.016, "--result-dir", results)  # fmt: skip
    [run] = run_dirs(results)
    timelapse(str(run), source="snapshots", samples=3, output=tmp_path / "film", device="cpu")
    networks = sorted(run.glob("network-snapshot-*.safetensors"))
    shown = frames(tmp_path / "film")
    assert len(shown) == len(networks) == 2
    for network, frame in zip(networks, shown, strict=True):
        sampler = Sampler(SamplingOptions(network=str(network), trunc=1.0, device="cpu"))
        for row, sample in enumerate(sampler.draw(sampler.latents(range(3)))):
            last = frame[16 * row : 16 * row + 16, 32:]
            assert np.array_equal(last, sample.images[-1].transpose(1, 2, 0))


def test_a_gray_run_as_a_gif(run, tmp_path):
    for path in run.glob("*/*.png"):
        if path.stat().st_size:
            Image.open(path).convert("L").save(path)
    timelapse(str(run), output=tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as im:
        assert im.n_frames == 3


def test_a_damaged_sheet_is_named_and_other_files_are_ignored(run, tmp_path):
    for folder in run.iterdir():
        (folder / "fakes-best.png").write_bytes(b"mine")
    timelapse(str(run), output=tmp_path / "film.gif")

    (run / "4x4" / "fakes000002.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"4x4/fakes000002.png: not a readable image"):
        timelapse(str(run), output=tmp_path / "other.gif")
    assert not (tmp_path / "other.gif").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "2"}, "--level 2: expected -2 to 1"),
        ({"samples": 0}, "--samples 0: expected 1 to 1000"),
        ({"fps": 0}, "--fps 0: expected 0.1 to 50 in a .gif"),
        ({"run": "7"}, "timelapse 7: 0 run dirs"),
        ({"run": "nowhere"}, "nowhere: no such run dir"),
        ({"run": "."}, "no sheets in it, expected a run dir"),
    ],
)
def test_what_makes_no_film_is_refused(run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    options = {"run": str(run), **options}
    with pytest.raises(UserError, match=message):
        timelapse(options.pop("run"), result_dir=tmp_path, output=tmp_path / "film.gif", **options)
    assert not (tmp_path / "film.gif").exists()
