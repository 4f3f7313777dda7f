"""Pictures that visitors compose, and films."""

import zipfile
from dataclasses import replace

import av
import numpy as np
import pytest

from dnnlib.errors import UserError
from generation.latent_directions import pack_directions, sefa
from generation.latent_files import pack_latents, read_latents
from generation.networks import NetworkOptions
from generation.sampling import Sampler, SamplingOptions
from sharing.demo import studio as module
from sharing.demo.studio import DIRECTIONS, MOST_KEYS, Recipe, Studio
from tests.golden_data import GOLDEN
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec

STYLEGAN = str(GOLDEN / "c2_network-final.pkl")
PROGAN = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


@pytest.fixture(scope="module")
def studio():
    return Studio(NetworkOptions(network=STYLEGAN), "cpu")


@pytest.fixture(scope="module")
def sampler(studio):
    return Sampler(SamplingOptions(batch=1), studio.G)


def test_a_picture_is_that_of_generate(studio):
    sampler = Sampler(SamplingOptions(batch=1, trunc=0.5, class_idx=1, noise_mode="random"), studio.G)
    expected = next(sampler.draw([sampler.latent(3)]))
    picture = studio.picture(Recipe(seed=3, psi=0.5, label=1, noise="random"))
    assert all((a == b).all() for a, b in zip(picture.levels, expected.images, strict=True))
    assert picture.name == "seed0003" and not picture.sources
    assert (picture.w == expected.w).all()


def test_layers_follow_the_second_seed(studio, sampler):
    own, other = sampler.map([sampler.latent(0)]), sampler.map([sampler.latent(1)._replace(c=sampler.latent(0).c)])
    picture = studio.picture(Recipe(second_seed=1, second_layers=(2, 4)))
    assert (picture.w[2:5] == other[0, 2:5].numpy()).all()
    assert (picture.w[:2] == own[0, :2].numpy()).all() and (picture.w[5:] == own[0, 5:].numpy()).all()
    assert [source.shape for source in picture.sources] == [picture.levels[-1].shape] * 2
    assert (picture.sources[0] == studio.picture(Recipe()).levels[-1]).all()


def test_directions_move_the_mixture(studio):
    directions = studio.find_directions("SeFa", (1, 3))
    assert len(directions.vectors) == DIRECTIONS and studio.find_directions("SeFa", (1, 3)) is directions
    mixed = Recipe(second_seed=1, second_layers=(0, 2))
    still, moved = (
        studio.picture(replace(mixed, directions=directions, strengths=strengths))
        for strengths in ((0.0, 0.0), (1.0, -2.0))
    )
    steps = directions.vectors * directions.deviations[:, None]
    assert np.allclose(moved.w[1:4] - still.w[1:4], steps[0] - 2 * steps[1], atol=1e-5)
    assert (moved.w[4:] == still.w[4:]).all() and (moved.w[0] == still.w[0]).all()


def test_latents_go_out_and_come_in_again(studio, tmp_path):
    picture = studio.picture(Recipe(seed=8, second_seed=2, second_layers=(0, 1), psi=0.3))
    (tmp_path / "own.npz").write_bytes(picture.latents_file())
    stored = studio.read_latents(tmp_path / "own.npz")
    again = studio.picture(Recipe(stored=stored))
    assert again.name == "seed0008-mix0002"
    assert all((a == b).all() for a, b in zip(again.levels, picture.levels, strict=True))


def test_latents_that_tell_no_class_are_mixed_with_one_of_the_seed(studio, sampler, tmp_path):
    # As `project` writes them, or another program with the same w.
    (tmp_path / "own.npz").write_bytes(studio.picture(Recipe()).latents_file())
    stored = read_latents(tmp_path / "own.npz")
    for c in (np.zeros_like(stored.c), np.ones((1, 9))):
        recipe = Recipe(stored=stored._replace(c=c), second_seed=1, second_layers=(0, 3))
        assert (studio.picture(recipe).w[:4] == sampler.map([sampler.latent(1)])[0, :4].numpy()).all()


def test_names_in_a_file_become_names_of_files(studio, tmp_path):
    (tmp_path / "own.npz").write_bytes(studio.picture(Recipe()).latents_file())
    stored = read_latents(tmp_path / "own.npz")
    for name in ("../../etc/passwd", "a\x00b/c\x00d", "x" * 300, ""):
        named = studio.picture(Recipe(stored=stored._replace(names=np.array([name]))))
        (tmp_path / named.name).write_bytes(b"")
        assert (tmp_path / named.name).parent == tmp_path


def test_fewer_directions_than_sliders(studio, sampler):
    few = sefa(sampler, (0, 1))
    few = few._replace(vectors=few.vectors[:1], deviations=few.deviations[:1])
    one, more = (studio.picture(Recipe(directions=few, strengths=s)) for s in ((1.0,), (1.0, 2.0)))
    assert (one.w == more.w).all()


