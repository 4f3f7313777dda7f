"""The order of streamed datasets, and reading them ahead."""

import threading
import time
import weakref
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.streaming import STRETCH_BYTES, StreamOrder, stream_batches, stretch_length


def samples(order, start, count):
    """Return the images of consecutive global samples, and which are mirrored."""
    indices, mirrored = [], []
    for sample in range(start, start + count):
        step, place = divmod(sample, order.batch)
        turn, t = divmod(step, order.stretch)
        of_turn = order.turn(turn, place)
        indices.append(int(of_turn[0][t]))
        mirrored.append(bool(of_turn[1][t]))
    return indices, mirrored


@given(st.integers(9, 200), st.integers(1, 8), st.integers(1, 9), st.integers(0, 3))
def test_every_image_is_shown_as_often_as_any_other(length, batch, stretch, seed):
    """After any number of rounds, which are parts of whole epochs, counts differ by at most one."""
    order = StreamOrder(length, seed, False, batch, stretch)
    for rounds in (1, 2, 5):
        counts = Counter(samples(order, 0, rounds * batch * stretch)[0])
        assert all(0 <= i < length for i in counts)
        assert max(counts.values()) - min(counts[i] for i in range(length)) <= 1


@given(st.integers(50, 500), st.integers(1, 8), st.integers(2, 9))
def test_the_images_of_a_turn_are_neighbours(length, batch, stretch):
    """So they are one request, in any epoch, but where the dataset or the epoch ends within the turn."""
    order = StreamOrder(length, 0, False, batch, stretch)
    epochs = 4
    cuts = 0
    for turn in range(epochs * length // stretch):
        indices = np.unique(order.turn(*divmod(turn, batch))[0])
        cuts += (np.diff(indices) != 1).sum()
    assert cuts <= 3 * epochs


def test_the_whole_set_is_shuffled():
    """Images of one batch lie anywhere, each epoch is cut and ordered anew, and neighbours do not follow each other."""
    order = StreamOrder(10_000, 3, True, batch=8, stretch=25)
    first, mirrored = samples(order, 0, 10_000)
    second, _ = samples(order, 10_000, 10_000)
    assert sorted(first) == sorted(second) == list(range(10_000))
    assert 4500 < sum(mirrored) < 5500

    # As far apart as two random images, which is a third of the set on average.
    steps = np.abs(np.diff(np.reshape(first, (-1, 8)), axis=1))
    assert abs(steps.mean() / 10_000 - 1 / 3) < 0.05
    follow = np.diff(np.reshape(first, (-1, 8)), axis=0) == 1
    assert follow.mean() < 0.1

    # The stretches of the second epoch are not those of the first.
    starts = {min(order.turn(0, place)[0]) % 25 for place in range(8)}, {min(order.turn(50, 0)[0]) % 25}
    assert len(starts[0]) == 1 and starts[0] != starts[1]
    assert StreamOrder(10_000, 4, True, 8, 25).turn(0, 0)[0].tolist() != order.turn(0, 0)[0].tolist()


def test_stretches_fit_the_images_and_the_dataset():
    assert stretch_length(10**6, 3 * 256 * 256, 32) == STRETCH_BYTES // (3 * 256 * 256) == 21
    assert stretch_length(100, 3 * 64 * 64, 16) == 6
    assert stretch_length(10, 3 * 64 * 64, 16) == stretch_length(10**6, 2**24, 16) == 1


class Reader:
    """Image i is filled with i, and its left edge is brighter; its label is i."""

    def __init__(self):
        self.tasks = []
        self.lock = threading.Lock()

    def __call__(self, indices):
        with self.lock:
            self.tasks.append(indices)
        images = np.repeat(indices.astype(np.uint8), 2 * 2).reshape(-1, 1, 2, 2)
        images[..., 0] += 100
        return images, indices.astype(np.float32)[:, None]


def take(generator, count):
    parts = [next(generator) for _ in range(count)]
    generator.close()
    return [images for images, _ in parts], [labels[:, 0].tolist() for _, labels in parts]


@given(st.integers(0, 30), st.sampled_from([1, 2, 4, 8]), st.integers(8, 100), st.integers(1, 5))
def test_ranks_and_restarts_see_the_same_stream(steps_before, ranks, length, stretch):
    order = StreamOrder(length, 0, True, 8, stretch)
    indices, mirrored = samples(order, 8 * steps_before, 32)
    part = 8 // ranks
    found = [take(stream_batches(Reader(), order, 8 * steps_before, r * part, part), 4) for r in range(ranks)]

    labels = [[label for of_rank in found for label in of_rank[1][k]] for k in range(4)]
    assert labels == np.reshape(indices, (4, 8)).tolist()

    images = np.concatenate([np.concatenate([of_rank[0][k] for of_rank in found]) for k in range(4)])
    flipped = images[:, 0, 0, 1] > images[:, 0, 0, 0]
    assert flipped.tolist() == mirrored


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_no_image_is_read_twice_in_an_epoch(ranks):
    """Neither by one process nor by two; and no process reads further ahead than one turn."""
    order = StreamOrder(160, 0, False, 8, 5)
    part = 8 // ranks
    readers = [Reader() for _ in range(ranks)]
    for r, reader in enumerate(readers):
        take(stream_batches(reader, order, 0, r * part, part), 20)
    read = Counter(tuple(task.tolist()) for reader in readers for task in reader.tasks)
    turns = [Counter(tuple(order.turn(number, place)[0].tolist()) for place in range(8)) for number in range(5)]
    epoch = sum(turns[:4], Counter())
    assert sorted(sum(epoch, ())) == list(range(160))
    assert epoch <= read <= epoch + turns[4]


def test_the_next_turn_is_read_while_one_is_shown():
    order = StreamOrder(160, 0, False, 8, 5)
    reader = Reader()
    batches = stream_batches(reader, order, 0, 0, 8)
    next(batches)
    deadline = time.monotonic() + 10
    while len(reader.tasks) < 16 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(reader.tasks) == 16
    batches.close()


def test_memory_holds_two_stretches_for_each_place():
    """And what is being read: here nothing, since all is read before a turn begins."""
    made = []

    class Tracked(np.ndarray):
        pass

    def read(indices):
        images = np.zeros((len(indices), 1, 2, 2), np.uint8).view(Tracked)
        made.append(weakref.ref(images))
        return images, np.zeros((len(indices), 0), np.float32)

    batches = stream_batches(read, StreamOrder(160, 0, False, 8, 5), 0, 0, 8)
    most = 0
    for _ in range(20):
        next(batches)
        time.sleep(0.01)
        most = max(most, sum(images() is not None for images in made))
    batches.close()
    assert 9 <= most <= 17


def test_a_batch_size_that_changes_begins_with_whole_batches():
    """As when a run goes on from a checkpoint file with another --batch."""
    order = StreamOrder(100, 0, False, 8, 5)
    assert (
        take(stream_batches(Reader(), order, 83, 0, 8), 3)[1] == take(stream_batches(Reader(), order, 80, 0, 8), 3)[1]
    )


def test_a_reader_that_fails_ends_the_stream_and_its_threads():
    def fail(indices):
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        next(stream_batches(fail, StreamOrder(100, 0, False, 8, 5), 0, 0, 8))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
