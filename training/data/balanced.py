"""The order of samples in which every class appears equally often."""

import numpy as np

from training.data.permutation import Permutation, coins


class BalancedOrder:
    """The image that each global sample index stands for: rounds of one image of each class, in random order.

    The images of a class come in a new random order whenever all of them have been shown. As in `SampleOrder`, an image
    is a function of the seed and the sample index. With images 0, 1 and 2 of class A and 3 of class B, samples may be
    1 3 | 3 0 | 3 2 | 2 3 | ...: one of A and one of B in each round.
    """

    def __init__(self, classes: np.ndarray, seed: int, mirror: bool) -> None:
        """classes: the class of each image of the dataset, [N]; those without images are left out."""
        self.members = [np.flatnonzero(classes == k) for k in np.unique(classes)]
        self.seed, self.mirror = seed, mirror

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of samples start ... start+count-1, int64 [count], and which are mirrored, bool [count]."""
        rounds, places = np.divmod(np.arange(start, start + count), len(self.members))

        # Which class stands at each place of its round.
        classes = np.empty(count, np.int64)
        for turn in np.unique(rounds).tolist():
            here = rounds == turn
            classes[here] = Permutation(len(self.members), (self.seed, turn))(places[here])

        # Each round takes one further image of a class.
        images = np.empty(count, np.int64)
        for k in np.unique(classes).tolist():
            members = self.members[k]
            epochs, positions = np.divmod(rounds, len(members))
            for epoch in np.unique(epochs[classes == k]).tolist():
                here = (classes == k) & (epochs == epoch)
                images[here] = members[Permutation(len(members), (self.seed, k, epoch))(positions[here])]

        return images, coins(np.arange(start, start + count), (self.seed, 1)) & self.mirror
