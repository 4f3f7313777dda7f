"""What `train.py --init` takes from files of every kind; tests/test_train_init.py has whole runs."""

import pytest
import torch

import config
from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.warm_start import load_initial, with_networks_of
from tests.golden_data import GOLDEN

C2 = str(GOLDEN / "c2_network-final.pkl")
SG1 = str(GOLDEN / "stylegan_tf" / "sg1_network-final.pkl")
BMSG = GOLDEN / "bmsg_gan" / "depth4_latent16"


def test_shapes_and_tensors_are_those_of_the_file():
    weights, net = load_initial([C2]), load_network(C2)
    assert weights.shapes.keys() == {"G", "D", "G_ema"} and weights.where == C2
    tensors = weights.read("D")
    for key, tensor in net.D.state_dict().items():
        assert weights.shapes["D"][key] == tuple(tensor.shape)
        assert torch.equal(tensors[key], tensor)


@pytest.mark.parametrize("name", ["GAN_GEN_1.pth", "GAN_GEN_SHADOW_1.pth"])
def test_one_generator_stands_in_for_the_other(name):
    weights = load_initial([str(BMSG / name)])
    assert weights.shapes["G"] == weights.shapes["G_ema"] and "D" not in weights.shapes
    assert torch.equal(weights.read("G")["synthesis.b4.bias"], weights.read("G_ema")["synthesis.b4.bias"])
    assert weights.read("D") == {}


def test_networks_are_built_as_in_the_file():
    default = config.robohash()
    cfg = with_networks_of(default, default, [C2])
    assert (load_network(C2).G.cfg, load_network(C2).D.cfg) == (cfg.G, cfg.D)
    assert cfg.loss == default.loss and cfg.batch == default.batch


def test_plain_stylegan_becomes_msg_stylegan():
    default = config.robohash()
    cfg = with_networks_of(default, default, [SG1])
    assert cfg.G.kind == cfg.D.kind == "msg_stylegan" and cfg.G.z_dim == load_network(SG1).G.cfg.z_dim


def test_a_discriminator_alone_is_no_start():
    default = config.robohash()
    with pytest.raises(UserError, match="no generator to start from, only a discriminator"):
        with_networks_of(default, default, [str(BMSG / "GAN_DIS_1.pth")])
