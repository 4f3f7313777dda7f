import pytest

from training.spec import ImageSpec, is_power_of_two


def test_resolutions_are_the_sizes_of_the_levels():
    assert ImageSpec(resolution=64).resolutions == (4, 8, 16, 32, 64)
    assert ImageSpec(resolution=8).resolutions == (4, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 48}, "resolution: found 48, expected a power of two"),
        ({"resolution": 4}, "resolution: found 4"),
        ({"resolution": 2**15}, "resolution: found 32768"),
        ({"resolution": 8, "channels": 0}, "channels: found 0"),
        ({"resolution": 8, "c_dim": -1}, "c_dim: found -1"),
    ],
)
def test_impossible_images_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageSpec(**options)


def test_powers_of_two():
    assert [n for n in range(-2, 20) if is_power_of_two(n)] == [1, 2, 4, 8, 16]
