"""Directions of w against linear algebra done otherwise, and their files."""

import io

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from generation.latent_directions import Directions, ganspace, pack_directions, read_directions, sefa
from generation.sampling import Sampler, SamplingOptions
from tests.golden_data import GOLDEN

STYLEGAN = str(GOLDEN / "c2_network-final.pkl")
PROGAN = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


def sampler(network, class_idx=None):
    return Sampler(SamplingOptions(network=network, device="cpu", class_idx=class_idx))


@pytest.fixture(scope="module")
def stylegan():
    return sampler(STYLEGAN)


def test_sefa_maximises_what_the_layers_make_of_a_direction(stylegan):
    found = sefa(stylegan, (2, 3))
    layers = stylegan.G.synthesis.layers()[2:4]

    # What the layers themselves make of each direction; nothing else than their weights counts.
    vectors = torch.from_numpy(found.vectors).float()
    with torch.no_grad():
        zero = torch.zeros_like(vectors)
        change = torch.cat([layer.style(vectors) - layer.style(zero) for layer in layers], 1).norm(dim=1)
        rng = torch.Generator().manual_seed(0)
        random = torch.nn.functional.normalize(torch.randn(1000, vectors.shape[1], generator=rng))
        others = torch.cat([layer.style(random) - layer.style(zero[:1]) for layer in layers], 1).norm(dim=1)
    assert change[0] > others.max() and (change[:-1] >= change[1:] - 1e-5).all()
    assert np.allclose(found.vectors @ found.vectors.T, np.eye(len(found.vectors)), atol=1e-9)
    assert list(found.layers) == [2, 3]


def test_sefa_of_a_progan_looks_at_its_first_layer():
    found = sefa(sampler(PROGAN), (0, 0))
    G = sampler(PROGAN).G
    change = G.synthesis.get_submodule("b4").source.fc(torch.from_numpy(found.vectors).float()).norm(dim=1)
    assert (change[:-1] >= change[1:] - 1e-5).all() and len(found.vectors) == 16


def test_ganspace_gives_the_principal_components_of_w(stylegan):
    found = ganspace(stylegan, (0, 7))

    # Other latents than those that it has seen.
    z = torch.randn(20_000, stylegan.G.cfg.z_dim, generator=torch.Generator().manual_seed(7))
    c = torch.eye(stylegan.G.spec.c_dim)[torch.arange(20_000) % stylegan.G.spec.c_dim]
    with torch.no_grad():
        w = stylegan.G.mapping(z, c)[:, 0].double().numpy()
    values, vectors = np.linalg.eigh(np.cov(w.T))
    assert np.allclose(found.deviations[0], np.sqrt(values[-1]), rtol=0.05)
    assert abs(found.vectors[0] @ vectors[:, -1]) > 0.98
    assert (np.diff(found.deviations) <= 0).all()


def test_deviations_are_those_of_w_along_the_directions(stylegan):
    # Principal components have no correlations, so their deviations add up to those of any other directions.
    pca, other = ganspace(stylegan, (0, 7)), sefa(stylegan, (0, 7))
    expected = np.sqrt(np.square((other.vectors @ pca.vectors.T) * pca.deviations).sum(1))
    assert np.allclose(other.deviations, expected, rtol=1e-3)


def test_a_class_has_components_of_its_own():
    of_all, of_one = (ganspace(sampler(STYLEGAN, k), (0, 7)).deviations for k in (None, 1))
    assert not np.allclose(of_all, of_one)


def test_the_chosen_layers_move(stylegan):
    found = Directions(np.eye(16)[:2, : len(stylegan.G.mapping.w_avg)], np.array([2.0, 5.0]), np.array([1, 2]))
    found = found._replace(vectors=np.eye(len(stylegan.G.mapping.w_avg))[:2])
    w = torch.randn(3, 8, len(stylegan.G.mapping.w_avg))
    change = found.shift(w, 1, -3.0) - w
    expected = torch.zeros_like(w)
    expected[:, 1:3, 1] = -15
    assert torch.allclose(change, expected, atol=1e-5)


def test_a_network_whose_w_is_its_latent_has_no_principal_components():
    with pytest.raises(UserError, match="--method ganspace: w of this network varies alike"):
        ganspace(sampler(PROGAN), (0, 0))


def test_files_hold_what_was_found(stylegan, tmp_path):
    found = sefa(stylegan, (4, 7))
    (tmp_path / "d.npz").write_bytes(pack_directions(found))
    again = read_directions(tmp_path / "d.npz", stylegan)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))

    with pytest.raises(UserError, match=r"d\.npz: directions of another network: w_dim"):
        read_directions(tmp_path / "d.npz", sampler(PROGAN))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: None,
        lambda arrays: {**arrays, "vectors": arrays["vectors"][0]},
        lambda arrays: {**arrays, "vectors": np.full_like(arrays["vectors"], np.nan)},
        lambda arrays: {**arrays, "vectors": np.array([["a"]], object)},
        lambda arrays: {**arrays, "deviations": arrays["deviations"][1:]},
        lambda arrays: {**arrays, "layers": np.array([0.0, 1.0])},
        lambda arrays: {**arrays, "layers": np.array([5, 99])},
        lambda arrays: {"w": arrays["vectors"]},
    ],
)
def test_other_files_are_refused(stylegan, tmp_path, change):
    with np.load(io.BytesIO(pack_directions(sefa(stylegan, (0, 7))))) as file:
        arrays = change(dict(file))
    content = io.BytesIO(b"no zip")
    if arrays is not None:
        content = io.BytesIO()
        np.savez(content, **arrays)
    (tmp_path / "d.npz").write_bytes(content.getvalue())
    with pytest.raises(UserError, match=r"d\.npz: "):
        read_directions(tmp_path / "d.npz", stylegan)
