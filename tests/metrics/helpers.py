"""Features, generators and detectors whose values are known."""

import json
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from metrics.context import Context
from metrics.detectors.detector import DetectorOptions, Detectors
from metrics.features import FeatureStore
from metrics.moments import Moments
from metrics.samples import Fakes
from metrics.settings import Settings
from tests.datasets import write_dataset
from tests.runs import script
from training.data.dataset import open_dataset
from training.spec import ImageSpec

CPU = torch.device("cpu")


def features(n, f, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, f)) @ rng.normal(size=(f, f)) * f**-0.5 + shift).astype(np.float32)


def moments(x, batch=7):
    m = Moments(x.shape[1])
    for i in range(0, len(x), batch):
        m.add(x[i : i + batch], np.arange(len(x))[i : i + batch] >= len(x) // 2)
    return m


class Pixels:
    """Synthesis whose image is w, and its pyramid the means of that; shifted by `shift`."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def noise_shapes(self, n):
        return [(n, 1, 4, 4)]

    def __call__(self, w, noise=None):
        assert noise is None or noise[0].shape == (len(w), 1, 4, 4)
        x = (w[:, 0] * 0.1).reshape(len(w), 3, 16, 16) + self.shift
        return tuple(F.avg_pool2d(x, 16 // r) for r in (4, 8, 16))


class Linear:
    """A generator with w = z."""

    def __init__(self, c_dim=0, shift=0.0):
        self.cfg, self.spec = SimpleNamespace(z_dim=768), ImageSpec(resolution=16, c_dim=c_dim)
        self.synthesis = Pixels(shift)

    def mapping(self, z, c=None):
        return z[:, None]

    def __call__(self, z, c=None, truncation_psi=None, truncation_cutoff=None, noise=None):
        return self.synthesis(self.mapping(z, c), noise)


def linear(c_dim=0, shift=0.0, **options):
    return Fakes(Linear(c_dim, shift), CPU, **options)


class Quadratic:
    """In LPIPS's place: the squared distance of two images."""

    facts = {"detector": "quadratic"}  # noqa: RUF012

    def __call__(self, a, b):
        return ((a - b).double().square().sum((1, 2, 3)),)


class Few:
    """In Inception's place: a few numbers of an image."""

    facts, name = {"detector": "few"}, "inception"

    def __call__(self, x):
        y = F.avg_pool2d(x.float(), x.shape[2] // 2).flatten(1)
        return y, y / 50


def few():
    return {"inception": Few()}


def context(fakes, reals=None, loaded=None, batch=32, shared=None, cache_dir=None, **options):
    detectors = Detectors(DetectorOptions(random_detectors=True), CPU)
    detectors.update(loaded or {})
    settings = Settings(**{name: options.pop(name) for name in ("mirror", "crop") if name in options})
    return Context(
        fakes, reals, CPU, detectors, FeatureStore(batch, shared or {}, cache_dir), settings=settings, **options
    )


def run_metrics(*args, check=True):
    """Run run_metrics.py in a process of its own."""
    return script("run_metrics.py", *args, check=check)


def rows(run_dir, name):
    return [json.loads(line) for line in (run_dir / f"metric-{name}.jsonl").read_text().splitlines()]


def write_dataset_of(path, classes):
    """A dataset of random images of these classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(classes), 3, 16, 16), dtype=np.uint8)
    return open_dataset(write_dataset(path, images, np.eye(max(classes) + 1)[classes]))
