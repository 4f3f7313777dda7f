"""Which tensors of another network are taken over, and what is said about the rest."""

import pytest
import torch
from torch import nn

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.warm_start import load_initial
from tests.golden_data import GOLDEN
from training.networks.architectures import build_discriminator, build_generator
from training.spec import ImageSpec
from training.warm_start import InitialWeights, block_of, check_fit, copy_fitting, fitting, table

C2 = str(GOLDEN / "c2_network-final.pkl")  # 32x32, RGB, 3 classes


class Net(nn.Module):
    """Parameters of these shapes, by name; a dot separates the block from the rest."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            block, _, key = name.rpartition("__")
            self.get_submodule(self.add(block)).register_parameter(key, nn.Parameter(torch.zeros(shape)))

    def add(self, block):
        if not hasattr(self, block):
            self.add_module(block, nn.Module())
        return block


def weights(name="G", **tensors):
    tensors = {key.replace("__", "."): tensor for key, tensor in tensors.items()}
    return InitialWeights(
        "old.pkl", {name: {k: tuple(t.shape) for k, t in tensors.items()}}, 0, None, {name: tensors}.get
    )


def test_tensors_of_the_same_name_and_shape_are_copied():
    net = Net(a__weight=(2, 3), a__bias=(2,), b__weight=(4,))
    source = weights(a__weight=torch.ones(2, 3), a__bias=torch.ones(3), c__weight=torch.ones(4))
    assert fitting(net, source, "G") == {"a.weight"}
    copy_fitting(net, source, "G")
    assert net.a.weight.eq(1).all() and not net.a.bias.any() and not net.b.weight.any()


def test_table_counts_values_and_gives_reasons():
    net = Net(a__weight=(2, 3), a__bias=(2,), b__weight=(4,))
    source = weights(a__weight=torch.ones(2, 3), a__bias=torch.ones(3), c__weight=torch.ones(4))
    assert table(net, source, "G") == [
        "G                        copied        fresh",
        "a                             6            2  bias [3] there, [2] here",
        "b                             0            4  weight not in the file",
        "not used: c",
    ]
    assert table(net, source, "D") == ["D                     all fresh  not in the file"]


@pytest.mark.parametrize(("fits", "message"), [(5, None), (4, "old.pkl: only 4 of the 100 values of G fit")])
def test_next_to_nothing_is_an_error(fits, message):
    net = Net(a__weight=(fits,), b__weight=(100 - fits,))
    source = weights(a__weight=torch.ones(fits), b__weight=torch.ones(1))
    if message is None:
        check_fit(net, source)
        return
    with pytest.raises(UserError, match=message):
        check_fit(net, source)


def test_a_discriminator_alone_is_an_error():
    with pytest.raises(UserError, match="no generator to start from"):
        check_fit(Net(a__weight=(1,)), weights("D", a__weight=torch.ones(1)))


@pytest.mark.parametrize(
    ("key", "block"),
    [("synthesis.b8.layer0.bias", "synthesis.b8"), ("mapping.fc0.weight", "mapping"), ("b4.conv0.weight", "b4")],
)
def test_blocks(key, block):
    assert block_of(key) == block


def test_another_number_of_channels():
    spec = ImageSpec(resolution=32, channels=1, c_dim=3)
    initial, net = load_initial([C2]), load_network(C2)
    G, D = build_generator(net.G.cfg, spec), build_discriminator(net.D.cfg, spec)
    copy_fitting(G, initial, "G"), copy_fitting(D, initial, "D")
    assert torch.equal(G.state_dict()["synthesis.b32.layer1.source.weight"], net.G.synthesis.b32.layer1.source.weight)
    assert torch.equal(D.state_dict()["b32.conv0.weight"], net.D.b32.conv0.weight)
    rows = table(G, initial, "G") + table(D, initial, "D")
    (torgb,) = (r for r in rows if r.startswith("synthesis.torgb32"))
    (b32,) = (r for r in rows if r.startswith("b32"))
    assert "weight [3, 16, 1, 1] there, [1, 16, 1, 1] here" in torgb
    assert "fromrgb.weight [16, 3, 1, 1] there, [16, 1, 1, 1] here" in b32