def test_noise_of_latents_is_kept(studio, sampler, tmp_path):
    picture = studio.picture(Recipe())
    noise = tuple(layer.numpy() for layer in sampler.noise(5))
    (tmp_path / "plain.npz").write_bytes(picture.latents_file())
    stored = read_latents(tmp_path / "plain.npz")._replace(noise=noise)
    noisy = studio.picture(Recipe(stored=stored))
    assert (noisy.levels[-1] != picture.levels[-1]).any()
    (tmp_path / "noisy.npz").write_bytes(noisy.latents_file())
    assert (
        studio.picture(Recipe(stored=studio.read_latents(tmp_path / "noisy.npz"))).levels[-1] == noisy.levels[-1]
    ).all()


def test_files_of_visitors_are_checked(studio, sampler, tmp_path, monkeypatch):
    other = Studio(NetworkOptions(), "cpu")
    (tmp_path / "other.npz").write_bytes(other.picture(Recipe()).latents_file())
    with pytest.raises(UserError, match="latents of another network"):
        studio.read_latents(tmp_path / "other.npz")
    (tmp_path / "directions.npz").write_bytes(pack_directions(sefa(sampler, (0, 1))))
    assert len(studio.read_directions(tmp_path / "directions.npz").vectors) == DIRECTIONS
    with pytest.raises(UserError, match="directions of another network"):
        other.read_directions(tmp_path / "directions.npz")

    # Few bytes that stand for many are refused before they are unpacked.
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(2**27))
    for read in (studio.read_latents, studio.read_directions):
        with pytest.raises(UserError, match=r"bomb\.npz: 134 MB unpacked, expected at most 34"):
            read(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.write(tmp_path / "bomb.npz", "latents.npz")
    with pytest.raises(UserError, match=r"nested\.zip: 134 MB unpacked, expected at most 34"):
        studio.read_latents(tmp_path / "nested.zip")

    samples = list(sampler.draw(sampler.latents(range(3))))
    (tmp_path / "many.npz").write_bytes(pack_latents(["a", "b", "c"], samples))
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    with pytest.raises(UserError, match=r"many\.npz: 3 latents, expected at most 2"):
        studio.read_latents(tmp_path / "many.npz")


def test_a_film_passes_through_the_kept_pictures(studio, tmp_path):
    pictures = [studio.picture(Recipe(seed=seed)) for seed in (0, 1)]
    studio.film([picture.w for picture in pictures], 0.4, "const", tmp_path / "walk.mp4")
    with av.open(str(tmp_path / "walk.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 24
    for frame, picture in ((frames[0], pictures[0]), (frames[12], pictures[1])):
        expected = picture.levels[-1].transpose(1, 2, 0).repeat(8, 0).repeat(8, 1)
        assert np.abs(frame.astype(int) - expected).mean() < 8  # what is lost in a film


def test_films_that_nobody_would_wait_for_are_refused(studio, tmp_path):
    w = studio.picture(Recipe()).w
    for keys in (0, 1, MOST_KEYS + 1):
        with pytest.raises(UserError, match=f"2 to {MOST_KEYS} pictures, and {keys} are kept"):
            studio.film([w] * keys, 1.0, "const", tmp_path / "walk.mp4")
    with pytest.raises(UserError, match="A film of 2400 frames takes too long"):
        studio.film([w] * MOST_KEYS, 5.0, "const", tmp_path / "walk.mp4")
    assert not list(tmp_path.iterdir())


def test_a_film_ends_when_the_page_does(tmp_path):
    studio = Studio(NetworkOptions(network=PROGAN), "cpu")
    w = studio.picture(Recipe()).w
    studio.close()
    with pytest.raises(UserError, match="closed"):
        studio.film([w, w], 1.0, "const", tmp_path / "walk.mp4")
    assert not list(tmp_path.iterdir())


def test_the_newest_snapshot_is_followed(tmp_path, studio):
    options = NetworkOptions()
    with pytest.raises(UserError, match="no snapshot yet"):
        Studio(options, "cpu", tmp_path)

    G, first = studio.G, tmp_path / "network-snapshot-000001.safetensors"
    save_snapshot(first, {"G_ema": G}, G.spec, 1000)
    followed = Studio(options, "cpu", tmp_path)
    followed.find_directions("SeFa", (0, 0))
    followed.follow()
    assert followed.place == str(first)

    # A damaged snapshot is reported once; the next one is opened.
    (tmp_path / "network-snapshot-000002.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="000002"):
        followed.follow()
    followed.follow()
    assert followed.place == str(first)
    third = tmp_path / "network-snapshot-000003.safetensors"
    progan = Studio(NetworkOptions(network=PROGAN), "cpu").G
    assert isinstance(progan.spec, ImageSpec)
    save_snapshot(third, {"G_ema": progan}, progan.spec, 3000)
    followed.follow()
    assert followed.place == str(third) and followed.num_ws == 1 and followed.methods == ["SeFa"]
