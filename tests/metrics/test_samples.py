"""Reals and fakes by index."""

import math
import multiprocessing
import time

import numpy as np
import pytest
import torch

from dataprep.build import Output
from dataprep.convert import convert
from dnnlib.errors import UserError
from metrics.catalog import choose
from metrics.features import Drawn
from metrics.samples import Reals, members_of
from tests.datasets import write_dataset
from tests.metrics.helpers import context, linear
from training.data.dataset import open_dataset


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
    both = Reals(dataset, both=True)
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


def test_images_that_are_not_finite_are_reported(dataset):
    for name in ("swd", "consistency", "msssim"):
        with pytest.raises(UserError, match="images that are not finite numbers"):
            choose(f"{name}16")[0](context(linear(shift=math.nan), dataset))


def test_readers_end_with_an_interrupted_measurement(tmp_path):
    """Images of PNGs, which worker processes decode."""
    rng = np.random.default_rng(0)
    write_dataset(tmp_path / "x", rng.integers(0, 256, (40, 3, 16, 16), dtype=np.uint8))
    convert(tmp_path / "x", tmp_path / "y", output=Output(to="folder"))
    reals = Reals(open_dataset(tmp_path / "y"))
    drawn = Drawn("reals", reals, 40, 40, {})
    with pytest.raises(KeyboardInterrupt):
        for _ in context(reals, batch=2).features.stream_images(drawn, lambda x, i: None, "x"):
            raise KeyboardInterrupt
    deadline = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def test_images_of_one_class(dataset):
    members = members_of(dataset, 1)
    part = Reals(dataset, members=members)
    assert len(part) == 13 and (np.asarray(dataset.labels)[members.indices, 1] == 1).all()
    (images,) = part.batches([np.arange(13)])
    np.testing.assert_array_equal(images[list(part.order).index(members.indices[4])], dataset[13][0])
    assert part.facts["fingerprint"] != dataset.fingerprint() and part.facts["dataset_images"] == 13
    with pytest.raises(UserError, match="--class 3: expected 0 to 2"):
        members_of(dataset, 3)


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
            convert(tmp_path / str(k) / "x", path, output=Output(to=form))
        found.append(open_dataset(path).fingerprint())
    assert len(set(found)) == (3 if form != "folder" else 4)  # a folder's has times
    assert form == "folder" or found[0] == found[1]
