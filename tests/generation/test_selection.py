"""Seeds, grids and levels as they are written on a command line."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from generation.latent_files import pack_latents
from generation.sampling import Sampler, SamplingOptions
from generation.selection import LatentOptions, Selection, open_sampler, parse_grid, parse_levels, parse_seeds
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")
WITHOUT_NOISE = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


def test_parse_seeds():
    assert parse_seeds("0-3,20, 7") == [0, 1, 2, 3, 20, 7]


@pytest.mark.parametrize("text", ["5-3", "x", "4294967296", "0-4000000000", ""])
def test_seeds_that_are_refused(text):
    with pytest.raises(UserError, match="--rows"):
        parse_seeds(text, "--rows")


def test_parse_grid():
    assert parse_grid("4x2") == (4, 2)
    with pytest.raises(UserError, match="--grid 0x2: expected columns and rows such as 4x2"):
        parse_grid("0x2")


def test_parse_levels():
    assert parse_levels("all", 3) == [0, 1, 2]
    assert parse_levels("-1", 3) == [2]
    assert parse_levels("2,0", 3) == [2, 0]


@pytest.mark.parametrize(("text", "message"), [("3", "expected -3 to 2"), ("0,-4", "-3 to 2"), ("x", "found `x`")])
def test_levels_that_are_refused(text, message):
    with pytest.raises(UserError, match=f"--level .*{message}"):
        parse_levels(text, 3)


def test_latents_of_seeds_of_a_random_state_and_of_one_seed_with_many_noises():
    sampler = Sampler(SamplingOptions(network=NETWORK, noise_mode="random", device="cpu"))

    seeds = Selection(LatentOptions(seeds="4,7"))
    assert seeds.names == ["seed0004", "seed0007"]
    assert np.array_equal([s.latent.z for s in seeds.draw(sampler)], [sampler.latent(n).z for n in (4, 7)])

    state = Selection(LatentOptions(random_state=4, num_samples=3))
    assert state.names == ["sample0000", "sample0001", "sample0002"]
    expected = [latent.z for latent in sampler.random_state(4, 3)]
    assert np.array_equal([s.latent.z for s in state.draw(sampler)], expected)

    noises = Selection(LatentOptions(seeds="4,7", only_noise=True))
    latents = [s.latent for s in noises.draw(sampler)]
    assert noises.names == ["noise0004", "noise0007"] and [latent.noise_seed for latent in latents] == [4, 7]
    assert all(np.array_equal(latent.z, sampler.latent(4).z) for latent in latents)


def test_latents_of_a_file_give_the_images_that_they_were_saved_with(tmp_path):
    sampler = Sampler(SamplingOptions(network=NETWORK, noise_mode="random", trunc=0.5, device="cpu"))
    samples = list(sampler.draw(sampler.latents([4, 7, 2])))
    (tmp_path / "latents.npz").write_bytes(pack_latents(["a", "b", "../c"], samples))

    # Truncation is part of what was saved.
    selection = Selection(LatentOptions(latents=tmp_path / "latents.npz"))
    assert selection.names == ["a", "b", "c"]
    again = selection.draw(Sampler(SamplingOptions(network=NETWORK, noise_mode="random", device="cpu")))
    for before, after in zip(samples, again, strict=True):
        assert np.array_equal(before.w, after.w) and np.array_equal(before.latent.z, after.latent.z)
        assert all(np.array_equal(a, b) for a, b in zip(before.images, after.images, strict=True))


@pytest.mark.parametrize(
    ("name", "value"), [("random_state", -1), ("num_samples", 0), ("num_samples", 3), ("seeds", "a")]
)
def test_selections_that_are_refused(name, value):
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} {value}"):
        Selection(LatentOptions(**{name: value}))


def test_a_seed_that_is_named_twice_is_drawn_once():
    assert Selection(LatentOptions(seeds="3,1-3")).names == ["seed0003", "seed0001", "seed0002"]


def test_seeds_exclude_a_random_state():
    with pytest.raises(UserError, match="--seeds 7: cannot be combined with --random-state"):
        Selection(LatentOptions(seeds="7", random_state=3))


def test_stored_latents_have_names_of_their_own_and_are_truncated_already(tmp_path):
    sampler = Sampler(SamplingOptions(network=NETWORK, device="cpu"))
    samples = list(sampler.draw(sampler.latents([4, 7])))
    (tmp_path / "twice.npz").write_bytes(pack_latents(["a/b", "b"], samples))
    with pytest.raises(UserError, match=r"twice\.npz: a name is there twice"):
        Selection(LatentOptions(latents=tmp_path / "twice.npz"))

    (tmp_path / "a.npz").write_bytes(pack_latents(["a", "b"], samples))
    truncating = Sampler(SamplingOptions(network=NETWORK, trunc=0.5, device="cpu"))
    with pytest.raises(UserError, match="they are mapped, expected no --trunc and no --class"):
        Selection(LatentOptions(latents=tmp_path / "a.npz")).draw(truncating)


def test_latents_of_a_file_exclude_other_choices(tmp_path):
    with pytest.raises(UserError, match="cannot be combined with --seeds, --random-state or --only-noise"):
        Selection(LatentOptions(latents=tmp_path / "x.npz", only_noise=True))


def test_only_noise_makes_noise_random_and_needs_some():
    assert open_sampler(SamplingOptions(network=NETWORK, device="cpu"), True).options.noise_mode == "random"
    with pytest.raises(UserError, match="--only-noise with --noise-mode none"):
        open_sampler(SamplingOptions(network=NETWORK, noise_mode="none", device="cpu"), True)
    with pytest.raises(UserError, match="--only-noise: this network has no noise inputs"):
        open_sampler(SamplingOptions(network=WITHOUT_NOISE, device="cpu"), True)
