"""What the images of a dataset are, and the checks that options of every kind share. Imports no torch."""

import math
from collections.abc import Sequence
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


SMALLEST_EDGE = 3  # pixels; an edge of the smallest level is not halved to fewer
LARGEST_BASE = 16  # pixels of an edge of the smallest level
LARGEST_EDGE = 2**14  # pixels of an edge of an image


def pyramid_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return (height, width) of each level of the pyramid of such an image, smallest first.

    Edges are halved while both are even and at least 3 pixels remain: 64x64 leads to 4x4, 96x64 to 6x4, 40x40 to 5x5.
    """
    sizes = [(height, width)]
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * SMALLEST_EDGE:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    return tuple(reversed(sizes))


def size_error(height: int, width: int, levels: int = 2) -> str | None:
    """Return why networks cannot be built for images of this size, and which size is near; None if they can.

    levels: the fewest levels that their pyramid may have; training takes two or more.
    """
    sizes = pyramid_sizes(height, width)
    base_height, base_width = sizes[0]
    if min(height, width) < SMALLEST_EDGE or max(height, width) > LARGEST_EDGE:
        return f"found {width}x{height}, expected edges of {SMALLEST_EDGE} to {LARGEST_EDGE} pixels"
    if len(sizes) >= levels and max(base_height, base_width) <= LARGEST_BASE:
        return None

    near = size_text(*_nearest_size(height, width))
    if len(sizes) < levels:
        return f"found {width}x{height}, expected even edges of at least {2 * SMALLEST_EDGE} pixels, e.g. {near}"
    return (
        f"found {width}x{height}, expected edges of at most {LARGEST_BASE} pixels after halving both as often as they "
        f"are even (here {base_width}x{base_height}), e.g. {near}"
    )


def _nearest_size(height: int, width: int) -> tuple[int, int]:
    """Return a height and width with a pyramid that are close to these, above all in proportion."""

    def distance(size: tuple[int, int]) -> float:
        taller, wider = math.log(size[0] / height), math.log(size[1] / width)
        return 3 * abs(taller - wider) + abs(taller) + abs(wider)

    # Smallest levels that come close, times powers of two.
    candidates = []
    for halvings in range(1, (LARGEST_EDGE // LARGEST_BASE).bit_length()):
        step = 2**halvings
        base_height, base_width = (
            min(LARGEST_BASE, max(SMALLEST_EDGE, round(edge / step))) for edge in (height, width)
        )
        candidates.append((base_height * step, base_width * step))
    return min(candidates, key=distance)


def size_text(height: int, width: int) -> str:
    """Return a size as image programs and people write it: width x height, e.g. 640x480."""
    return f"{width}x{height}"


def shape_text(shape: Sequence[int]) -> str:
    """Return the shape [C,H,W] of an image as text: channels x width x height, e.g. 3x640x480."""
    channels, height, width = shape
    return f"{channels}x{size_text(height, width)}"


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What one image of a dataset is; G and D are built for it."""

    resolution: int
    """Height of the largest level in pixels. Levels are called by their heights."""
    width: int = 0
    """Width of the largest level in pixels; 0 = a square. Never 0 once the spec exists."""
    channels: int = 3
    """Channels: 1 = gray, 2 = gray and alpha, 3 = RGB, 4 = RGB and alpha, or any other number."""
    c_dim: int = 0
    """Length of the label vector, 0 = unconditional (TF: label_size)."""

    def __post_init__(self) -> None:
        if not self.width:
            object.__setattr__(self, "width", self.resolution)
        problem = size_error(self.resolution, self.width, levels=1)
        check(problem is None, f"resolution: {problem}")

        # A damaged file must not lead to networks of any size.
        check_range(self, "channels", 1, 2**12, "1 to 4096")

        # A vector of labels may be long, or absent.
        check_range(self, "c_dim", 0, 2**20, "0 to 2^20")

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Return (height, width) of each level of a pyramid, smallest first: (4, 4), (8, 8), ..."""
        return pyramid_sizes(self.resolution, self.width)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Return the height of each level of a pyramid, smallest first: 4, 8, ..., resolution."""
        return tuple(height for height, _ in self.sizes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape [C,H,W] of the largest level."""
        return self.channels, self.resolution, self.width

    @property
    def size_text(self) -> str:
        """Return the size of the largest level as people write it: width x height."""
        return size_text(self.resolution, self.width)
