"""What a network file holds, how it is checked, and that it is read when it is first asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.network_file import NetworkFile, Part, Row, Stored, by_role, check_names, join, layer_rows, translate
from tests.pretrained.snapshot_fixtures import SPEC
from training.spec import ImageSpec


def test_networks_are_read_when_first_asked_for(snapshot):
    """Opening looks at names and shapes only; G_ema is read without G and D."""
    net = load_network(snapshot)
    read = []
    for name, part in net.parts.items():
        for key, stored in part.tensors.items():
            part.tensors[key] = replace(stored, read=lambda k=f"{name}.{key}", r=stored.read: (read.append(k), r())[1])
    assert not read
    net.generator()
    assert read and all(k.startswith("G_ema.") for k in read)
    assert net.G_ema is net.G_ema and len(read) == len(net.parts["G_ema"].tensors)


def test_networks_are_ready_to_use(snapshot):
    net = load_network(snapshot)
    for network in (net.G, net.D, net.G_ema):
        assert not network.training and not any(p.requires_grad for p in network.parameters())
        assert {t.device.type for t in network.state_dict().values()} == {"cpu"}


def test_arrays_become_float32_in_our_layout():
    arrays = {"a/weight": np.arange(6, dtype=">f8").reshape(2, 3), "a/bias": np.arange(3, dtype=np.int16)}
    table = [*layer_rows("fc", "a/", np.transpose)]
    tensors = translate(table, arrays, "x.pkl")
    assert {key: stored.shape for key, stored in tensors.items()} == {"fc.weight": (3, 2), "fc.bias": (3,)}
    weight = tensors["fc.weight"].read()
    assert weight.dtype == torch.float32 and weight.is_contiguous() and weight.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["fc.bias"].read().tolist() == [0, 1, 2]


def test_what_is_read_is_a_copy():
    array = np.zeros(2, np.float32)
    translate([Row("a", "a")], {"a": array}, "x")["a"].read().add_(1)
    assert not array.any()


def test_a_layout_that_cannot_be_is_named():
    with pytest.raises(UserError, match=r"^x.pkl: D: theirs has shape \[2\]: "):
        translate([Row("ours", "theirs", lambda x: x.transpose(1, 0))], {"theirs": np.zeros(2)}, "x.pkl: D")


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ("abc", "abcd", "x.pkl: missing tensor d"),
        ("abcde", "abc", "x.pkl: unknown tensors d, e"),
        ("a", "bcdefghi", "x.pkl: missing tensors b, c, d, e, f and 3 more"),
    ],
)
def test_tensors_that_differ_are_named(found, expected, message):
    with pytest.raises(UserError) as e:
        check_names(set(found), set(expected), "x.pkl")
    assert str(e.value) == message


def test_tensors_of_another_architecture_are_refused(networks):
    cfg, nets = networks
    tensors = {key: Stored(tuple(t.shape), lambda t=t: t) for key, t in nets["D"].state_dict().items()}
    assert Part(cfg.D, SPEC, tensors, "x").network.state_dict().keys() == tensors.keys()
    wrong = {**tensors, "b4.fc1.bias": Stored((7,), lambda: torch.zeros(7))}
    with pytest.raises(UserError, match=r"x: of another architecture: b4.fc1.bias is \[7\], expected \[3\]"):
        Part(cfg.D, SPEC, wrong, "x")
    with pytest.raises(UserError, match="x: of another architecture: unknown tensor more"):
        Part(cfg.D, SPEC, {**tensors, "more": Stored((), lambda: torch.zeros(()))}, "x")


def part(networks, name, where, **changes):
    cfg, nets = networks
    tensors = {key: Stored(tuple(t.shape), lambda t=t: t) for key, t in nets[name].state_dict().items()}
    return Part(replace(cfg.D if name == "D" else cfg.G, **changes), SPEC, tensors, where)


def test_networks_that_do_not_belong_together(networks):
    G, G_ema, D = part(networks, "G", "g"), part(networks, "G_ema", "e", truncation_psi=0.1), part(networks, "D", "d")
    assert by_role([("G", G), ("D", D)]) == {"G": G, "D": D}
    with pytest.raises(UserError, match=r"^d: a second D, expected one of each of G, D and G_ema"):
        by_role([("G", G), ("D", D), ("D", D)])
    with pytest.raises(UserError, match=r"^e: G and G_ema differ: .*truncation_psi"):
        by_role([("G", G), ("G_ema", G_ema)])
    D.spec = ImageSpec(resolution=32)
    message = "^d: for images 3x32x32 with 0 label values, expected 3x16x16 with 3 label values as in g$"
    with pytest.raises(UserError, match=message):
        by_role([("G", G), ("D", D)])


def test_files_are_joined_and_say_the_same_thing_once(networks):
    G, D = part(networks, "G", "a.pth"), part(networks, "D", "b.pth")
    first = NetworkFile("a.pth", {"G": G}, SPEC, 1000, "BMSG-GAN", ["epoch 1", "plain"])
    second = NetworkFile("b.pth", {"D": D}, SPEC, None, "BMSG-GAN", ["epoch 2", "plain"])
    net = join([first, second])
    assert net.parts == {"G": G, "D": D} and net.notes == ["epoch 1", "plain", "epoch 2"]
    assert (net.where, net.spec, net.cur_nimg, net.origin) == ("a.pth b.pth", SPEC, 1000, "BMSG-GAN")
    assert net.G_ema is None and net.generator() is net.G
    with pytest.raises(UserError, match=r"^b.pth: holds no generator, only a discriminator"):
        second.generator()
