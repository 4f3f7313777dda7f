"""Training on images of any size: scaled once, kept until one of them changes."""

import json
import re
import subprocess
import zipfile
from subprocess import PIPE

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from dataprep.prepare import needs_scaling, scaled
from dnnlib.errors import UserError
from tests.runs import ENV, ROOT, assert_same_run, command, run_dirs, script, train
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
    assert needs_scaling(several, 32) == "images of several shapes: 00.png is 3x64x64, 01.png is 3x60x40"
    assert needs_scaling(odd, 32) == "images of 100x100"
    assert needs_scaling(tmp_path / "none", None) is None
    for resolution, message in ((None, "expected --resolution, e.g. 256"), (50, "--resolution 50: found 50x50")):
        with pytest.raises(UserError, match=re.escape(message)):
            needs_scaling(odd, resolution)


def test_shapes_are_those_that_training_reads(tmp_path):
    """Upright, gray apart from colours, and arrays too; what cannot be read counts for nothing."""
    turned = photos(tmp_path / "turned", (64, 96), (64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64)).save(turned / "upright.jpg", exif=exif)
    assert needs_scaling(turned, None) is None
    Image.new("RGB", (64, 96)).save(turned / "lying.jpg", exif=exif)
    assert "lying.jpg" in (needs_scaling(turned, 32) or "")

    mixed = photos(tmp_path / "mixed", (64, 64))
    Image.new("L", (64, 64)).save(mixed / "gray.png")
    assert needs_scaling(mixed, 32) == "images of several shapes: 00.png is 3x64x64, gray.png is 1x64x64"
    (mixed / "gray.png").write_bytes(b"damaged")
    assert needs_scaling(mixed, 32) is None

    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for i, height in enumerate((100, 120)):
        np.save(arrays / f"{i}.npy", np.zeros((5, height, 100), np.uint8))
    assert needs_scaling(arrays, 32) == "images of several shapes: 0.npy is 5x100x100, 1.npy is 5x100x120"


def test_a_zip_with_a_damaged_image(tmp_path):
    folder = photos(tmp_path / "in", (64, 64), (60, 40), (50, 50))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    content = bytearray((tmp_path / "in.zip").read_bytes())
    content[200] ^= 255
    (tmp_path / "in.zip").write_bytes(content)
    assert "several shapes" in (needs_scaling(tmp_path / "in.zip", 32) or "")
    assert len(open_dataset(scaled(tmp_path / "in.zip", "several", 32))) == 2


def test_photos_of_phones_beside_other_images(tmp_path, capsys):
    """They are reason enough only by themselves; otherwise they are left out as before, and that is said."""
    one = photos(tmp_path / "one", (64, 64))
    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(one / "phone.HEIC")
    assert needs_scaling(one, None) is None
    assert "left out 1 photo such as phone.HEIC" in capsys.readouterr().err
    (one / "00.png").unlink()
    assert needs_scaling(one, 32) == "photos such as phone.HEIC"
    assert len(open_dataset(scaled(one, "photos", 32))) == 1


def test_labels_come_along(tmp_path):
    folder = photos(tmp_path / "photos", (64, 64), (60, 40), (40, 90))
    labels = {"labels": [[f"{i:02d}.png", i % 2] for i in range(3)]}
    (folder / "dataset.json").write_text(json.dumps(labels))
    dataset = open_dataset(scaled(folder, "several", 32))
    np.testing.assert_array_equal(dataset.labels, np.eye(2)[[0, 1, 0]])


def test_two_processes_make_it_once(tmp_path):
    folder = photos(tmp_path / "photos", *[(64 + i, 64) for i in range(20)])
    args = ["tiny", "--data", folder, "--resolution", 16, "--batch", 4, "--total-kimg", 0.004]
    processes = [
        subprocess.Popen(command(*args, "--result-dir", tmp_path / name), cwd=ROOT, env=ENV, stderr=PIPE, text=True)
        for name in "ab"
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert sorted("once" in text for text in errors) == [False, True]
    (a,), (b,) = run_dirs(tmp_path / "a"), run_dirs(tmp_path / "b")
    assert_same_run(a, b)


def test_train_on_a_folder_of_photos(tmp_path):
    """The first run scales, the second finds what it made, and both are the run of a dataset made beforehand."""
    folder = photos(tmp_path / "photos", *[(64, 64), (60, 40), (40, 90), (33, 47)] * 5)
    (folder / "notes.txt").write_text("not an image")
    (folder / "19.png").write_bytes(b"damaged")
    args = ["tiny", "--resolution", "16", "--batch", "8", "--total-kimg", "0.064", "--tick-kimg", "0.064"]
    first = train(*args, "--data", folder, "--result-dir", tmp_path / "a")
    assert "images of several shapes: 00.png is 3x64x64" in first.stderr and "scaled to 16x16, once" in first.stderr
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
    assert "its images will be scaled, and labels are not looked at; forecast for 16x16 RGB" in dry.stdout
    refused = train("robohash", "--data", folder, "--result-dir", tmp_path / "d", check=False)
    assert refused.returncode == 2 and "expected --resolution" in refused.stderr and not (tmp_path / "d").exists()
