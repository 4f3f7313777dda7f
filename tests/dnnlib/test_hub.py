"""Addresses of the Hugging Face Hub, and downloads from a server that speaks its API."""

import sys

import pytest

from dnnlib.errors import UserError
from dnnlib.hub import HubAddress
from tests.hub_server import Repo, serve_hub
from tests.hub_users import run_as


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://me/faces", HubAddress("me/faces")),
        ("hf://me/faces@v1.0", HubAddress("me/faces", "v1.0")),
        ("hf://me/faces/a/b.pkl", HubAddress("me/faces", None, "a/b.pkl")),
        ("hf://me/faces@main/b.pkl", HubAddress("me/faces", "main", "b.pkl")),
    ],
)
def test_addresses(text, address):
    assert HubAddress.parse(text) == address and str(address) == text


@pytest.mark.parametrize("text", ["hf://", "hf://me", "hf://me/", "hf://me/a b", "hf://me/faces@", "https://me/faces"])
def test_what_is_no_address(text):
    with pytest.raises(UserError, match="expected hf://user/repo"):
        HubAddress.parse(text)


CODE = """
import sys
from dnnlib.errors import UserError
from dnnlib.hub import fetch_from_hub
try:
    print(fetch_from_hub(sys.argv[1], "network.safetensors", (".safetensors", ".pkl")).read_bytes().decode())
except UserError as e:
    print("error:", e)
"""


@pytest.fixture
def hub():
    with serve_hub() as served:
        yield served


def test_files_of_a_repository(hub, tmp_path):
    def fetch(address, **more):
        return run_as(hub, tmp_path, sys.executable, "-c", CODE, address, **more).stdout.strip()

    first = {"network.safetensors": b"one", "README.md": b"", "old.pkl": b"old"}
    hub.repos["me/faces"] = Repo(commits=[first, {**first, "network.safetensors": b"two"}])
    assert fetch("hf://me/faces") == "two"
    assert fetch("hf://me/faces/old.pkl") == "old"
    assert fetch(f"hf://me/faces@{Repo.sha_of(0)}") == "one"

    # Later, the copy of the cache is taken unless there is a newer one.
    before = len(hub.requests)
    assert fetch("hf://me/faces") == "two"
    assert not [line for line in hub.requests[before:] if line.startswith("GET /me/faces")]
    hub.repos["me/faces"].commits.append({"network.safetensors": b"three"})
    assert fetch("hf://me/faces") == "three"

    # Another name, if it is the only one.
    hub.repos["you/other"] = Repo(commits=[{"G.pkl": b"pickle", "README.md": b""}])
    assert fetch("hf://you/other") == "pickle"
    hub.repos["you/other"].commits.append({"a.pkl": b"", "b.pkl": b""})
    assert "found a.pkl, b.pkl, expected network.safetensors, or an address with /FILE" in fetch("hf://you/other")
    hub.repos["you/other"].commits.append({"README.md": b""})
    assert "found no network file" in fetch("hf://you/other")

    assert fetch("hf://me/faces/none.pkl") == "error: hf://me/faces/none.pkl: no such file"
    assert fetch("hf://me/faces@v9") == "error: hf://me/faces@v9: no such revision"
    assert "no such repository, or a private one" in fetch("hf://me/none")
    assert fetch("hf://me/faces/../../x").startswith("error: hf://me/faces/../../x: ")

    # Private repositories open with the token of their owner.
    hub.repos["me/secret"] = Repo(private=True, commits=[{"network.safetensors": b"mine"}])
    assert "private one that your token does not open" in fetch("hf://me/secret", token="hf_of_somebody")
    assert fetch("hf://me/secret") == "mine"


def test_a_hub_that_is_away(hub, tmp_path):
    hub.repos["me/faces"] = Repo(commits=[{"network.safetensors": b"one"}])
    run_as(hub, tmp_path, sys.executable, "-c", CODE, "hf://me/faces")

    # What has been downloaded is there without it.
    away = {"HF_HUB_OFFLINE": "1"}
    out = run_as(hub, tmp_path, sys.executable, "-c", CODE, "hf://me/faces", **away).stdout
    assert out == "one\n"
    out = run_as(hub, tmp_path, sys.executable, "-c", CODE, "hf://me/none", **away).stdout
    assert out == "error: hf://me/none: the Hub cannot be reached\n"
