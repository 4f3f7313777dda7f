import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.sampler import SampleOrder, batches, read_batch
from training.spec import ImageSpec


class Numbers:
    """Image i is filled with i; its left half is 100 brighter."""

    name = "numbers"

    decodes = False

    def __init__(self, n):
        self.n, self.labels = n, np.arange(n, dtype=np.float32)[:, None]
        self.spec = ImageSpec(resolution=8, channels=1, c_dim=1)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        image = np.full((1, 8, 8), i, np.uint8)
        image[:, :, :4] += 100
        return image, self.labels[i]

    def batch(self, indices):
        return np.stack([self[i][0] for i in indices]), self.labels[indices]


@given(st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_shows_every_image_once(n, epoch):
    order = SampleOrder(n, seed=3, mirror=False)
    seen = [order[epoch * n + k][0] for k in range(n)]
    assert sorted(seen) == list(range(n))


def test_epochs_and_seeds_differ():
    def first(seed, epoch):
        order = SampleOrder(100, seed, mirror=False)
        return [order[100 * epoch + k] for k in range(100)]

    assert first(0, 0) == first(0, 0) != first(0, 1) != first(1, 0)


def test_mirror_flips_half_of_the_images():
    data = Numbers(100)
    images, labels = read_batch(data, SampleOrder(100, 0, mirror=True), 0, 100)
    flipped = images[:, 0, 0, 7] > images[:, 0, 0, 0]
    assert 30 < flipped.sum() < 70
    np.testing.assert_array_equal(np.where(flipped, images[:, 0, 0, 0], images[:, 0, 0, 7]), labels[:, 0])
    plain, _ = read_batch(data, SampleOrder(100, 0, mirror=False), 0, 100)
    assert not (plain[:, 0, 0, 7] > plain[:, 0, 0, 0]).any()


@given(st.integers(0, 10), st.sampled_from([1, 2, 4]))
def test_ranks_and_restarts_see_the_same_stream(steps_before, ranks):
    """`ranks` processes that start late together read what one process reads from the start."""
    data, order = Numbers(13), SampleOrder(13, 0, mirror=True)
    one = batches(data, order, 0, 8, 0, 8)
    whole = [next(one)[1] for _ in range(steps_before + 2)][steps_before:]
    one.close()
    parts = [batches(data, order, 8 * steps_before, 8, r * (8 // ranks), 8 // ranks) for r in range(ranks)]
    for expected in whole:
        np.testing.assert_array_equal(np.concatenate([next(p)[1] for p in parts]), expected)
    for p in parts:
        p.close()


def test_closing_ends_the_reading_thread():
    reader = batches(Numbers(4), SampleOrder(4, 0, False), 0, 4, 0, 4)
    next(reader)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
