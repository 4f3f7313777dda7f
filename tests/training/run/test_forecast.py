import torch

from config import tiny
from training.networks.msg_stylegan import Discriminator, Generator
from training.run.forecast import convolution_rate
from training.run.layer_table import layer_table
from training.spec import ImageSpec


def test_the_rate_of_a_convolution_is_measured():
    assert convolution_rate(torch.device("cpu"), "fp32") > 1e8


def test_table_lists_every_parameter_once():
    spec = ImageSpec(resolution=32, c_dim=3)
    for net in (Generator(tiny().G, spec), Discriminator(tiny().D, spec)):
        rows = layer_table(net, spec)
        assert sum(r[1] for r in rows) == sum(p.numel() for p in net.parameters())
    assert rows[0][0] == "b32.fromrgb" and rows[-1][2] == [3]
