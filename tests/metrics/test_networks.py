"""Which networks are scored, and which options come from the run that they belong to."""

import json
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from metrics.networks import find_target
from metrics.options import Options
from metrics.settings import Settings

KIMG = (64, 128, 1000)


def name(kimg):
    return f"network-snapshot-{kimg:06d}.safetensors"


@pytest.fixture
def run_dir(tmp_path):
    """A run dir with three snapshots that are empty files, and its dataset."""
    path = tmp_path / "results" / "00003-x"
    path.mkdir(parents=True)
    (tmp_path / "set").mkdir()
    config = {"data": str(tmp_path / "set"), "use_labels": False, "seed": 5, "mirror": True}
    (path / "config.json").write_text(json.dumps(config))
    for kimg in KIMG:
        (path / name(kimg)).touch()
    return path


def chosen(options):
    return [(Path(s.network).name, s.previous and Path(s.previous).name) for s in find_target(options).snapshots]


def test_snapshots_of_a_run_by_kimg_and_in_order(run_dir):
    network = str(run_dir)
    assert chosen(Options(network=network)) == [(name(1000), name(128))]
    assert chosen(Options(network=network, snapshot="128")) == [(name(128), name(64))]
    everything = [(name(64), None), (name(128), name(64)), (name(1000), name(128))]
    assert chosen(Options(network=network, snapshot="all")) == everything
    assert chosen(Options(run_id=3, result_dir=run_dir.parent, snapshot="all")) == everything


def test_a_file_of_a_run_belongs_to_it_also_by_a_link(run_dir, tmp_path):
    for path in (run_dir / name(128), run_dir / "best.safetensors"):
        if not path.exists():
            path.symlink_to(name(128))
        target = find_target(Options(network=str(path)))
        assert chosen(Options(network=str(path))) == [(name(128), name(64))] and target.run_dir == run_dir
    alone = tmp_path / "alone.safetensors"
    alone.touch()
    target = find_target(Options(network=str(alone)))
    assert chosen(Options(network=str(alone))) == [("alone.safetensors", None)] and target.run_dir is None
    assert target.settings.seed == 0 and target.data is None


def test_options_are_completed_from_the_run(run_dir, tmp_path):
    target = find_target(Options(network=str(run_dir), settings=Settings(metrics="fid5k")))
    assert (target.data, target.use_labels) == (tmp_path / "set", False)
    assert (target.settings.seed, target.settings.mirror, target.settings.metrics) == (5, True, "fid5k")
    other = find_target(Options(network=str(run_dir), data=tmp_path, settings=Settings(seed=0)))
    assert (other.data, other.use_labels, other.settings.seed) == (tmp_path, True, 0)


def test_images_belong_to_no_run(tmp_path):
    target = find_target(Options(images=tmp_path))
    assert target.snapshots == [] and target.run_dir is None and not target.settings.mirror


def test_what_is_not_there_is_an_error(run_dir, tmp_path):
    for options, message in (
        (Options(run_id=7, result_dir=run_dir.parent), r"--run-id 7: 0 run dirs 00007-\*"),
        (Options(network=str(run_dir), snapshot="5"), "--snapshot 5: not in .* one of 64, 128, 1000"),
        (Options(network=str(tmp_path)), r"no network-snapshot-\*\.safetensors in it"),
    ):
        with pytest.raises(UserError, match=message):
            find_target(options)
    (run_dir / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        find_target(Options(network=str(run_dir)))
