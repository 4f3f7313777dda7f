"""Training on images of any size: scaled once, kept until one of them changes."""

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from dataprep.prepare import needs_scaling, scaled
from dataprep.rules import Rules
from dnnlib.errors import UserError
from tests.runs import ENV, assert_same_run, run_dirs, script, train
from training.data.dataset import open_dataset


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own, also for the processes that a test starts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(ENV, "XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photos(folder, *sizes):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for i, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def test_what_needs_scaling(tmp_path):
    one = photos(tmp_path / "one", (64, 64), (64, 64))
    several = photos(tmp_path / "several", (64, 64), (60, 40))
    odd = photos(tmp_path / "odd", (100, 100))
    assert needs_scaling(one, None) is None and needs_scaling(one, 16) is None
    assert needs_scaling(one, 48) == "images of 64x64"
    assert needs_scaling(several, None) == "images of several sizes: 00.png has 64x64, 01.png has 60x40"
    assert needs_scaling(odd, None) == "images of 100x100"
    assert needs_scaling(tmp_path / "none", None) is None
    with pytest.raises(UserError, match=r"odd: images of 100x100, expected --resolution, e\.g\. 256"):
        scaled(odd, "images of 100x100", None)

    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(one / "phone.HEIC")
    assert needs_scaling(one, None) == "photos such as phone.HEIC"


def test_images_are_those_of_the_rules_and_made_anew_when_one_changes(tmp_path, cache):
    folder = photos(tmp_path / "photos", (64, 64), (60, 40), (40, 90))
    dataset = scaled(folder, "several", 32)
    for i in range(3):
        expected = Rules(resolution="32")(folder / f"{i:02d}.png").image
        np.testing.assert_array_equal(open_dataset(dataset)[i][0], expected)
    assert scaled(folder, "several", 32) == dataset and len(list((cache / "msg-gan" / "datasets").iterdir())) == 1

    Image.new("RGB", (50, 50), "red").save(folder / "01.png")
    again = scaled(folder, "several", 32)
    assert again != dataset and (open_dataset(again)[1][0][0] == 255).all()


def test_train_on_a_folder_of_photos(tmp_path):
    """The first run scales, the second finds what it made, and both are the run of a dataset made beforehand."""
    folder = photos(tmp_path / "photos", *[(64, 64), (60, 40), (40, 90), (33, 47)] * 5)
    (folder / "notes.txt").write_text("not an image")
    (folder / "19.png").write_bytes(b"damaged")
    args = ["tiny", "--resolution", "16", "--batch", "8", "--total-kimg", "0.064", "--tick-kimg", "0.064"]
    first = train(*args, "--data", folder, "--result-dir", tmp_path / "a")
    assert "images of several sizes: 00.png has 64x64" in first.stderr and "scaled to 16x16, once" in first.stderr
    assert "skipped 1 of 20" in first.stderr and "1 .txt" in first.stderr
    second = train(*args, "--data", folder, "--result-dir", tmp_path / "b")
    assert "once" not in second.stderr and "training on" in second.stderr
    script("dataset_tool.py", "create_from_images", tmp_path / "photos-set", folder, "--shuffle", 0, "--resize", 4)
    train(*args, "--data", tmp_path / "photos-set", "--result-dir", tmp_path / "c")
    (a,), (b,), (c,) = (run_dirs(tmp_path / name) for name in "abc")
    assert a.name == "00000-msg-stylegan-photos-1gpu"
    assert_same_run(a, b)
    assert_same_run(a, c)

    dry = train(*args, "--data", folder, "--dry-run")
    assert "its images will be scaled; forecast for 16x16 RGB" in dry.stdout
    refused = train("robohash", "--data", folder, "--result-dir", tmp_path / "d", check=False)
    assert refused.returncode == 2 and "expected --resolution" in refused.stderr and not (tmp_path / "d").exists()
