"""The order of images, and reading them ahead."""

import os
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlib.errors import UserError
from training.data import sampler
from training.data.sampler import SampleOrder, batches, crash, read_ahead, read_batch
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


def test_take_draws_consecutive_samples():
    order = SampleOrder(10, 3, mirror=True)
    indices, mirrored = order.take(7, 15)
    assert list(zip(indices.tolist(), mirrored.tolist(), strict=True)) == [order[k] for k in range(7, 22)]


def test_the_order_is_that_of_earlier_versions():
    """Runs that were started before this version go on with the images that they would have seen."""
    order = SampleOrder(6, 5, mirror=True)
    rng = np.random.default_rng((5, 2))
    expected = list(zip(rng.permutation(6).tolist(), (rng.random(6) < 0.5).tolist(), strict=True))
    assert [order[12 + k] for k in range(6)] == expected


@pytest.mark.parametrize("mirror", [False, True])
def test_large_datasets_are_shuffled_as_a_whole_without_a_list(monkeypatch, mirror):
    monkeypatch.setattr(sampler, "LARGE", 99)
    order = SampleOrder(100, seed=3, mirror=mirror)
    for epoch in range(2):
        indices, mirrored = order.take(100 * epoch, 100)
        assert sorted(indices.tolist()) == list(range(100)) != indices.tolist()
        assert 25 < mirrored.sum() < 75 if mirror else not mirrored.any()
    assert order.take(0, 100)[0].tolist() != order.take(100, 100)[0].tolist()

    # Any part is what it is within the whole, also across two epochs.
    whole = [array.tolist() for array in order.take(0, 200)]
    assert [array.tolist() for array in order.take(90, 30)] == [array[90:120] for array in whole]
    assert order[95] == (whole[0][95], whole[1][95])


def test_a_billion_images_take_no_memory():
    order = SampleOrder(10**9, seed=0, mirror=True)
    tracemalloc.start()
    indices, mirrored = order.take(10**12 + 5, 64)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert len(set(indices.tolist())) == 64 and indices.max() > 10**8 and mirrored.any()


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


def test_batches_are_mirrored_as_read_batch_does():
    data, order = Numbers(13), SampleOrder(13, 0, mirror=True)
    stream = batches(data, order, 10, 8, 4, 4)
    for k in range(5):
        images, labels = next(stream)
        expected, expected_labels = read_batch(data, order, 14 + 8 * k, 4)
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)
    stream.close()


def test_closing_ends_the_reading_thread():
    reader = batches(Numbers(4), SampleOrder(4, 0, False), 0, 4, 0, 4)
    next(reader)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]


class Crashing:
    """A dataset whose image 5 ends the process that reads it."""

    decodes, name = True, "crashing"
    labels = np.zeros((8, 0), np.float32)

    def __init__(self):
        self.spec = ImageSpec(resolution=8)

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            os._exit(1)
        return np.zeros((3, 8, 8), np.uint8), self.labels[i]

    def batch(self, indices):
        images, labels = zip(*[self[i] for i in indices], strict=True)
        return np.stack(images), np.stack(labels)

    def where(self, i):
        return f"crashing: {i}.png"


def test_a_crash_of_a_worker_names_the_file():
    stream = batches(Crashing(), SampleOrder(8, 0, False), 0, 4, 0, 4, 2)
    with pytest.raises(UserError, match=r"crashing: 5\.png: reading image 5 ends the process"):
        for _ in range(4):
            next(stream)


def test_no_image_is_blamed_for_a_process_that_was_killed():
    assert "out of memory?" in crash(Crashing(), [np.array([1]), np.array([1])])


def test_groups_are_read_in_their_order():
    groups = [np.array([3, 1]), np.array([2]), np.array([0, 0, 3])]
    results = list(read_ahead(Numbers(4), iter(groups)))
    assert [labels[:, 0].tolist() for _, labels in results] == [[3, 1], [2], [0, 0, 3]]
