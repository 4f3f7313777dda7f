"""Files of latents."""

import io
import zipfile

import numpy as np
import pytest

from dnnlib.errors import UserError
from generation.latent_files import check_latents, pack_latents, read_latents
from generation.sampling import Sampler, SamplingOptions
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")
OTHER = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


@pytest.fixture(scope="module")
def packed():
    sampler = Sampler(SamplingOptions(network=NETWORK, device="cpu"))
    return pack_latents(["x", "y"], list(sampler.draw(sampler.latents([3, 5]))))


def changed(packed, **arrays):
    """Return the file with other arrays, None = without it."""
    with np.load(io.BytesIO(packed)) as old:
        kept = {name: arrays.get(name, old[name]) for name in old}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in kept.items() if array is not None})
    return file.getvalue()


def test_a_file_and_a_zip_with_it_hold_the_same(packed, tmp_path):
    (tmp_path / "latents.npz").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("x.png", b"")
        archive.writestr("latents.npz", packed)

    sampler = Sampler(SamplingOptions(network=NETWORK, device="cpu"))
    for name in ("latents.npz", "all.zip"):
        stored = read_latents(tmp_path / name)
        check_latents(stored, tmp_path / name, sampler)
        assert list(stored.names) == ["x", "y"] and list(stored.noise_seeds) == [3, 5]
        assert np.array_equal(stored.latents()[1].z, sampler.latent(5).z)


def test_latents_of_another_network_are_refused(packed, tmp_path):
    (tmp_path / "latents.npz").write_bytes(packed)
    with pytest.raises(UserError, match=r"latents\.npz: latents of another network: w 8x.*, expected 1x16"):
        check_latents(
            read_latents(tmp_path / "latents.npz"), tmp_path / "latents.npz", Sampler(SamplingOptions(network=OTHER))
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda packed: packed[: len(packed) // 2], "not a zip file"),
        (lambda packed: b"PNG", "not a zip file"),
        (lambda packed: changed(packed, z=None), "no z in it"),
        (lambda packed: changed(packed, w=np.zeros((2, 4), np.float32)), "arrays of wrong shapes"),
        (lambda packed: changed(packed, noise_seeds=np.zeros(3, int)), "arrays of wrong shapes"),
        (lambda packed: changed(packed, w=np.full((2, 8, 4), np.nan)), "w holds values that are no numbers"),
        (lambda packed: changed(packed, noise_seeds=np.array([1.5, 2])), "no whole numbers"),
        (lambda packed: changed(packed, noise_seeds=np.array([-1, 2])), "no whole numbers"),
        (lambda packed: changed(packed, names=np.array([{}, {}], object)), "Object arrays cannot be loaded"),
    ],
)
def test_other_files_are_refused_in_one_line(packed, tmp_path, change, message):
    (tmp_path / "x.npz").write_bytes(change(packed))
    with pytest.raises(UserError, match=rf"x\.npz: .*{message}.*, expected latents\.npz as .generate\.py images"):
        read_latents(tmp_path / "x.npz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"x\.npz: cannot read: no such file"):
        read_latents(tmp_path / "x.npz")
