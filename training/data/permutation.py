"""A random order of very many things that takes no memory: any part of it is computed when it is needed."""

import numpy as np

ROUNDS = 6


class Permutation:
    """A permutation of 0 ... length-1 that follows from a seed, by position.

    It is a Feistel network (Luby and Rackoff 1988) on the smallest even number of bits that hold the length. What falls
    outside is sent through again until it falls inside (Black and Rogaway 2002, cycle walking), which takes less than
    four turns on average. Four rounds are enough in theory; its round function is only a good hash, so there are more.
    """

    def __init__(self, length: int, seed: int | tuple[int, ...]) -> None:
        if not 1 <= length <= 2**62:
            raise ValueError(f"length: found {length}, expected 1 to 2^62")
        self.length = length

        # Numbers are split into two halves of as many bits.
        self.half = np.uint64(max(1, (length - 1).bit_length() + 1 >> 1))
        self.mask = np.uint64((1 << int(self.half)) - 1)
        self.keys = np.random.default_rng(seed).integers(2**64, size=ROUNDS, dtype=np.uint64)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return what stands at these positions, int64 [n]."""
        found = self._mix(np.asarray(positions).astype(np.uint64))
        while (outside := found >= self.length).any():
            found[outside] = self._mix(found[outside])
        return found.astype(np.int64)

    def _mix(self, x: np.ndarray) -> np.ndarray:
        """Permute the numbers of both halves' bits, uint64 [n]."""
        left, right = x >> self.half, x & self.mask
        for key in self.keys:
            left, right = right, left ^ (_hash(right ^ key) & self.mask)
        return (left << self.half) | right


def coins(positions: np.ndarray, seed: int | tuple[int, ...]) -> np.ndarray:
    """Return a fair coin for each position, bool [n]."""
    key = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    return (_hash(np.asarray(positions).astype(np.uint64) ^ key) & np.uint64(1)).astype(bool)


def _hash(x: np.ndarray) -> np.ndarray:
    """Return numbers in which every bit depends on every bit of x, uint64 [n] (the finalizer of MurmurHash3)."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))
