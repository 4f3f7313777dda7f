"""What is checked before a run, and what each process sets up and tears down."""

import errno
import signal
from dataclasses import replace

import pytest
import torch

from config import tiny
from dnnlib.errors import UserError
from tests.runs import make_dataset
from training.run import entry
from training.warm_start import InitialWeights


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs", n=8, resolution=8)


@pytest.fixture
def cfg(data):
    return replace(tiny(), data=str(data), resolution=8, device="cpu")


def load_nothing(files):
    """Files that no network to train can start from."""
    return InitialWeights(" ".join(files), {"G": {"foreign.weight": (1,)}}, 0, None, lambda name: {})


def test_check(cfg):
    entry.check(cfg, load_nothing)
    with pytest.raises(UserError, match="no such file or folder"):
        entry.check(replace(cfg, data="nowhere"), load_nothing)
    with pytest.raises(UserError, match="w_dim: found 17"):
        entry.check(replace(cfg, G=replace(cfg.G, mapping_layers=0, w_dim=17)), load_nothing)


def test_a_run_that_is_continued_does_not_need_its_first_weights(cfg):
    with pytest.raises(UserError, match="only 0 of the"):
        entry.check(replace(cfg, init=("old.pkl",)), load_nothing)
    entry.check(replace(cfg, init=("old.pkl",), resume="auto"), load_nothing)


def test_wrong_number_of_processes(cfg):
    with pytest.raises(UserError, match="--gpus 2: started with 1 processes"):
        entry.train(replace(cfg, gpus=2), load_nothing)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "", "f.pt"), UserError("f.pt: cannot write: no space left on the device")),
        (OSError(errno.EROFS, "Read-only file system"), UserError("cannot write: read-only file system")),
        (OSError(errno.ENOENT, "no such file"), OSError("no such file")),
    ],
)
def test_disk_errors_are_the_users(cfg, monkeypatch, error, expected):
    """Whatever happens, the signals are those of before."""

    def fail(*args):
        assert signal.getsignal(signal.SIGTERM) != before
        raise error

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(entry, "training_loop", fail)
    threads = torch.get_num_threads()
    with pytest.raises(type(expected), match=str(expected)):
        entry.train(cfg, load_nothing)
    assert signal.getsignal(signal.SIGTERM) == before and torch.get_num_threads() == threads
