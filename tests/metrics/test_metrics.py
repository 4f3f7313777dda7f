"""Each metric against an independent implementation, or a case whose value is known."""

import math
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.convert import convert
from dnnlib.errors import UserError
from metrics import msssim, path_length, swd
from metrics.catalog import METRICS, choose, several
from metrics.context import Context
from metrics.detectors.detector import DetectorOptions
from metrics.inception_score import score
from metrics.kid import polynomial_mmd
from metrics.moments import Moments, bias, frechet
from metrics.precision_recall import covered, squared_distances
from metrics.samples import Both, Fakes, OfClass, Reals
from tests.datasets import write_dataset
from tests.metrics import fidelity
from tests.runs import ENV, ROOT
from training.data.dataset import open_dataset
from training.networks.architectures import build_generator
from training.networks.config import GeneratorConfig
from training.run.snapshot import save_snapshot

CPU = torch.device("cpu")


def features(n, f, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, f)) @ rng.normal(size=(f, f)) * f**-0.5 + shift).astype(np.float32)


def moments(x, batch=7):
    m = Moments(x.shape[1])
    for i in range(0, len(x), batch):
        m.add(x[i : i + batch], np.arange(len(x))[i : i + batch] >= len(x) // 2)
    return m


# statistics


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_streamed_moments_are_those_of_numpy(n, f, batch):
    x = features(n, f)
    mean, cov = moments(x, batch).total()
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.astype(np.float64), rowvar=False).reshape(f, f), rtol=1e-9, atol=1e-12)


def test_frechet_is_the_closed_form_for_commuting_covariances():
    a, b = np.diag([1.0, 4, 9]), np.diag([4.0, 4, 1])
    expected = 14 + ((np.sqrt([1, 4, 9]) - np.sqrt([4, 4, 1])) ** 2).sum()
    assert frechet((np.zeros(3), a), (np.array([1, 2, 3.0]), b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [20, 400])  # fewer and more than features
def test_frechet_is_that_of_scipy_and_torch_fidelity(n):
    x, y = features(n, 50), features(n, 50, 1, 0.3)
    found = frechet(moments(x).total(), moments(y).total())
    (m1, s1), (m2, s2) = moments(x).total(), moments(y).total()
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * scipy.linalg.sqrtm(s1 @ s2).real.trace()
    assert found == pytest.approx(expected, rel=1e-6 if n > 50 else 1e-4)  # sqrtm is not exact for singular matrices
    fid = fidelity.load("metric_fid")
    stats = [fid.fid_features_to_statistics(torch.from_numpy(v.astype(np.float64))) for v in (x, y)]
    assert found == pytest.approx(fid.fid_statistics_to_metric(*stats, False)[fid.KEY_METRIC_FID], rel=1e-6)


@pytest.mark.parametrize("n", [10, 300])
def test_distance_of_a_set_to_itself_is_zero(n):
    m = moments(features(n, 40))
    assert abs(frechet(m.total(), m.total())) < 1e-6


def test_bias_is_what_more_images_take_away():
    """Of two sets of one distribution the whole distance is bias."""
    x, y = moments(features(400, 30, 0)), moments(features(400, 30, 0)[::-1])
    rng = np.random.default_rng(0)
    a, b = (moments(rng.normal(size=(400, 30))) for _ in range(2))
    found = frechet(a.total(), b.total())
    assert bias(a, b, found) == pytest.approx(found, rel=0.35) and abs(frechet(x.total(), y.total())) < 1e-6


def test_saved_moments_are_the_same_or_refused(tmp_path):
    m = moments(features(30, 5))
    m.save(tmp_path / "m.npz")
    again = Moments.load(tmp_path / "m.npz")
    assert np.array_equal(again.outer, m.outer) and np.array_equal(again.n, m.n)
    raw = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError):
        Moments.load(tmp_path / "m.npz")


# KID, IS, precision and recall on the same features as torch-fidelity


