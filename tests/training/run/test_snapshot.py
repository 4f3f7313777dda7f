"""Network snapshots: what is in the file."""

import json
from dataclasses import replace

import torch
from safetensors import safe_open

from config import tiny
from training.config import as_dict, from_dict
from training.networks.architectures import build_generator
from training.networks.config import GeneratorConfig
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec
from training.state import TrainState

SPEC = ImageSpec(resolution=8, c_dim=2)


def make_state():
    return TrainState(replace(tiny(), resolution=8), SPEC, torch.device("cpu"))


def test_round_trip(tmp_path):
    """The file alone is enough to build the network again."""
    state, path = make_state(), tmp_path / "s.safetensors"
    save_snapshot(path, {"D": state.D, "G_ema": state.G_ema}, SPEC, 5000, "old.pkl")
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["msg-gan"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert (facts["version"], facts["cur_nimg"], facts["origin"]) == (1, 5000, "old.pkl")
    assert facts["D"] == as_dict(state.D.cfg) and facts["images"] == as_dict(SPEC)

    G = build_generator(from_dict(GeneratorConfig, facts["G"], "G"), ImageSpec(**facts["images"]))
    G.load_state_dict({key.removeprefix("G_ema."): t for key, t in tensors.items() if key.startswith("G_ema.")})
    assert all(torch.equal(t, state.G_ema.state_dict()[key]) for key, t in G.state_dict().items())
    assert {key.split(".")[0] for key in tensors} == {"D", "G_ema"}


def test_same_networks_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_snapshot(tmp_path / name, {"G": make_state().G}, SPEC, None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as file:
        facts = json.loads(file.metadata()["msg-gan"])
    assert facts["D"] is None and facts["cur_nimg"] is None
