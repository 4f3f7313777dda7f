"""The store of features: what is cached, shared and held in memory."""

import os
import tracemalloc

import pytest

from metrics.catalog import choose, several
from metrics.samples import Fakes, Reals, members_of
from tests.metrics.helpers import context, few, linear


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
    choose("fid24")[0](context(fakes, dataset, members=members_of(dataset, 0), cache_dir=tmp_path, loaded=few()))
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
    monkeypatch.setattr("metrics.cache.LIMIT", 3 * size)
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
