"""Arrays in temporary files."""

import errno
import tempfile

import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics import tables


def parts():
    for start in (0, 3, 6):
        x = np.arange(start, min(start + 3, 7))
        yield x.astype(np.float32), x[:, None, None] * np.ones((1, 2, 2), np.uint8)


def test_batches_become_arrays_that_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = tables.on_disk(parts(), 7)
    np.testing.assert_array_equal(first, np.arange(7))
    assert first.dtype == np.float32 and second.shape == (7, 2, 2) and (second[:, 1, 1] == np.arange(7)).all()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_before_anything_is_computed(monkeypatch):
    def full(file, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "_reserve", full)
    with pytest.raises(UserError, match=r"no room for 28 bytes .*set TMPDIR to another folder"):
        tables.on_disk(parts(), 7)
