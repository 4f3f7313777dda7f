"""Repositories for the Hugging Face Hub: what is in them, uploads and downloads."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from dnnlib.errors import UserError
from generation.networks import NetworkOptions
from generation.sampling import Sampler, SamplingOptions
from pretrained import load_network
from sharing.export import command
from sharing.export import hub as hub_module
from sharing.export.hub import describe, write_repository
from tests.golden_data import GOLDEN
from tests.hub_server import serve_hub
from tests.hub_users import run_as
from tests.pretrained.snapshot_fixtures import networks, snapshot  # noqa: F401 - fixtures
from tests.sharing.report.written_runs import write_metric, write_run

TF = GOLDEN / "c2_network-final.pkl"
PROGAN = GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth"


@pytest.fixture
def hub():
    with serve_hub() as served:
        yield served


def export(hub, home, *args, **more):
    return run_as(hub, home, sys.executable, "export.py", *args, **more)


def repository(folder, place, licence=None, all_networks=False):
    folder.mkdir()
    write_repository(describe(load_network(place), Path(place), licence), folder, "me/faces", all_networks)
    return ModelCard.load(folder / "README.md")


def test_the_card_tells_what_a_reader_asks(snapshot, tmp_path):  # noqa: F811
    run_dir = write_run(tmp_path / "run", data="/home/me/secret/blobs", result_dir="/home/me")
    network = snapshot.rename(run_dir / snapshot.name)
    write_metric(run_dir, "swd", {12: 3.5}, num_fakes=8192)
    write_metric(run_dir, "fid50k", {11: 30.0, 12: 20.5})
    card = repository(tmp_path / "repo", network, "cc-by-4.0")

    # What the Hub reads.
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "msg-gan")
    assert card.data.pipeline_tag == "unconditional-image-generation"
    scores = {result.metric_type: (result.metric_value, result.dataset_name) for result in card.data.eval_results}
    assert scores == {"swd": (3.5, "blobs"), "fid50k": (20.5, "blobs")}

    # What people read.
    assert "16x16 pixels, 3 channels, 3 classes" in card.text and "12.345 kimg" in card.text
    assert "| `swd` | 3.5 | 8,192 generated images |" in card.text
    assert "(samples.png)" in card.text and "hf://me/faces" in card.text and "`cc-by-4.0`" in card.text

    # Nothing says where files lie on this machine.
    assert json.loads((tmp_path / "repo" / "config.json").read_text())["batch"] == 8
    for path in (tmp_path / "repo").iterdir():
        assert b"/home/me" not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes()

    # The sheet is that of the seeds.
    sampler = Sampler(SamplingOptions(network=str(network)))
    with Image.open(tmp_path / "repo" / "samples.png") as im:
        assert im.size == (8 * 16, 4 * 16)
        first = np.asarray(im).transpose(2, 0, 1)[:, :16, 16:32]
    assert (first == next(sampler.draw([sampler.latent(1)])).images[-1]).all()


def test_scores_that_are_not_there_are_not_claimed(snapshot, tmp_path):  # noqa: F811
    card = repository(tmp_path / "repo", snapshot)
    assert not card.data.eval_results and "## Scores" not in card.text
    assert card.data.license is None and "The licence of these weights has not been stated." in card.text
    parts = load_network(tmp_path / "repo" / "network.safetensors").parts
    assert set(parts) == {"G_ema"}
    repository(tmp_path / "whole", snapshot, all_networks=True)
    assert set(load_network(tmp_path / "whole" / "network.safetensors").parts) == {"G", "D", "G_ema"}


def test_the_card_counts_the_samples_of_large_networks(snapshot, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(hub_module, "MOST_PIXELS", 2 * 16)
    card = repository(tmp_path / "repo", snapshot)
    assert card.text.count("Samples of seeds 0 to 7, none selected") == 2
    with Image.open(tmp_path / "repo" / "samples.png") as im:
        assert im.size == (2 * 16, 4 * 16)


def test_an_interrupted_folder_does_not_appear(snapshot, tmp_path, monkeypatch):  # noqa: F811
    def interrupted(image, suffix):
        raise KeyboardInterrupt

    monkeypatch.setattr(hub_module, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.hub("me/faces", network=NetworkOptions(network=str(snapshot)), output=tmp_path / "new" / "repo")
    assert not list((tmp_path / "new").iterdir())


def test_networks_of_the_originals_keep_their_licence(tmp_path):
    assert repository(tmp_path / "tf", TF).data.license == "cc-by-nc-4.0"
    assert repository(tmp_path / "progan", PROGAN, "mit").data.license == "mit"

    # Also after they were converted.
    again = tmp_path / "tf" / "network.safetensors"
    assert repository(tmp_path / "again", again).data.license == "cc-by-nc-4.0"
    with pytest.raises(
        UserError, match=r"--licence mit: this network was made with .*, whose licence is cc-by-nc-4\.0"
    ):
        describe(load_network(again), again, "mit")


def test_push_open_and_pull(hub, tmp_path):
    out = export(hub, tmp_path, "hub", "me/faces", "--network", TF, "--message", "First", "--private")
    assert out.returncode == 0 and out.stdout.strip() == f"{hub.url}/me/faces", out.stderr
    repo = hub.repos["me/faces"]
    assert repo.private and repo.messages[-1] == "First"
    assert set(repo.commits[-1]) == {"README.md", "config.json", "network.safetensors", "samples.png"}

    # Every command opens it.
    picture = tmp_path / "a.png"
    args = ["images", "--network", "hf://me/faces", "--seeds", 4, "--output", picture]
    out = run_as(hub, tmp_path, sys.executable, "generate.py", *args)
    assert out.returncode == 0, out.stderr
    sampler = Sampler(SamplingOptions(network=str(TF)))
    with Image.open(picture) as im:
        assert (np.asarray(im).transpose(2, 0, 1) == next(sampler.draw([sampler.latent(4)])).images[-1]).all()

    # Another push is another revision; pull gives any of them.
    export(hub, tmp_path, "hub", "me/faces", "--network", PROGAN, "--message", "Second")
    assert len(repo.commits) == 3

    # What is public already does not become private, and is not uploaded as if it did.
    repo.private = False
    out = export(hub, tmp_path, "hub", "me/faces", "--private")
    assert out.returncode == 2 and "--private: the repository exists and is public" in out.stderr
    assert len(repo.commits) == 3
    old = f"me/faces@{repo.sha_of(1)}"
    for name, folder, content in (("me/faces", "new", repo.commits[2]), (old, "old", repo.commits[1])):
        out = export(hub, tmp_path, "pull", name, "--output", tmp_path / folder)
        assert out.returncode == 0, out.stderr
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} == content
    out = export(hub, tmp_path, "pull", "me/faces", "--output", tmp_path / "new")
    assert out.returncode == 2 and "exists already" in out.stderr


def test_nothing_is_uploaded_with_output(hub, tmp_path):
    out = export(hub, tmp_path, "hub", "me/faces", "--output", tmp_path / "repo", token="")
    assert out.returncode == 0 and "not uploaded" in out.stdout and not hub.repos
    assert {path.name for path in (tmp_path / "repo").iterdir()} == {
        *("README.md", "config.json", "network.safetensors", "samples.png"),
    }


@pytest.mark.parametrize(
    ("args", "more", "message"),
    [
        (["hub", "me/faces"], {"token": ""}, "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        (["hub", "you/faces"], {}, "the Hub refused, HTTP status 403"),
        (["hub", "me/faces"], {"token": "hf_wrong"}, "the Hub refused, HTTP status 401"),
        (["hub", "me/faces@v1"], {}, "me/faces@v1: expected a repository such as user/name"),
        (["hub", "faces"], {}, "hf://faces: expected hf://user/repo"),
        (["pull", "me/none", "--output", "none"], {}, "no such repository"),
        (["pull", "me/none", "--output", "none"], {"HF_HUB_OFFLINE": "1"}, "the Hub cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_one_line(hub, tmp_path, args, more, message):
    args = [tmp_path / arg if arg == "none" else arg for arg in args]
    out = export(hub, tmp_path, *args, **more)
    assert out.returncode == 2 and not out.stdout
    assert message in out.stderr.splitlines()[-1] and "Traceback" not in out.stderr
    assert not hub.repos and not list(tmp_path.glob("*none*"))
