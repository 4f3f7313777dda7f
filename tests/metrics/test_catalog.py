"""Names of metrics."""

import pytest

from dnnlib.errors import UserError
from metrics.catalog import METRICS, choose


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