def test_kid_is_that_of_torch_fidelity():
    x, y = features(300, 40), features(260, 40, 1, 0.2)
    kid = fidelity.load("metric_kid")
    options = {"kid_subsets": 20, "kid_subset_size": 100, "rng_seed": 7, "verbose": False, "kid_kernel": "poly",
               "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}  # fmt: skip
    expected = kid.kid_features_to_metric(*(torch.from_numpy(v.astype(np.float64)) for v in (x, y)), **options)
    mean, error = polynomial_mmd(x, y, 20, 100, 7)
    assert mean == pytest.approx(expected[kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert error == pytest.approx(expected[kid.KEY_METRIC_KID_STD] * math.sqrt(1 / 20 + 100 / 160), rel=1e-6)


def test_kid_is_unbiased():
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)), 1, 60, k)[0] for k in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)


@pytest.mark.parametrize("n", [60, 300])
def test_kids_standard_error_is_its_deviation(n):
    """Of sets drawn anew from one distribution each time."""
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(rng.normal(size=(n, 4)), rng.normal(size=(n, 4)) + 1, 50, 30, k) for k in range(150)]
    means, errors = np.array(found).T
    assert np.std(means) == pytest.approx(errors.mean(), rel=0.25)


@pytest.mark.parametrize("n", [50, 37])
def test_inception_score_is_that_of_torch_fidelity(n):
    logits = features(n, 20) * 3
    isc = fidelity.load("metric_isc")
    expected = isc.isc_features_to_metric(torch.from_numpy(logits), 10, shuffle=False)
    mean, std = score([logits[i : i + 8] for i in range(0, n, 8)], n)
    assert mean == pytest.approx(expected[isc.KEY_METRIC_ISC_MEAN], rel=1e-6)
    assert std == pytest.approx(expected[isc.KEY_METRIC_ISC_STD], rel=1e-6)


def test_precision_and_recall_are_those_of_torch_fidelity(monkeypatch):
    monkeypatch.setattr("metrics.precision_recall.ROWS", 64)
    fake, real = features(150, 12, 0), features(200, 12, 0, 0.3)
    prc = fidelity.load("metric_prc")
    expected = prc.calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real), 3)
    assert (covered(fake, real, 3, CPU), covered(real, fake, 3, CPU)) == pytest.approx(expected, abs=1e-6)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1


def test_equal_points_are_at_no_distance():
    """Every point several times, in features whose squares are large: only equal ones are within the balls."""
    x = features(40, 200, 0, 50.0)
    x = x[np.r_[0:40, 0:40, 0:40, 0:40]]
    assert covered(x, x, 3, CPU) == 1 and covered(x[:40], x, 3, CPU) == 1
    assert covered(x + np.float32(1e-3), x, 3, CPU) == 0
    a, b = (torch.from_numpy(v).double() for v in (x[:7], x[3:12]))
    torch.testing.assert_close(squared_distances(a, b).sqrt(), (a[:, None] - b).norm(dim=2))


# SWD and MS-SSIM against float64 by definition


def pyramid_by_definition(x, levels):
    """Laplacian pyramid of one image [C,h,w], float64, with scipy's convolution."""
    k = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def smooth(y, gain):
        return np.stack([scipy.ndimage.convolve(c, k * gain, mode="mirror") for c in y])

    out = [x.astype(np.float64)]
    for _ in range(levels - 1):
        out.append(smooth(out[-1], 1)[:, ::2, ::2])
        wide = np.zeros((len(x), 2 * out[-1].shape[1], 2 * out[-1].shape[2]))
        wide[:, ::2, ::2] = out[-1]
        out[-2] = out[-2] - smooth(wide, 4)
    return out


