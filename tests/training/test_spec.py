from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.spec import ImageSpec, is_power_of_two, pyramid_sizes, size_error


def test_squares_of_powers_of_two_begin_at_4x4():
    assert ImageSpec(resolution=64).resolutions == (4, 8, 16, 32, 64)
    assert ImageSpec(resolution=8).sizes == ((4, 4), (8, 8))
    assert ImageSpec(resolution=64) == ImageSpec(resolution=64, width=64)


@pytest.mark.parametrize(
    ("height", "width", "base"), [(96, 64, (6, 4)), (40, 40, (5, 5)), (160, 96, (5, 3)), (192, 256, (3, 4))]
)
def test_other_proportions_begin_where_an_edge_is_odd_or_small(height, width, base):
    spec = ImageSpec(resolution=height, width=width)
    assert spec.sizes[0] == base and spec.sizes[-1] == (height, width)
    assert spec.size_text == f"{width}x{height}" and spec.shape == (3, height, width)


@given(st.integers(6, 2000), st.integers(6, 2000))
def test_every_size_has_a_pyramid_or_one_near_it(height, width):
    sizes = pyramid_sizes(height, width)
    assert all((2 * h, 2 * w) == larger for (h, w), larger in pairwise(sizes))
    problem = size_error(height, width)
    if problem is None:
        assert max(sizes[0]) <= 16 and len(sizes) > 1
    elif "e.g. " in problem:
        near_width, near_height = map(int, problem.rpartition("e.g. ")[2].split("x"))
        assert size_error(near_height, near_width) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 100}, "resolution: found 100x100, expected edges of at most 16 pixels .* e.g. 96x96"),
        ({"resolution": 480, "width": 640}, "found 640x480, .*here 20x15.*, e.g. 640x512"),
        ({"resolution": 2}, "resolution: found 2x2, expected edges of 3 to 16384 pixels"),
        ({"resolution": 2**15}, "resolution: found 32768x32768"),
        ({"resolution": 8, "channels": 0}, "channels: found 0"),
        ({"resolution": 8, "c_dim": -1}, "c_dim: found -1"),
    ],
)
def test_impossible_images_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageSpec(**options)


def test_powers_of_two():
    assert [n for n in range(-2, 20) if is_power_of_two(n)] == [1, 2, 4, 8, 16]
