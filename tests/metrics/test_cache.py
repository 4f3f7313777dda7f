"""What the cache keeps, and that it never fails."""

import numpy as np
import pytest

from metrics import cache

NAME = "inception-" + "0" * 32 + ".npy"


def test_what_is_kept_is_loaded_again(tmp_path):
    path = tmp_path / "new" / NAME
    assert cache.load(path, np.load) is None and cache.load(None, np.load) is None
    cache.keep(path, lambda file: np.save(file, np.arange(5)))
    cache.keep(None, lambda file: np.save(file, np.arange(5)))
    np.testing.assert_array_equal(cache.load(path, np.load), np.arange(5))
    path.write_bytes(path.read_bytes()[:-3])
    assert cache.load(path, np.load) is None


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="statistics of the reals are not kept"):
        cache.keep(tmp_path / "file" / NAME, lambda file: np.save(file, np.arange(5)))


def test_the_newest_file_stays_however_large_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 10)
    for digit in "01":
        cache.keep(tmp_path / NAME.replace("0" * 32, digit * 32), lambda file: np.save(file, np.arange(5)))
    assert [path.name for path in tmp_path.iterdir()] == [NAME.replace("0" * 32, "1" * 32)]


def test_the_folder_is_that_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_folder() == tmp_path / "msg-gan" / "metrics"
