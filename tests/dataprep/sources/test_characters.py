"""Characters of the artwork inside robohash."""

import numpy as np
import pytest
from PIL import Image

from dataprep.sources import characters
from dataprep.sources.characters import Characters, create_robohash, draw, slots
from dnnlib.errors import UserError


def test_every_set_is_complete(monkeypatch):
    """Ten colours of robots, one variant of the others; each part is loaded once and lands in its own slot."""
    jobs = []

    def load(function, paths, workers, ahead):
        for path, resolution in paths:
            assert resolution == 8
            yield np.full((4, 1, 1), len(jobs) % 256, np.uint8)
            jobs.append(path)

    monkeypatch.setattr(characters, "ordered_map", load)
    sets = characters.load_sets([1, 2, 3, 4, 5], 8, workers=1)
    assert {s: len(variants) for s, variants in sets.items()} == {1: 10, 2: 1, 3: 1, 4: 1, 5: 1}
    in_order = iter(enumerate(jobs))
    for s, variants in sets.items():
        for parts in variants:
            assert len(parts) >= 5 and all(parts)
            for slot in parts:
                places = [(next(in_order), part) for part in slot]
                assert len({path.parent for (_, path), _ in places}) == 1
                for (i, path), part in places:
                    assert f"set{s}" in path.parts and part[0, 0, 0] == np.float32(i % 256) / 255
    assert len(set(jobs)) == len(jobs)


def test_slots_are_drawn_in_the_order_of_their_tags(tmp_path):
    for name in ("000#04Body", "001#Mouth", "003#02Colors", "004#01Face"):
        (tmp_path / name).mkdir()
        for part in ("b.png", "a.png", "c.txt"):
            (tmp_path / name / part).touch()
    assert [[p.parent.name[4:] + p.name for p in slot] for slot in slots(tmp_path)] == [
        [f"{tag}a.png", f"{tag}b.png"] for tag in ("01Face", "02Colors", "04Body", "Mouth")
    ]
    (tmp_path / "plain").mkdir()
    for name in ("001#Eye", "000#Body"):
        (tmp_path / "plain" / name).mkdir()
        (tmp_path / "plain" / name / f"{name[4:]}.png").touch()
    assert [slot[0].stem for slot in slots(tmp_path / "plain")] == ["Body", "Eye"]


def test_parts_are_laid_over_each_other_on_white():
    body = np.zeros((4, 2, 2), np.float32)
    body[[0, 3]] = 1  # opaque red
    glass = np.zeros((4, 2, 2), np.float32)
    glass[[2, 3], 0] = 0.5  # blue, half transparent, in the upper row
    hole = body * np.array([[0, 1], [1, 1]], np.float32)
    image = draw([[hole], [glass]], np.random.default_rng(0))
    assert image.dtype == np.uint8 and image.shape == (3, 2, 2)
    np.testing.assert_array_equal(image[:, 0, 0], [128, 128, 255])  # on white
    np.testing.assert_array_equal(image[:, 0, 1], [128, 0, 128])
    np.testing.assert_array_equal(image[:, 1, 0], [255, 0, 0])


def test_an_image_depends_on_its_index_alone(monkeypatch):
    rng = np.random.default_rng(0)
    artwork = {s: [[[rng.random((4, 8, 8)) / 2 for _ in range(9)] for _ in range(3)]] for s in (2, 4, 5)}
    monkeypatch.setattr(characters, "load_sets", lambda sets, resolution, workers: artwork)
    source = Characters(100, 8, [2, 4, 5], seed=3, workers=1)
    entries = list(source.entries(np.arange(100)))
    assert len(source) == 100 and source.classes == 5 and {e.label for e in entries} == {1, 3, 4}
    (again,) = source.entries(np.array([70]))
    assert again.label == entries[70].label and np.array_equal(again.data, entries[70].data)
    (other,) = Characters(100, 8, [2, 4, 5], seed=4, workers=1).entries(np.array([70]))
    assert not np.array_equal(other.data, again.data)


def test_artwork_is_scaled_without_bleeding(tmp_path):
    """Transparent pixels have no colour, whatever the file says."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 1] = 255  # green, invisible
    pixels[:, 8:] = [255, 0, 0, 255]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    part = characters.load_part((tmp_path / "a.png", 8))
    assert part.shape == (4, 8, 8) and not part[1].any() and part[0, :, -1].min() == 255


@pytest.mark.parametrize(
    "options",
    [{"resolution": 16}, {"num_images": 0}, {"sets": ()}, {"sets": (1, 1)}, {"sets": (6,)}, {"seed": -1}],
)
def test_options_are_checked(options, tmp_path):
    (name,) = options
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} .*: expected"):
        create_robohash(tmp_path / "x", **options)
    assert not list(tmp_path.iterdir())
