import numpy as np
import torch

from config import tiny
from dnnlib.seeds import seed_of
from training.latents import generator_inputs, mixing_factors, random_labels
from training.networks.msg_stylegan import Generator
from training.spec import ImageSpec


def same(a, b):
    return torch.equal(a.z, b.z) and all(torch.equal(x, y) for x, y in zip(a.noise, b.noise, strict=True))


def test_a_function_of_the_key_and_of_nothing_else():
    G = Generator(tiny().G, ImageSpec(resolution=16, c_dim=2))
    c = torch.zeros(4, 2)
    first = generator_inputs(G, c, (0, "D", 16, 1))
    torch.randn(100)  # the global generator moves on
    assert same(first, generator_inputs(G, c, (0, "D", 16, 1)))
    for key in ((1, "D", 16, 1), (0, "G", 16, 1), (0, "D", 32, 1), (0, "D", 16, 2)):
        assert not same(first, generator_inputs(G, c, key))
    assert [tuple(n.shape) for n in first.noise] == [(4, 1, r, r) for r in (4, 4, 8, 8, 16, 16)]


def test_seed_depends_on_every_part():
    assert len({seed_of(*k) for k in ((0, 1), (1, 0), (0, "1"), (0,), (0, 1, 0))}) == 5
    assert 0 <= seed_of(0) < 2**63


def test_style_mixing_as_often_as_asked():
    G = Generator(tiny().G, ImageSpec(resolution=16))
    c = torch.zeros(1, 0)
    drawn = [generator_inputs(G, c, (0, "G", i, 0), style_mixing_prob=0.5) for i in range(200)]
    layers = [int(x.mix_from) for x in drawn if x.z_mix is not None]
    assert 70 < len(layers) < 130 and set(layers) == {1, 2, 3, 4, 5}
    assert generator_inputs(G, c, (0, "G", 0, 0)).z_mix is None


def test_labels_are_rows_of_the_table():
    table = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
    rows = random_labels(table, 400, (0, "G", 0, 0))
    assert rows.shape == (400, 3) and not rows[:, 2].any() and 240 < rows[:, 0].sum() < 360


def test_mixing_factors():
    """Uniform in [0,1), one a sample, a function of the key."""
    key = (0, "D", 16, 0)
    a = mixing_factors(4096, key, torch.device("cpu"))
    assert a.shape == (4096,) and 0 <= a.min() < 0.01 and 0.99 < a.max() < 1 and abs(a.mean() - 0.5) < 0.02
    assert torch.equal(a, mixing_factors(4096, key, torch.device("cpu")))
    for other in ((1, "D", 16, 0), (0, "D", 32, 0), (0, "D", 16, 1)):
        assert not torch.equal(a, mixing_factors(4096, other, torch.device("cpu")))
