"""FID of sets and of small sets."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics.catalog import choose
from metrics.samples import Reals
from tests.datasets import write_dataset
from tests.metrics.helpers import context, few, linear
from training.data.dataset import open_dataset


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


def test_sets_that_are_too_small_are_reported(dataset, tmp_path):
    rng = np.random.default_rng(0)
    one = open_dataset(write_dataset(tmp_path / "x", rng.integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)))
    for name, fakes, reals in (
        ("fid", lambda: Reals(one), dataset), ("fid", linear, one), ("kid", linear, one),
        ("swd", lambda: Reals(one), dataset),
    ):  # fmt: skip
        with pytest.raises(UserError, match="x: 1 images, expected at least 2"):
            choose(f"{name}30")[0](context(fakes(), reals, loaded=few()))
    with pytest.raises(UserError, match="kid: 3 fakes and 3 reals, expected at least 4 of both"):
        choose("kid3")[0](context(linear(), dataset, loaded=few()))
    with pytest.raises(UserError, match="9 images, expected at least one for each of its 10 parts"):
        choose("is9")[0](context(linear(), loaded=few()))


def test_batch_size_changes_nothing(dataset):
    fakes = linear()
    found = [choose("fid24")[0](context(fakes, dataset, batch=b, loaded=few())).values["fid"] for b in (5, 24)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert len({choose("swd24")[0](context(fakes, dataset, batch=b)).values["swd"] for b in (5, 24)}) == 1
