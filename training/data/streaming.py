"""The order in which a dataset is read from an object store, where whole stretches of a file are much cheaper to read
than single images.

Each place in the batch has a stretch of consecutive images for itself, from which it takes one image a step, in random
order, until it goes on to the next stretch. So a process reads only what it shows, in few requests, and holds only the
stretches of its own places. Which image is shown when is a function of the seed and the global sample index, as it is
for local datasets, so that a run can be continued at any step and with any number of processes.
"""

import contextlib
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from dnnlib.pool import ordered_map
from training.data.permutation import Permutation, coins

STRETCH_BYTES = 2**22  # that a place in the batch reads at once; object stores are slow with less
THREADS = 16  # requests at a time of one process


def stretch_length(images: int, image_bytes: int, batch: int) -> int:
    """Return how many images a stretch has, so that all places of a batch together hold no more than an epoch."""
    return max(1, min(STRETCH_BYTES // image_bytes, images // batch))


@dataclass(frozen=True)
class StreamOrder:
    """The image that each global sample index stands for.

    In each epoch the dataset, as a ring, is cut at a random image into stretches, and these are shuffled. One after
    another, the epochs are a sequence of which the places of a batch take successive parts, each a stretch. Where the
    dataset is no multiple of that, the first and the last part of an epoch are shorter, and one round of the batch
    shows images of two epochs.
    """

    length: int
    """Number of images of the dataset."""
    seed: int
    mirror: bool
    """Mirror half of the images, chosen anew every epoch."""
    batch: int
    stretch: int
    """Number of images of a stretch, at most that of the dataset."""

    def turn(self, number: int, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what a place of the batch shows in `stretch` steps, from step `number` x `stretch` on.

        Images int64 [stretch], which are neighbours in the dataset but for a few cuts, and which are mirrored,
        bool [stretch].
        """
        positions = (number * self.batch + place) * self.stretch + np.arange(self.stretch)
        indices, mirrored = self._sequence(positions)

        # Neighbours are not shown in their order.
        shuffled = np.random.default_rng((self.seed, number, place, 3)).permutation(self.stretch)
        return indices[shuffled], mirrored[shuffled]

    def _sequence(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images at these positions of the sequence of stretches, and which are mirrored."""
        epochs, places = np.divmod(positions, self.length)
        indices, mirrored = np.zeros_like(places), np.zeros(len(places), bool)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            ring = places[here]

            # Stretches begin where parts of the sequence do. What is left over at the ends of the ring stays there; it
            # is another piece of the dataset each time.
            lead = -epoch * self.length % self.stretch
            count = (self.length - lead) // self.stretch
            whole = (ring >= lead) & (ring < lead + count * self.stretch)
            if whole.any():
                number, offset = np.divmod(ring[whole] - lead, self.stretch)
                ring[whole] = lead + Permutation(count, (self.seed, epoch))(number) * self.stretch + offset
            cut = int(np.random.default_rng((self.seed, epoch, 2)).integers(self.length))

            indices[here] = (ring + cut) % self.length
            mirrored[here] = coins(places[here], (self.seed, epoch, 1)) & self.mirror
        return indices, mirrored


def stream_batches(
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    order: StreamOrder,
    start: int,
    offset: int,
    count: int,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield the batches of this process without end: images uint8 [count,C,H,W] and labels float32 [count,c_dim].

    read: returns the images and labels of an array of indices, as Dataset.batch does; called by several threads.
    The first batch holds samples start+offset ... start+offset+count-1, each further one those `order.batch` later.
    start: rounded down to a multiple of the batch. The stretches after those in use are read meanwhile, so that two for
    each place are held in memory, and those that are being read.
    """
    first_turn, first_t = divmod(start // order.batch, order.stretch)
    places = range(offset, offset + count)

    def read_turn(task: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and labels that a place shows in a turn, in their order."""
        indices, mirrored = order.turn(*task)
        images, labels = read(indices)
        images[mirrored] = images[mirrored][..., ::-1]
        return images, labels

    tasks = ((turn, place) for turn in itertools.count(first_turn) for place in places)
    with contextlib.closing(ordered_map(read_turn, tasks, workers=0, ahead=count + 1, threads=THREADS)) as turns:
        # The reader starts its next task when it is asked for a result, so it has one more than there are places.
        while True:
            stretches: list[tuple[np.ndarray, np.ndarray]] = []  # lets go of those that were shown
            stretches = list(itertools.islice(turns, count))
            for t in range(first_t, order.stretch):
                yield np.stack([images[t] for images, _ in stretches]), np.stack([rows[t] for _, rows in stretches])

            # A run that is continued begins within a turn; all further ones are whole.
            first_t = 0
