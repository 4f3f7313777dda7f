"""What the images of a dataset are, and the checks that options of every kind share. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Any


def check(ok: bool, message: str) -> None:
    """Raise ValueError with `message` unless `ok`."""
    if not ok:
        raise ValueError(message)


def check_range(options: Any, names: str, low: float, high: float = math.inf, expected: str = "") -> None:
    """Raise ValueError unless each of these options, named in one string, lies between `low` and `high`.

    expected: the range in words, for the message; default: `>= low`.
    """
    for name in names.split():
        value = vars(options)[name]
        check(low <= value <= high, f"{name}: found {value}, expected {expected or f'>= {low}'}")


def is_power_of_two(n: int) -> bool:
    """Return whether n is 1, 2, 4, 8, ..."""
    return n > 0 and n & (n - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What one image of a dataset is; G and D are built for it."""

    resolution: int
    """Height and width of the largest level in pixels, a power of two, 8 to 16384."""
    channels: int = 3
    """Colour channels."""
    c_dim: int = 0
    """Length of the label vector, 0 = unconditional (TF: label_size)."""

    def __post_init__(self) -> None:
        # A pyramid has two levels or more.
        check(
            is_power_of_two(self.resolution) and 8 <= self.resolution <= 2**14,
            f"resolution: found {self.resolution}, expected a power of two, 8 to 16384",
        )

        # A damaged file must not lead to networks of any size.
        check_range(self, "channels", 1, 2**12, "1 to 4096")

        # A vector of labels may be long, or absent.
        check_range(self, "c_dim", 0, 2**20, "0 to 2^20")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Return (4, 8, ..., resolution), the sizes of the levels of a pyramid, smallest first."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))
