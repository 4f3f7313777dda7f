"""What is measured of a generator, what is left out, and what is printed."""

import re
from types import SimpleNamespace

import pytest

from dnnlib.errors import UserError
from metrics.blocks import Stopped
from metrics.networks import Snapshot
from metrics.session import Session
from metrics.settings import Settings
from tests.metrics.helpers import CPU, Few, Linear, rows, write_dataset_of
from tests.runs import make_dataset
from training.data.dataset import open_dataset

SNAPSHOT = Snapshot("network-snapshot-000002.safetensors")


class Network(Linear):
    def to(self, device):
        return self


def load(network):
    """In the place of pretrained.load_network: a generator whose images are brighter by 0.5."""
    return SimpleNamespace(generator=lambda: Network(shift=0.5))


class Said(list):
    """Lines that a session printed."""

    def having(self, text):
        return [line for line in self if text in line]


def session(dataset=None, run_dir=None, stop=None, **settings):
    said = Said()
    return Session(load, Settings(batch=8, **settings), CPU, dataset, run_dir, said.append, stop), said


def test_each_metric_is_printed_and_kept_with_what_it_depends_on(dataset, tmp_path):
    measuring, said = session(dataset, tmp_path, metrics="swd16,consistency8", seed=3)
    measuring.score_generator(Linear(), SNAPSHOT)
    assert len(said) == 2 and said[0].startswith("network-snapshot-000002.safetensors  swd16: swd ")
    (row,) = rows(tmp_path, "swd16")
    assert (row["kimg"], row["seed"], row["num_reals"], row["version"]) == (2, 3, 16, 2)
    assert row["value"] == row["results"]["swd"]


def test_results_that_are_kept_nowhere_are_printed_with_their_conditions(dataset):
    measuring, said = session(dataset, metrics="swd16")
    measuring.score_images(dataset)
    assert said[0].startswith("swd16: swd ") and "version 2, seed 0, dataset " in said[1]


def test_metrics_of_two_snapshots_need_the_earlier_one(tmp_path):
    measuring, said = session(run_dir=tmp_path, metrics="stability4")
    measuring.score_generator(Linear(), SNAPSHOT)
    assert said == [f"{SNAPSHOT.network}: stability4: left out, there is no earlier snapshot to compare with"]
    measuring.score_generator(Linear(), Snapshot(SNAPSHOT.network, "network-snapshot-000001.safetensors"))
    (row,) = rows(tmp_path, "stability4")
    assert row["previous"] == "network-snapshot-000001.safetensors" and row["value"] == pytest.approx(0.25, rel=1e-5)


def test_repeats_use_the_next_seeds_and_print_their_spread(tmp_path):
    measuring, said = session(run_dir=tmp_path, metrics="msssim8", seed=5, repeats=3)
    measuring.score_generator(Linear(), SNAPSHOT)
    assert [row["seed"] for row in rows(tmp_path, "msssim8")] == [5, 6, 7]
    assert re.fullmatch(r"msssim8: \S+ ± \S+ over 3 seeds", said[-1])


def test_classes_are_scored_by_themselves_and_small_ones_left_out(tmp_path):
    dataset = write_dataset_of(tmp_path / "set", [0, 0, 0, 1, 2, 2])
    measuring, said = session(dataset, tmp_path, metrics="swd4", per_class=True)
    measuring.score_generator(Linear(c_dim=3), SNAPSHOT)
    assert said.having("warning: network-snapshot-000002.safetensors: class 1 is left out: set: 1 images of class 1")
    names = {path.name for path in tmp_path.glob("metric-*")}
    assert names == {"metric-swd4.jsonl", "metric-swd4-class0.jsonl", "metric-swd4-class2.jsonl"}
    (row,) = rows(tmp_path, "swd4-class2")
    assert row["class"] == 2 and row["dataset_images"] == 2
    assert not measuring.failures, "small classes are left out as a matter of course"


def test_a_network_that_does_not_fit_is_an_error(dataset, tmp_path):
    measuring, _ = session(dataset, class_idx=3)
    with pytest.raises(UserError, match=r"--class 3: network-snapshot-000002\.safetensors has 3 classes"):
        measuring.score_generator(Linear(c_dim=3), SNAPSHOT)
    with pytest.raises(UserError, match="has 4 classes, expected 3 as in"):
        session(dataset)[0].score_generator(Linear(c_dim=4), SNAPSHOT)
    other = open_dataset(make_dataset(tmp_path / "other", resolution=32))
    with pytest.raises(UserError, match="makes images of 3x16x16, expected 3x32x32 as in other"):
        session(other)[0].score_generator(Linear(), SNAPSHOT)


def test_a_metric_that_fails_is_a_warning_only_where_asked():
    measuring, said = session(metrics="swd16,msssim8")
    with pytest.raises(UserError, match="expected --data DATASET"):
        measuring.score_generator(Linear(), SNAPSHOT)
    measuring.score_generator(Linear(), SNAPSHOT, keep_going=True)
    assert said.having("swd16 failed: this metric compares with real images") and said.having("msssim8: msssim ")
    [failure] = measuring.failures
    assert "swd16 failed" in failure


def test_a_measurement_can_be_stopped():
    with pytest.raises(Stopped):
        session(metrics="msssim8", stop=lambda: True)[0].score_generator(Linear(), SNAPSHOT)


def test_missing_weights_are_reported_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("MSG_GAN_DETECTORS", str(tmp_path))
    measuring, _ = session(metrics="msssim8,fid8")
    with pytest.raises(UserError, match="expected the weights of inception"):
        measuring.load_detectors()


def test_loaded_detectors_are_used(dataset, tmp_path):
    measuring, _ = session(dataset, tmp_path, metrics="fid8")
    measuring.detectors["inception"] = Few()
    measuring.load_detectors()
    measuring.score_generator(Linear(), SNAPSHOT)
    assert rows(tmp_path, "fid8")[0]["detector"] == "few"
