"""What a network is shown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from generation.reals import reals
from tests.datasets import write_dataset
from training.data.dataset import open_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), np.uint8)
    return write_dataset(tmp_path_factory.mktemp("reals") / "set", images)


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_level(dataset, tmp_path):
    reals(dataset, indices="1,4", output=tmp_path / "reals.png")
    pixels = np.asarray(Image.open(tmp_path / "reals.png"))
    assert pixels.shape == (32, 48, 3)
    for row, i in enumerate((1, 4)):
        image = open_dataset(dataset)[i][0].transpose(1, 2, 0)
        assert np.array_equal(pixels[16 * row : 16 * row + 16, 32:], image)
        mean = image.reshape(4, 4, 4, 4, 3).mean((1, 3))
        assert np.abs(pixels[16 * row : 16 * row + 16 : 4, :16:4] - mean).max() <= 0.51


def test_the_pyramid_of_one_image_as_files(dataset, tmp_path):
    reals(dataset, indices="3", outdir=tmp_path / "o", format="png")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "o").iterdir()}
    assert sizes == {f"real000003-{r}x{r}.png": (r, r) for r in (4, 8, 16)}
    with pytest.raises(UserError, match=r"real000003-4x4\.png exists already"):
        reals(dataset, indices="3", outdir=tmp_path / "o")


def test_augmentation_is_shown_on_all_levels(dataset, tmp_path):
    def sheet(name, **options):
        reals(dataset, indices="0-4", output=tmp_path / name, **options)
        return np.asarray(Image.open(tmp_path / name)).astype(int)

    plain = sheet("plain.png")
    assert np.array_equal(sheet("nothing.png", augment="ada", augment_p=0.0), plain)
    changed = sheet("changed.png", augment="ada", augment_parts="color", augment_p=1.0)
    assert np.abs(changed - plain).max(axis=(1, 2)).reshape(5, 16).max(1).min() > 20
    assert np.array_equal(sheet("again.png", augment="ada", augment_parts="color", augment_p=1.0), changed)
    assert not np.array_equal(sheet("other.png", augment="ada", augment_parts="color", augment_p=1.0, seed=1), changed)
    for options in ({"augment_parts": "cutout"}, {"augment_p": 2.0}):
        with pytest.raises(UserError, match=r"--augment-p.*: found"):
            reals(dataset, augment="ada", output=tmp_path / "no.png", **options)


def test_channels_are_chosen(dataset, tmp_path):
    reals(dataset, indices="0", level="-1", channels="2,0,1", output=tmp_path / "r.png")
    image = open_dataset(dataset)[0][0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "r.png")).transpose(2, 0, 1), image[[2, 0, 1]])
    reals(dataset, indices="0", level="-1", channels="1", output=tmp_path / "gray.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "gray.png")), image[1])


def test_a_tower_has_the_largest_level_on_top(dataset, tmp_path):
    reals(dataset, indices="0-1", columns=1, own_size=True, output=tmp_path / "t.png")
    pixels = np.asarray(Image.open(tmp_path / "t.png"))
    assert pixels.shape == (16 + 8 + 4, 32, 3)
    assert np.array_equal(pixels[:16, :16], open_dataset(dataset)[0][0].transpose(1, 2, 0))
    assert (pixels[16:, :4] == 255).all()


def test_a_small_dataset_is_shown_whole(dataset, tmp_path, capsys):
    reals(dataset, output=tmp_path / "r.png")
    assert "5 of 5 images" in capsys.readouterr().out
    with Image.open(tmp_path / "r.png") as im:
        assert im.size == (3 * 16, 5 * 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": "5"}, "--indices 5: .* has 5 images"),
        ({"indices": "x"}, "--indices x: found `x`"),
        ({"channels": "3"}, "--channels 3: expected numbers from 0 to 2"),
        ({"channels": "0,1"}, "--channels 0,1: expected one number, or three such as 3,2,1"),
        ({"level": "3"}, "--level 3: expected -3 to 2"),
        ({"format": "jpg"}, "--format jpg: expected --outdir as well"),
        ({"columns": 0}, "--columns 0: expected >= 1"),
        ({"output": "reals.txt"}, "reals.txt: expected a name that ends in one of .png"),
    ],
)
def test_what_is_refused(dataset, tmp_path, monkeypatch, options, message):
    options = {"indices": "0", "output": "reals.png", **options}
    with pytest.raises(UserError, match=message):
        reals(dataset, **{**options, "output": tmp_path / Path(options["output"])})
    assert not list(tmp_path.iterdir())
