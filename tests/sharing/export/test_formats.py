"""Exported networks in their own runtimes, against the networks that they come from."""

import json
import zipfile

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from pretrained import load_network
from sharing.export.formats import facts, largest_error, open_exported, rounding_error, write_onnx, write_program
from sharing.export.model import ExportedGenerator
from tests.golden_data import GOLDEN
from tests.runs import ROOT

onnxruntime = pytest.importorskip("onnxruntime")

STYLEGAN = str(GOLDEN / "c2_network-final.pkl")
PROGAN = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


def model(network=STYLEGAN, levels=(3,), noise="const", precision="fp32"):
    return ExportedGenerator(load_network(network).generator(), list(levels), noise, precision)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Both kinds of files for two networks, by kind and network."""
    folder = tmp_path_factory.mktemp("exported")
    paths = {}
    for name, network in (("stylegan", STYLEGAN), ("progan", PROGAN)):
        exported = model(network, range(4))
        paths["onnx", name], paths["pt2", name] = folder / f"{name}.onnx", folder / f"{name}.pt2"
        write_onnx(exported, paths["onnx", name], 18)
        write_program(exported, paths["pt2", name])
    return paths


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize(("name", "network"), [("stylegan", STYLEGAN), ("progan", PROGAN)])
def test_files_make_the_images_of_the_network(written, kind, name, network):
    assert largest_error(model(network, range(4)), written[kind, name]) < 1e-4


def test_psi_is_truncation_as_the_network_does_it(written):
    G = load_network(STYLEGAN).generator()
    rng = torch.Generator().manual_seed(3)
    z, c = torch.randn(4, G.cfg.z_dim, generator=rng), torch.eye(G.spec.c_dim)[torch.arange(4) % G.spec.c_dim]
    for psi in (0.0, 0.5, 1.0):
        with torch.no_grad():
            expected = G(z, c, psi, G.cfg.truncation_cutoff, noise_mode="const")
        for kind in ("onnx", "pt2"):
            found = open_exported(written[kind, "stylegan"])([z, c, torch.tensor(psi)])
            for a, b in zip(expected, found, strict=True):
                assert np.abs(a.numpy() - b).max() < 1e-4 * a.abs().max()


def test_onnx_keeps_the_small_number_in_normalisations(tmp_path):
    """Maps whose variance is that of eps, 1e-8: without it, they would be 1.4 times as large."""
    exported = model(levels=[0, 3])
    const = exported.G.synthesis.b4.layer0.source.const
    const.copy_(1 + 1e-4 * torch.randn(const.shape, generator=torch.Generator().manual_seed(0)))
    exported.G.synthesis.b4.layer0.noise_strength.zero_()
    write_onnx(exported, tmp_path / "G.onnx", 18)
    assert largest_error(exported, tmp_path / "G.onnx") < 0.02

    # Such a network magnifies roundings in PyTorch as well, and by about as much.
    assert 1e-5 < rounding_error(exported) < 0.02


def test_noise_may_be_an_input(tmp_path):
    exported = model(levels=[3], noise="input")
    for layer in exported.G.synthesis.layers():
        layer.noise_strength.fill_(0.1)
    write_onnx(exported, tmp_path / "G.onnx", 20)
    assert largest_error(exported, tmp_path / "G.onnx") < 1e-4

    # Other noise, another image.
    run, inputs = open_exported(tmp_path / "G.onnx"), list(exported.example(2))
    before = run(inputs)[0]
    inputs[-1] = -inputs[-1]
    assert np.abs(run(inputs)[0] - before).max() > 0.01


def test_without_noise(tmp_path):
    exported = model(levels=[3], noise="none")
    write_program(exported, tmp_path / "G.pt2")
    assert largest_error(exported, tmp_path / "G.pt2") < 1e-4
    images = exported.G.synthesis(exported.G.mapping(*exported.example(1)[:2]), "none")
    found = open_exported(tmp_path / "G.pt2")([*exported.example(1)[:2], torch.ones(())])
    assert np.abs(images[3].numpy() - found[0]).max() < 1e-4


def test_half_precision_is_half_as_large_and_close(written, tmp_path):
    write_onnx(model(levels=range(4), precision="fp16"), tmp_path / "G.onnx", 18)
    assert 1e-6 < largest_error(model(levels=range(4)), tmp_path / "G.onnx") < 0.05
    assert (tmp_path / "G.onnx").stat().st_size < 0.75 * written["onnx", "stylegan"].stat().st_size


def test_files_say_what_they_are(written):
    # Nothing of the machine that they were made on.
    with zipfile.ZipFile(written["pt2", "stylegan"]) as archive:
        contents = [written["onnx", "stylegan"].read_bytes(), *map(archive.read, archive.namelist())]
    assert not [content for content in contents if str(ROOT).encode() in content]

    session = onnxruntime.InferenceSession(written["onnx", "stylegan"])
    meta = session.get_modelmeta().custom_metadata_map
    assert meta["network"] == "msg_stylegan" and json.loads(meta["resolution"]) == 32
    assert [x.name for x in session.get_inputs()] == ["z", "c", "psi"]
    assert [x.name for x in session.get_outputs()] == ["image4", "image8", "image16", "image32"]
    assert session.get_inputs()[0].shape[1:] == [facts_z_dim()] and isinstance(session.get_inputs()[0].shape[0], str)

    extra = {"msg-gan": ""}
    torch.export.load(written["pt2", "progan"], extra_files=extra)
    found = json.loads(extra["msg-gan"])
    assert found == facts(model(PROGAN, range(4))) and found["inputs"] == ["z", "psi"]


def facts_z_dim():
    return load_network(STYLEGAN).generator().cfg.z_dim


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_damaged_files_and_those_of_other_networks_are_refused(written, tmp_path, kind):
    content = written[kind, "stylegan"].read_bytes()
    for data in (content[: len(content) // 2], b"", b"no network"):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(data)
        with pytest.raises(UserError, match=rf"x\.{kind}: damaged, or no exported network"):
            open_exported(path)

    with pytest.raises(UserError, match=r"made from another kind|images of other sizes"):
        largest_error(model(PROGAN, range(4)), written[kind, "stylegan"])
    with pytest.raises(UserError, match="images of other sizes"):
        largest_error(model(levels=[0]), written[kind, "stylegan"])
    with pytest.raises(UserError, match="cannot read"):
        open_exported(tmp_path / f"missing.{kind}")