def test_laplacian_pyramid_by_definition():
    x = np.random.default_rng(0).integers(0, 256, (3, 64, 64))
    for level, expected in enumerate(pyramid_by_definition(x, 3)):
        found = swd.laplacian(torch.from_numpy(x)[None].float(), level)[0]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_sliced_wasserstein_by_definition(monkeypatch):
    a, b = (features(500, 18, k, 100.0 * k).reshape(500, 2, 3, 3) for k in (0, 1))
    d = swd.unit_vectors(18, 3)
    np.testing.assert_allclose(np.square(d).sum(0), 1, rtol=1e-6)
    axes = {"axis": (0, 2, 3), "keepdims": True}
    normal = [(x - x.mean(**axes)) / x.std(**axes) for x in map(np.float64, (a, b))]
    p, q = (np.sort(x.reshape(500, -1) @ d, 0) for x in normal)
    found = swd.sliced_wasserstein(a, b, 3, CPU)
    assert d.shape == (18, 512) and found == pytest.approx(np.abs(p - q).mean(), rel=1e-4)
    monkeypatch.setattr(swd, "PROJECTIONS", 1500)  # three directions at a time
    assert swd.sliced_wasserstein(a, b, 3, CPU) == pytest.approx(found, rel=1e-6)
    assert swd.sliced_wasserstein(a, a[::-1].copy(), 3, CPU) < 1e-6


