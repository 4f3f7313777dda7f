"""Characters drawn from the artwork inside the `robohash` package: endless labelled images without a download.

Artists: set 1 Zikri Kader (CC-BY), set 2 Hrvoje Novakovic (CC-BY), set 3 Julian Peter Arias (CC-BY), set 4 David Revoy
(CC-BY), set 5 Pablo Stanley (free for personal and commercial use).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dataprep.build import DEFAULT, Options, build
from dataprep.sources.source import Entry, Source, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from dnnlib.pool import cpu_count, ordered_map

CLASSES = ["robots", "monsters", "robot heads", "cats", "humans"]  # sets 1-5 = labels 0-4

Parts = list[list[np.ndarray]]  # slots from back to front, the alternatives of each, premultiplied float32 [4,R,R]


def slots(folder: Path) -> list[list[Path]]:
    """Return the part files of one character set, slots from back to front.

    Folders are named `NNN#TAG`. Tags that start with digits give the order of drawing, otherwise NNN does.
    """
    folders = sorted(p for p in folder.iterdir() if p.is_dir())

    # Tags without digits come behind those with digits: they are drawn last.
    if any(p.name.split("#")[1][0].isdigit() for p in folders):
        folders.sort(key=lambda p: p.name.split("#")[1])
    return [sorted(p.glob("*.png")) for p in folders]


def load_part(job: tuple[Path, int]) -> np.ndarray:
    """Return a part file scaled to R x R, premultiplied uint8 [4,R,R]."""
    path, resolution = job

    # With colours multiplied by alpha, transparent pixels do not bleed into visible ones when they are averaged.
    with Image.open(path) as im:
        small = im.convert("RGBa").resize((resolution, resolution), Image.Resampling.LANCZOS)
        return np.asarray(small).transpose(2, 0, 1)


def load_sets(sets: Sequence[int], resolution: int, workers: int) -> dict[int, list[Parts]]:
    """Return the variants of each set, all their parts decoded and scaled once by `workers` processes."""
    # Set 1 comes in ten colours, the other sets have one variant.
    root = Path(import_extra("robohash", "create_robohash").__file__ or "").parent / "sets"
    folders = {s: sorted((root / "set1").iterdir()) if s == 1 else [root / f"set{s}"] for s in sets}
    variants = {s: [slots(folder) for folder in folders[s]] for s in sets}

    # All parts are scaled as one list, and put back in their places afterwards.
    jobs = [(path, resolution) for vs in variants.values() for v in vs for slot in v for path in slot]
    parts = ordered_map(load_part, jobs, workers, ahead=16 * workers)
    images = iter([part.astype(np.float32) / 255 for part in parts])
    return {s: [[[next(images) for _ in slot] for slot in v] for v in vs] for s, vs in variants.items()}


def draw(parts: Parts, rng: np.random.Generator) -> np.ndarray:
    """Return one character on white, uint8 [3,R,R], of one part from every slot."""
    image = np.ones_like(parts[0][0][:3])
    for slot in parts:
        part = slot[rng.integers(len(slot))]
        # The part over what is drawn so far.
        image = part[:3] + image * (1 - part[3])

    return np.rint(image * 255).clip(0, 255).astype(np.uint8)


class Characters(Source):
    """A collection of `n` pictures uint8 [3,R,R] with labels 0-4.

    Image i depends on (seed, i), the resolution and the sets. The artwork is decoded by `workers` processes.
    """

    classes = len(CLASSES)
    class_names = CLASSES

    def __init__(self, n: int, resolution: int, sets: Sequence[int], seed: int, workers: int) -> None:
        self.length = n
        self.resolution = resolution
        self.sets = sets
        self.seed = seed
        self.workers = workers

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        variants = load_sets(self.sets, self.resolution, self.workers)

        for i in map(int, indices):
            # A generator for each image: what it looks like does not depend on those before it.
            rng = np.random.default_rng((self.seed, i))
            chosen = self.sets[int(rng.integers(len(self.sets)))]
            image = draw(variants[chosen][rng.integers(len(variants[chosen]))], rng)
            yield Entry(f"character {i}", image, chosen - 1)


def create_robohash(
    dataset_dir: Place,
    *,
    resolution: int = 64,
    num_images: int = 4000,
    sets: tuple[int, ...] = (1, 2, 3, 4, 5),
    seed: int = 0,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset of characters on white, drawn from the artwork of the robohash package; nothing is downloaded.

    Args:
        dataset_dir: New folder for the dataset.
        resolution: Height and width in pixels: 32, 64, 128 or 256.
        num_images: Number of images.
        sets: Character sets: 1 robots, 2 monsters, 3 robot heads, 4 cats, 5 humans. Labels are one-hot over the five.
        seed: Another seed draws other characters.
    """
    require(resolution in (32, 64, 128, 256), f"--resolution {resolution}: expected 32, 64, 128 or 256")
    require(num_images >= 1, f"--num-images {num_images}: expected >= 1")
    require(
        sets and sorted(set(sets) & {1, 2, 3, 4, 5}) == sorted(sets),
        f"--sets {' '.join(map(str, sets))}: expected some of 1 2 3 4 5, each once",
    )
    require(seed >= 0, f"--seed {seed}: expected >= 0")

    # The order in which sets are named changes nothing.
    sets = tuple(sorted(sets))
    source = Characters(num_images, resolution, sets, seed, output.workers or cpu_count())
    build(dataset_dir, source, None, output, {"command": "create_robohash", "sets": sets, "seed": seed})
