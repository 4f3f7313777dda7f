"""Checkpoint files: what they hold, which are kept, older versions."""

from dataclasses import replace

import pytest
import torch

from config import tiny
from dnnlib.errors import UserError
from tests.runs import tensors
from training.run.checkpoint import (
    VERSION_2_STATS,
    checkpoints,
    kimg_tag,
    load_checkpoint,
    newest_whole,
    restore,
    save_checkpoint,
)
from training.spec import ImageSpec
from training.state import TrainState

CPU = torch.device("cpu")
SPEC = ImageSpec(resolution=8)


def make_state(**options):
    state = TrainState(replace(tiny(), resolution=8, **options), SPEC, CPU)
    state.averages.add({"Loss/D": torch.tensor([1.0, 3.0])})
    state.cur_nimg, state.tick = 1000, 1
    return state


def test_round_trip(tmp_path):
    state = make_state()
    save_checkpoint(tmp_path, state)
    other = make_state(seed=5)
    restore(other, tmp_path / "checkpoint-000001.pt")
    ours, theirs = tensors(state.state_dict()), tensors(other.state_dict())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(t, theirs[name]) for name, t in ours.items())
    assert (other.cur_nimg, other.tick) == (1000, 1)


def test_version_2_is_read(tmp_path):
    """Its averages were one tensor [processes,names,2] with a fixed list of names."""
    save_checkpoint(tmp_path, make_state())
    path = tmp_path / "checkpoint-000001.pt"
    content = torch.load(path, weights_only=True)
    sums = torch.zeros(1, len(VERSION_2_STATS), 2, dtype=torch.float64)
    sums[0, 0] = torch.tensor([4.0, 2.0])
    torch.save({**content, "version": 2, "averages": sums}, path)

    state = make_state()
    restore(state, path)
    assert state.end_tick().averages == {"Loss/D": 2.0}


def test_options_of_d_are_found_under_their_former_names(tmp_path):
    D = replace(tiny().D, resolutions=(4,))
    save_checkpoint(tmp_path, make_state(D=D))
    path = tmp_path / "checkpoint-000001.pt"
    content = torch.load(path, weights_only=True)
    content["architecture"]["D.levels"] = content["architecture"].pop("D.resolutions")
    torch.save(content, path)
    restore(make_state(D=D), path)


def test_checkpoints_from_before_other_shapes_and_fp16_are_read(tmp_path):
    save_checkpoint(tmp_path, make_state())
    path = tmp_path / "checkpoint-000001.pt"
    content = torch.load(path, weights_only=True)
    del content["architecture"]["images.width"]
    for name in ("G_opt", "D_opt"):
        del content[name]["log2_scale"]
    torch.save(content, path)
    restore(make_state(), path)


def test_version_1_and_foreign_files_are_refused(tmp_path):
    for content in ({"version": 1}, {"x": torch.zeros(1)}, [1]):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(UserError, match="not a checkpoint of this program"):
            load_checkpoint(tmp_path / "c.pt")


def test_another_architecture_is_named(tmp_path):
    save_checkpoint(tmp_path, make_state())
    other = tiny()
    state = TrainState(replace(other, resolution=8, G=replace(other.G, mapping_layers=3)), SPEC, CPU)
    with pytest.raises(UserError, match=r"G\.mapping_layers is 2, expected 3"):
        restore(state, tmp_path / "checkpoint-000001.pt")


def test_damaged_files_are_put_aside(tmp_path):
    save_checkpoint(tmp_path, make_state())
    (tmp_path / "checkpoint-000002.pt").write_bytes(b"PK\3\4 half")
    (tmp_path / "checkpoint-copy.pt").write_bytes(b"mine")
    path, cur_nimg, problems = newest_whole(tmp_path)
    assert path == tmp_path / "checkpoint-000001.pt" and cur_nimg == 1000 and len(problems) == 1
    assert (tmp_path / "checkpoint-000002.pt.damaged").exists()
    assert checkpoints(tmp_path) == [path]


@pytest.mark.parametrize(
    ("tick_kimg", "off_tick", "tag"), [(1.0, False, "000001"), (0.5, False, "000001.000"), (1.0, True, "000001.000")]
)
def test_progress_in_file_names(tick_kimg, off_tick, tag):
    assert kimg_tag(replace(tiny(), tick_kimg=tick_kimg), 1000, off_tick) == tag