def test_patches_lie_anywhere_and_are_scaled_by_channel():
    image = np.arange(3 * 20 * 20, dtype=np.float32).reshape(3, 20, 20)
    patches = swd.cut(image, 0)
    corners = patches[:, 0, 0, 0].astype(int)
    ys, xs = corners // 20, corners % 20
    assert {0, 13} <= set(ys) and {0, 13} <= set(xs) and ys.max() == xs.max() == 13
    mean, std = swd.channel_moments(patches)
    np.testing.assert_allclose(mean, patches.mean((0, 2, 3), dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(std, patches.std((0, 2, 3), dtype=np.float64), rtol=1e-6)


def ms_ssim_by_definition(a, b):
    """Of one pair of images [h,w,C], as the reference computes it: scipy, float64."""

    def single(x, y):
        size = min(11, *x.shape[:2])
        sigma = size * 1.5 / 11
        at = np.arange(size) - (size - 1) / 2
        w = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
        w /= w.sum()
        blur = lambda z: scipy.signal.fftconvolve(z, w[:, :, None], mode="valid")  # noqa: E731
        ma, mb = blur(x), blur(y)
        va, vb, vab = blur(x * x) - ma**2, blur(y * y) - mb**2, blur(x * y) - ma * mb
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        v1, v2 = 2 * vab + c2, va + vb + c2
        return ((2 * ma * mb + c1) * v1 / ((ma**2 + mb**2 + c1) * v2)).mean(), (v1 / v2).mean()

    weights, out = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333], 1.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    for k, weight in enumerate(weights):
        similarity, contrast = single(x, y)
        out *= max(0, similarity if k == 4 else contrast) ** weight
        x, y = (scipy.ndimage.convolve(z, np.ones((2, 2, 1)) / 4, mode="reflect")[::2, ::2] for z in (x, y))
    return out


@pytest.mark.parametrize("size", [32, 64, 256])
def test_ms_ssim_by_definition(size):
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (4, 3, 8, 8))).double()
    x = F.interpolate(small, (size, size), mode="bilinear") + torch.from_numpy(rng.normal(0, 20, (4, 3, size, size)))
    x[1] = x[0] + torch.from_numpy(rng.normal(0, 10, (3, size, size)))
    found = msssim.multi_scale(x[::2], x[1::2])
    expected = [ms_ssim_by_definition(*(x[k + j].permute(1, 2, 0).numpy() for j in (0, 1))) for k in (0, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[0] > 0.5 and torch.allclose(msssim.multi_scale(x, x), torch.ones(4).double())


# generators whose values are known


class Pixels:
    """Synthesis whose image is w, and its pyramid the means of that; shifted by `shift`."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def noise_shapes(self, n):
        return [(n, 1, 4, 4)]

    def __call__(self, w, noise=None):
        assert noise is None or noise[0].shape == (len(w), 1, 4, 4)
        x = (w[:, 0] * 0.1).reshape(len(w), 3, 16, 16) + self.shift
        return tuple(F.avg_pool2d(x, 16 // r) for r in (4, 8, 16))


class Linear:
    """A generator with w = z."""

    def __init__(self, c_dim=0, shift=0.0):
        self.cfg, self.spec = SimpleNamespace(z_dim=768), SimpleNamespace(resolution=16, channels=3, c_dim=c_dim)
        self.synthesis = Pixels(shift)

    def mapping(self, z, c=None):
        return z[:, None]

    def __call__(self, z, c=None, truncation_psi=None, truncation_cutoff=None, noise=None):
        return self.synthesis(self.mapping(z, c), noise)


def linear(c_dim=0, shift=0.0, **options):
    return Fakes(Linear(c_dim, shift), CPU, **options)


class Quadratic:
    """In LPIPS's place: the squared distance of two images."""

    facts = {"detector": "quadratic"}  # noqa: RUF012

    def __call__(self, a, b):
        return ((a - b).double().square().sum((1, 2, 3)),)


class Few:
    """In Inception's place: a few numbers of an image."""

    facts, name = {"detector": "few"}, "inception"

    def __call__(self, x):
        y = F.avg_pool2d(x.float(), x.shape[2] // 2).flatten(1)
        return y, y / 50


def few():
    return {"inception": Few()}


def context(fakes, reals=None, **options):
    return Context(fakes, reals, CPU, DetectorOptions(random_detectors=True), **options)


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_path_length_of_a_linear_generator_is_its_closed_form(sampling):
    """|d G/d t|^2 = (12.75 |z1 - z0|)^2 everywhere on a straight line."""
    fakes = linear(seed=3)
    ctx = context(fakes, loaded={"lpips": Quadratic()})
    indices = np.arange(200)
    lengths = (fakes.latents(indices, "end") - fakes.latents(indices, "start")).double().square().sum(1) * 12.75**2
    low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
    expected = lengths[(lengths >= low) & (lengths <= high)].mean().item()
    found = path_length.path_length(ctx, 200, "w", sampling, crop=False, epsilon=1e-2).values["ppl"]
    assert found == pytest.approx(expected, rel=1e-3)


def test_crop_is_as_asked():
    for crop, expected in ((None, (True, False)), ("face", (True, True)), ("none", (False, False))):
        for name, is_cropped in zip(("ppl_wend4", "ppl2_wend4"), expected, strict=True):
            ctx = context(linear(), loaded={"lpips": Quadratic()}, crop=crop)
            if is_cropped:  # 16x16 is too small for it
                with pytest.raises(UserError, match="8x8 behind the crop"):
                    choose(name)[0](ctx)
            else:
                assert choose(name)[0](ctx).facts["crop"] is False


def test_spherical_interpolation():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 20, generator=g), torch.randn(50, 20, generator=g)
    ends = [path_length.slerp(a, b, torch.full((50, 1), t)) for t in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(ends[0], F.normalize(a, dim=1))
    torch.testing.assert_close(ends[2], F.normalize(b, dim=1))
    torch.testing.assert_close(ends[1], F.normalize(F.normalize(a, dim=1) + F.normalize(b, dim=1), dim=1))


def test_crop_is_stylegans_region_of_a_face():
    x = torch.arange(64 * 64).reshape(1, 1, 64, 64)
    y = path_length.cropped(x, True)
    assert y.shape[2:] == (32, 32) and y[0, 0, 0, 0] == 24 * 64 + 16
    assert path_length.reduce_size(torch.ones(1, 3, 1024, 1024)).shape[2:] == (256, 256)


def test_consistency_of_pooled_levels_is_zero():
    found = choose("consistency64")[0](context(linear())).values
    assert found["consistency"] < 1e-12 and set(found) == {"consistency", "consistency_4", "consistency_8"}


def test_stability_is_the_mean_squared_change():
    found = choose("stability16")[0](context(linear(shift=0.5)), linear()).values
    assert found["stability_16"] == pytest.approx(0.25, rel=1e-5) and found["stability"] == found["stability_16"]


# samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    images = np.repeat(np.repeat(small, 4, 2), 4, 3)
    images[:, :, :, 0] //= 2  # left and right differ
    path = tmp_path_factory.mktemp("metrics") / "set"
    return open_dataset(write_dataset(path, images, np.eye(3)[np.arange(40) % 3]))


def test_reals_repeat_and_mirror(dataset):
    indices = np.arange(100)
    (plain,), (mirrored,) = ([*Reals(dataset, m).batches([indices])] for m in (False, True))
    order = Reals(dataset).order
    assert sorted(order) == list(range(40)) and list(order) != list(range(40))
    whole = np.stack([dataset[int(order[i % 40])][0] for i in range(100)])
    np.testing.assert_array_equal(plain, whole)
    flipped = np.array([np.array_equal(m, w[..., ::-1]) for m, w in zip(mirrored.numpy(), whole, strict=True)])
    same = np.array([np.array_equal(m, w) for m, w in zip(mirrored.numpy(), whole, strict=True)])
    assert (flipped ^ same).all() and 25 < flipped.sum() < 75
    both = Both(dataset)
    (x,) = both.batches([np.arange(80)])
    place, flip = both.place(np.arange(80))
    assert len(both) == 80 and 10 < flip[:40].sum() < 30
    for i in range(40):
        a, b = np.flatnonzero(place == i)
        assert flip[a] != flip[b] and torch.equal(x[int(a)], x[int(b)].flip(2))
    second = both.second_half(np.arange(80), 80)
    assert all(len(set(second[place == i])) == 1 for i in range(40)) and second.sum() == 40
    assert not Reals(dataset).second_half(np.array([3, 43]), 80).any()


def test_fakes_do_not_depend_on_the_batch_and_draw_labels_of_the_data(dataset):
    fakes = linear(labels=dataset.labels, c_dim=3)
    (whole,) = fakes.batches([np.arange(12)])
    parts = torch.cat(list(fakes.batches([np.arange(5), np.arange(5, 12)])))
    assert torch.equal(whole, parts)
    c = fakes.conditions(np.arange(300))
    np.testing.assert_allclose(c.mean(0), np.asarray(dataset.labels).mean(0), atol=0.1)
    assert torch.equal(linear(c_dim=3, class_idx=2).conditions(np.arange(4)), torch.eye(3)[[2] * 4])
    (other,) = linear(labels=dataset.labels, c_dim=3, seed=1).batches([np.arange(12)])
    assert not torch.equal(other, whole)


def test_images_that_are_not_finite_are_told(dataset):
    for name in ("swd", "consistency", "msssim"):
        with pytest.raises(UserError, match="images that are not finite numbers"):
            choose(f"{name}16")[0](context(linear(shift=math.nan), dataset))


def test_readers_end_with_an_interrupted_measurement(tmp_path):
    """Of PNGs, which worker processes decode."""
    rng = np.random.default_rng(0)
    write_dataset(tmp_path / "x", rng.integers(0, 256, (40, 3, 16, 16), dtype=np.uint8))
    convert(tmp_path / "x", tmp_path / "y", to="folder")
    steps = context(Reals(open_dataset(tmp_path / "y")), batch=2).features.stream
    with pytest.raises(KeyboardInterrupt):
        for _ in steps(Reals(open_dataset(tmp_path / "y")), 40, lambda x, i: None, "x"):
            raise KeyboardInterrupt
    deadline = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def test_images_of_one_class(dataset):
    part = OfClass(dataset, 1)
    assert len(part) == 13 and (np.asarray(part.labels)[:, 1] == 1).all()
    np.testing.assert_array_equal(part[4][0], dataset[13][0])
    assert part.fingerprint() != dataset.fingerprint()
    with pytest.raises(UserError, match="--class 3: expected 0 to 2"):
        OfClass(dataset, 3)


def test_a_set_is_at_no_distance_from_itself(dataset):
    ctx = context(Reals(dataset), dataset, batch=16)
    assert abs(choose("fid40_full")[0](ctx).values["fid"]) < 1e-6 * 2048
    ctx = context(Reals(dataset), dataset, batch=16, loaded=few())
    assert abs(choose("fid40_full")[0](ctx).values["fid"]) < 1e-6
    assert choose("swd40")[0](ctx).values["swd"] == 0


def test_bias_is_an_estimate_from_twice_as_many_images_as_features_on(dataset):
    for n, expected in ((23, "a lower bound"), (24, "estimated")):  # 12 features
        ctx = context(linear(), dataset, loaded=few())
        assert choose(f"fid{n}")[0](ctx).facts["bias_is"] == expected


def test_sets_that_are_too_small_are_told(dataset, tmp_path):
    rng = np.random.default_rng(0)
    one = open_dataset(write_dataset(tmp_path / "x", rng.integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)))
    for name, fakes, reals in (
        ("fid", Reals(one), dataset), ("fid", linear(), one), ("kid", linear(), one), ("swd", Reals(one), dataset),
    ):  # fmt: skip
        with pytest.raises(UserError, match="x: 1 images, expected at least 2"):
            choose(f"{name}30")[0](context(fakes, reals, loaded=few()))
    with pytest.raises(UserError, match="kid: 3 fakes and 3 reals, expected at least 4 of both"):
        choose("kid3")[0](context(linear(), dataset, loaded=few()))
    with pytest.raises(UserError, match="9 images, expected at least one for each of its 10 parts"):
        choose("is9")[0](context(linear(), loaded=few()))


def test_batch_size_changes_nothing(dataset):
    fakes = linear()
    found = [choose("fid24")[0](context(fakes, dataset, batch=b, loaded=few())).values["fid"] for b in (5, 24)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert len({choose("swd24")[0](context(fakes, dataset, batch=b)).values["swd"] for b in (5, 24)}) == 1


def test_reals_are_cached_by_all_that_they_depend_on(dataset, tmp_path, monkeypatch):
    fakes = linear()
    first = choose("fid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few()))
    (file,) = tmp_path.iterdir()
    seen = []
    original = Reals.batches
    monkeypatch.setattr(Reals, "batches", lambda self, groups: seen.append(1) or original(self, groups))
    assert choose("fid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few())) == first and not seen
    choose("fid25")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few()))
    choose("fid24")[0](context(fakes, dataset, cache_dir=tmp_path, mirror=True, loaded=few()))
    choose("fid24")[0](context(fakes, OfClass(dataset, 0), cache_dir=tmp_path, loaded=few()))
    assert len(seen) == 3 and len(list(tmp_path.iterdir())) == 3  # a class is not kept
    choose("kid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few()))
    assert (
        choose("kid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few())).values["kid"] and len(seen) == 4
    )
    (table,) = tmp_path.glob("*.npy")
    table.write_bytes(table.read_bytes()[:-1])
    choose("kid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few()))
    assert len(seen) == 5
    seen.clear()
    file.write_bytes(file.read_bytes()[:100])  # damaged: computed again
    assert choose("fid24")[0](context(fakes, dataset, cache_dir=tmp_path, loaded=few())) == first and len(seen) == 1


def test_the_cache_forgets_what_was_not_used_for_longest(dataset, tmp_path, monkeypatch):
    (tmp_path / "mine.npz").write_bytes(b"x" * 10**6)
    names = []
    for n in (21, 22, 23):
        choose(f"fid{n}")[0](context(linear(), dataset, cache_dir=tmp_path, loaded=few()))
        names += [f for f in tmp_path.iterdir() if f not in names]
        for k, f in enumerate(names):
            os.utime(f, (k, k))
    size = names[-1].stat().st_size
    monkeypatch.setattr("metrics.features.CACHE_BYTES", 3 * size)
    choose("fid21")[0](context(linear(), dataset, cache_dir=tmp_path, loaded=few()))  # used again
    choose("fid24")[0](context(linear(), dataset, cache_dir=tmp_path, loaded=few()))
    left = set(tmp_path.iterdir())
    assert len(left) == 4 and names[0] in left and names[1] in left and names[2] not in left, "mine, 21, 23, 24"


def test_metrics_of_one_detector_share_what_it_saw(dataset, monkeypatch):
    metrics = choose("fid24,kid20,is24,fid10_full,swd16")
    apart = {c.name: c(context(linear(), dataset, loaded=few())).values for c in metrics}
    seen = []
    original = Fakes.batches
    monkeypatch.setattr(Fakes, "batches", lambda self, groups: seen.append(1) or original(self, groups))
    ctx = context(linear(), dataset, loaded=few(), shared=several(metrics))
    together = {c.name: c(ctx).values for c in metrics}
    assert len(seen) == 2 and several(metrics) == {"inception": 24}  # SWD looks by itself
    for name, values in apart.items():
        assert together[name] == pytest.approx(values, rel=1e-5), name


@pytest.mark.parametrize("name", ["fid", "kid", "is", "swd"])
def test_memory_does_not_grow_with_the_number_of_images(name, dataset, tmp_path):
    """Peak of what numpy holds; tables lie in files, which are not counted."""
    peaks = []
    for n in (200, 1600):
        ctx = context(linear(), dataset, loaded=few(), cache_dir=tmp_path)
        tracemalloc.start()
        choose(f"{name}{n}")[0](ctx)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1000 * (1600 - 200), peaks


@pytest.mark.parametrize("form", ["TFRecords", "folder", "zip"])
def test_fingerprints_change_with_an_image_or_a_label(form, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8), np.eye(2)[[0, 1, 0, 1, 0, 1]]
    changed, relabelled = images.copy(), labels.copy()
    changed[3, 0, 0, 0] ^= 1
    relabelled[2] = [0, 1]
    found = []
    for k, (x, c) in enumerate([(images, labels), (images, labels), (changed, labels), (images, relabelled)]):
        path = write_dataset(tmp_path / str(k) / "x", x, c)
        if form != "TFRecords":
            path = tmp_path / str(k) / ("y.zip" if form == "zip" else "y")
            convert(tmp_path / str(k) / "x", path, to=form)
        found.append(open_dataset(path).fingerprint())
    assert len(set(found)) == (3 if form != "folder" else 4)  # a folder's has times
    assert form == "folder" or found[0] == found[1]


# names


def test_names():
    for text, n in (("fid50k", 50000), ("fid5k", 5000), ("fid200", 200), ("fid50k_full", 50000), ("pr50k3", 50000),
                    ("ppl_wend", 100000), ("ppl2_wend", 50000), ("swd", 8000), ("ppl_zfull2k", 2000), ("kid100", 100),
                    ("fd_dinov2", 50000), ("fd_dinov2_5k", 5000), ("stability", 36)):  # fmt: skip
        (found,) = choose(text)
        assert (found.name, found.n) == (text, n)
    assert [c.name for c in choose("swd, fid5k,swd8k,fid5000,fid_5k")] == ["swd", "fid5k"]
    assert [c.name for c in choose("fd_dinov2_5000,swd500")] == ["fd_dinov2_5k", "swd500"]
    assert len({m.name for m in METRICS}) == len(METRICS)
    for text in ("fid", "fidk", "nope", "fid1", "pr500", "fid99999999k"):
        with pytest.raises(UserError):
            choose(text)


RANKS = """
    import sys, numpy as np, torch
    from pathlib import Path
    from dnnlib import distributed
    from dnnlib.launch import launch
    from metrics.context import Context
    from metrics.detectors.detector import DetectorOptions
    from metrics.path_length import path_length
    from metrics.catalog import choose
    from metrics.samples import Fakes
    from pretrained import load_network
    from tests.metrics.test_metrics import Few
    from training.data.dataset import open_dataset

    def work(argument):
        torch.set_num_threads(1)
        distributed.init(torch.device("cpu"))
        dataset, G = open_dataset(Path(sys.argv[2])), load_network(sys.argv[3]).generator()
        fakes = Fakes(G, torch.device("cpu"), labels=dataset.labels)
        options = DetectorOptions(random_detectors=True)
        loaded = {"inception": Few(), "vgg16": Few()}
        ctx = Context(fakes, dataset, torch.device("cpu"), options, batch=4, mirror=True, loaded=loaded)
        before = fakes.of(load_network(sys.argv[4]).generator())
        names = "fid10,fid10_full,kid10,is10,pr1k3,swd26,msssim16,ppl2_wend10,stability5,consistency11"
        for chosen in choose(names):
            n = min(chosen.n, 20)
            values = chosen.metric.compute(ctx, *[before] * chosen.metric.needs_previous, n=n).values
            if distributed.is_main():
                print(chosen.name, *[repr(float(v)) for v in values.values()], flush=True)
        z = path_length(ctx, 6, "z", "full", crop=False)
        if distributed.is_main():
            print("zfull", repr(z.values["ppl"]))
        distributed.shutdown()

    if __name__ == "__main__":
        sys.exit(launch(work, None, int(sys.argv[1])))
"""


def test_one_two_and_three_processes_agree(dataset, tmp_path):
    networks = []
    for name in ("network", "before"):
        G = build_generator(GeneratorConfig(fmap_base=64, fmap_max=16), dataset.spec)
        networks.append(tmp_path / f"{name}.safetensors")
        save_snapshot(networks[-1], {"G_ema": G}, dataset.spec, 0)
    (tmp_path / "ranks.py").write_text(textwrap.dedent(RANKS))
    found = []
    for n in (1, 2, 3):
        command = [sys.executable, tmp_path / "ranks.py", n, dataset.path, *networks]
        env = {**ENV, "PYTHONPATH": str(ROOT)}
        out = subprocess.run([*map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
        assert out.returncode == 0, out.stderr
        found.append({line.split()[0]: [float(v) for v in line.split()[1:]] for line in out.stdout.splitlines()})
    assert len(found[0]) == 11
    for name, values in found[0].items():
        for other in found[1:]:
            assert other[name] == pytest.approx(values, rel=1e-9, abs=1e-12), name


def test_bias_of_repeated_reals_is_that_of_the_images():
    """Fifty images shown four times tell as little as fifty images."""
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(50, 10)), rng.normal(size=(4000, 10))
    repeated, once = Moments(10), Moments(10)
    for _ in range(4):
        repeated.add(few, np.arange(50) >= 25)
    once.add(few, np.arange(50) >= 25)
    other = moments(many)
    a, b = (frechet(m.total(), other.total()) for m in (repeated, once))
    assert bias(repeated, other, a) == pytest.approx(bias(once, other, b), rel=0.2) and bias(once, other, b) > 0.3 * b


def test_odd_numbers_of_images_make_whole_pairs(tmp_path):
    rng = np.random.default_rng(0)
    data = open_dataset(write_dataset(tmp_path / "x", rng.integers(0, 256, (7, 3, 16, 16), dtype=np.uint8)))
    ctx = context(Reals(data), batch=4)
    found = choose("msssim")[0](ctx)
    assert 0 <= found.values["msssim"] <= 1 and found.facts["num_fakes"] == 6


def test_seeds_may_be_large():
    assert polynomial_mmd(features(20, 5), features(20, 5, 1), 3, 10, 2**40)[0] is not None
