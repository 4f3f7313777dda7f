"""Every class as often as any other, and every image of a class as often as any other of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.balanced import BalancedOrder

CLASSES = st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, max_size=40).map(np.array)


@given(CLASSES, st.integers(0, 5))
def test_rounds_have_one_image_of_each_class(classes, seed):
    present = np.unique(classes)
    order = BalancedOrder(classes, seed, mirror=False)
    images, mirrored = order.take(0, 60 * len(present))
    assert not mirrored.any()
    for turn in classes[images].reshape(60, len(present)):
        assert sorted(turn) == present.tolist()

    # A class begins anew when all of its images have been shown.
    for k in present:
        members = np.flatnonzero(classes == k)
        shown = images[classes[images] == k]
        for epoch in range(60 // len(members)):
            assert sorted(shown[epoch * len(members) :][: len(members)]) == members.tolist()


@given(CLASSES, st.integers(0, 300), st.integers(1, 40))
def test_an_image_follows_from_its_sample_index(classes, start, count):
    order = BalancedOrder(classes, 3, mirror=True)
    whole = order.take(0, start + count)
    for ours, part in zip(order.take(start, count), whole, strict=True):
        assert np.array_equal(ours, part[start:])


def test_orders_differ_between_epochs_seeds_and_rounds():
    classes = np.repeat([0, 1], 50)
    images, mirrored = BalancedOrder(classes, 0, mirror=True).take(0, 200)
    first, second = (half[half < 50] for half in (images[:100], images[100:]))
    assert not np.array_equal(first, second) and 60 < mirrored.sum() < 140
    assert not np.array_equal(images, BalancedOrder(classes, 1, mirror=True).take(0, 200)[0])
    assert len({tuple(turn) for turn in classes[images].reshape(-1, 2).tolist()}) == 2
