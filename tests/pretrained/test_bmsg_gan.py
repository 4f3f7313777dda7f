"""BMSG-GAN's .pth files: what they say about themselves, every container and naming, and what is wrong with some."""

import math
import os
import shutil
import zipfile

import pytest
import torch

from dnnlib.errors import UserError
from pretrained import load_network
from tests.bmsg_gan_data import BMSGGAN, SIZES
from training.spec import ImageSpec

D4 = BMSGGAN("depth4_latent16")
GEN, SHADOW, DIS = (D4.folder / f"GAN_{n}_1.pth" for n in ("GEN", "GEN_SHADOW", "DIS"))


def state(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("size", SIZES)
def test_size_is_worked_out_from_the_tensors(size):
    g = BMSGGAN(size)
    net = load_network(*g.files())
    assert net.spec == ImageSpec(resolution=2 ** (g.meta["depth"] + 1)) and net.origin == "BMSG-GAN"
    assert net.G.cfg.z_dim == g.meta["latent_size"] and net.G.cfg.use_wscale
    assert (net.D is None) == (g.meta["depth"] == 3)
    assert net.D is None or net.D.cfg.features == g.meta["latent_size"]
    assert not torch.equal(net.G.state_dict()["synthesis.b4.bias"], net.G_ema.state_dict()["synthesis.b4.bias"])


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_names_of_cuda_runs_and_old_containers(container, tmp_path):
    """DataParallel put `module.` in front of a whole generator and into the block lists of a discriminator."""
    gen = {f"module.{k}": t for k, t in state(GEN).items()}
    dis = {}
    for k, t in state(DIS).items():
        head, i, rest = [*k.split(".", 2), ""][:3]
        dis[f"{head}.{i}.module.{rest}" if head in ("layers", "rgb_to_features") else k] = t
    assert "layers.0.module.conv_1.weight" in dis and "final_block.conv_1.weight" in dis
    for name, content in (("GAN_GEN_7.pth", gen), ("GAN_DIS_7.pth", dis)):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=container == "zip")
        assert zipfile.is_zipfile(tmp_path / name) == (container == "zip")
    net, expected = load_network(tmp_path / "GAN_GEN_7.pth", tmp_path / "GAN_DIS_7.pth"), load_network(GEN, DIS)
    assert "epoch 7, going by the file name" in net.notes
    for name in ("G", "D"):
        theirs = getattr(expected, name).state_dict()
        for key, t in getattr(net, name).state_dict().items():
            assert torch.equal(t, theirs[key])


@pytest.mark.parametrize("equalised", [True, False])
def test_equalised_or_plain(equalised, tmp_path):
    """Plain layers start in +-1/sqrt(fan_in); training moved both a little."""
    for path in (GEN, DIS):
        content = state(path)
        if not equalised:
            for k, t in content.items():
                if t.ndim == 4:
                    bound = 1 / math.sqrt(t[0].numel())
                    content[k] = torch.empty_like(t).uniform_(-bound, bound) * 2
        torch.save(content, tmp_path / path.name)
        net = load_network(tmp_path / path.name)
        assert (net.G or net.D).cfg.use_wscale is equalised
        assert f"{'equalised' if equalised else 'plain'} convolutions" in " ".join(net.notes)


def test_role_of_a_single_file(tmp_path):
    for path, role in ((GEN, "G"), (SHADOW, "G_ema"), (DIS, "D")):
        assert list(load_network(path).parts) == [role]
    shutil.copy(SHADOW, tmp_path / "renamed.bin")  # recognised by content; the role is only in the name
    assert list(load_network(tmp_path / "renamed.bin").parts) == ["G"]
    with pytest.raises(UserError, match="holds no generator, only a discriminator"):
        load_network(DIS).generator()


def broken(tmp_path, change, path=DIS, **how):
    content = state(path)
    changed = change(content)
    torch.save(content if changed is None else changed, tmp_path / "GAN_X_1.pth", **how)
    return tmp_path / "GAN_X_1.pth"


def without(*keys):
    return lambda s: {k: t for k, t in s.items() if k not in keys}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: broken(t, without("layers.1.conv_2.bias")), "missing tensor layers.1.conv_2.bias"),
        (lambda t: broken(t, lambda s: s.update(more=torch.ones(3))), "unknown tensor more"),
        (lambda t: broken(t, lambda s: s.update({"final_block.conv_3.bias": torch.ones(2)})), "b4.fc1.bias is [2]"),
        (lambda t: broken(t, without("final_converter.weight")), "not a generator or discriminator of BMSG-GAN"),
        (lambda t: broken(t, lambda s: {"a": torch.ones(2)}), "not a generator or discriminator of BMSG-GAN"),
        (lambda t: broken(t, lambda s: {"model": s}), "not weights of one network"),
        (lambda t: broken(t, lambda s: {}), "not weights of one network"),
        (lambda t: broken(t, lambda s: [1]), "not weights of one network"),
        (lambda t: broken(t, lambda s: torch.ones(2)), "not weights of one network"),
        (lambda t: broken(t, lambda s: {**s, "module.final_block.conv_3.bias": torch.ones(1)}), "there twice"),
        (lambda t: broken(t, lambda s: {k: v.expand(2**20, *v.shape) for k, v in s.items()}), "claim more than"),
        (lambda t: broken(t, lambda s: {"version": 2, "architecture": {}}), "checkpoint of train.py (for --resume)"),
        (lambda t: broken(t, lambda s: {k: v for k, v in s.items() if "rgb_c" not in k}, GEN), "not a generator or"),
    ],
)
def test_other_files_are_one_line(make, message, tmp_path):
    path = make(tmp_path)
    with pytest.raises(UserError) as e:
        load_network(path)
    assert message in str(e.value) and path.name in str(e.value) and "\n" not in str(e.value)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_nothing_is_executed(container, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "GAN_GEN_1.pth"
    torch.save({**state(GEN), "x": Evil(trap)}, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(UserError) as e:
        load_network(path)
    assert not trap.exists() and "\n" not in str(e.value) and "posix.system" in str(e.value)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_damaged_files(container, tmp_path):
    """Half a download, flipped bytes of a zip container (a legacy one has no checksums), a compressed bomb."""
    path = tmp_path / "GAN_GEN_1.pth"
    torch.save(state(GEN), path, _use_new_zipfile_serialization=container == "zip")
    data = path.read_bytes()
    for n in (20, 300, len(data) // 2, len(data) - 10):
        path.write_bytes(data[:n])
        with pytest.raises(UserError, match="GAN_GEN_1") as e:
            load_network(path)
        assert "\n" not in str(e.value)
    if container == "zip":
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="wrong checksum"):
            load_network(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("archive/data.pkl", bytes(2**24))
        with pytest.raises(UserError, match="compressed"):
            load_network(path)


def test_files_that_do_not_belong_together():
    other = BMSGGAN("depth5_latent64").folder
    with pytest.raises(UserError) as e:
        load_network(GEN, other / "GAN_DIS_1.pth")
    assert "GAN_DIS_1.pth: for images 3x64x64" in str(e.value) and "expected 3x32x32" in str(e.value)
    with pytest.raises(UserError, match="a second G, expected one of each"):
        load_network(GEN, GEN)
