"""Datasets and networks in an object store: an S3 server on this machine."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from dnnlib import object_store
from dnnlib.errors import UserError
from dnnlib.object_store import ObjectStore, fetch, is_remote, url_of
from tests.object_server import BUCKET, object_server
from tests.runs import ENV, SMALL, assert_same_run, make_dataset, python, run_dirs, train

server = pytest.fixture(object_server)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(object_store, "WAITS", (0.01,) * 5)
    return tmp_path / "cache" / "msg-gan"


def test_which_places_are_remote():
    assert all(map(is_remote, ("s3://b/x", "gs://b", "hf://user/repo", "s3:/b/x")))
    assert not any(map(is_remote, ("x", "/x", "C:/x", r"C:\x", "http://x/y", "https://x", "file:///x", "results")))


@pytest.mark.parametrize("path_class", [PurePosixPath, PureWindowsPath])
def test_urls_that_became_paths(path_class):
    assert is_remote(path_class("s3://b/x/y")) and not is_remote(path_class("C:/x")) and not is_remote(path_class("x"))
    assert url_of(path_class("s3://b/x/y")) == "s3://b/x/y"


def test_a_file_is_fetched_once_and_again_when_it_changes(server, cache, capsys):
    moto, fs = server
    fs.pipe_file(f"{BUCKET}/x/net.bin", b"one")
    url = f"s3://{BUCKET}/x/net.bin"
    assert fetch(url).read_bytes() == fetch(url).read_bytes() == b"one"
    assert capsys.readouterr().err.count("downloading") == 1 and moto.bytes_sent[f"/{BUCKET}/x/net.bin"] == 3
    fs.pipe_file(f"{BUCKET}/x/net.bin", b"two")
    assert fetch(url).read_bytes() == b"two" and fetch(url).name == "net.bin"


def test_a_store_that_fails_now_and_then_is_asked_again(server, cache):
    moto, fs = server
    for i in range(8):
        fs.pipe_file(f"{BUCKET}/set/{i}.bin", bytes(1000 + i))
    moto.fail_every = 2
    folder = fetch(f"s3://{BUCKET}/set")
    assert sorted(path.stat().st_size for path in folder.iterdir()) == [1000 + i for i in range(8)] and moto.failed > 3

    # Nothing is left of what could not be fetched.
    moto.fail_every = 1
    with pytest.raises(UserError, match=r"s3://bucket/set: cannot list, tried 6 times"):
        fetch(f"s3://{BUCKET}/set")
    moto.fail_every = 0
    with pytest.raises(UserError, match="s3://bucket/none: no such file or folder"):
        fetch(f"s3://{BUCKET}/none")
    assert len(list(cache.rglob("*.bin"))) == 8


def test_what_is_not_what_was_promised_is_refused(server, cache, tmp_path):
    _, fs = server
    fs.pipe_file(f"{BUCKET}/x", b"one")
    store = ObjectStore(f"s3://{BUCKET}")
    with pytest.raises(UserError, match="s3://bucket/x: damaged: sha256 7692c3ad"):
        store.download("x", tmp_path / "x", "0" * 64)
    assert not (tmp_path / "x").exists() and store.read("none") is None
    store.delete("x")
    store.delete("x")
    assert store.read("x") is None


def command(server, home, *args):
    env = {**ENV, **server.env, "XDG_CACHE_HOME": str(home)}
    out = python(*args, env=env)
    assert out.returncode == 0, out.stderr
    return out


def test_a_dataset_and_its_networks_are_used_where_they_are(server, tmp_path):
    moto, fs = server
    data = make_dataset(tmp_path / "blobs")
    fs.put(str(data), f"{BUCKET}/sets/{data.name}", recursive=True)
    options = [*SMALL, "--total-kimg", 0.064, "--gpus", 2, "--micro-batch", 4]
    train(*options, "--data", data, "--result-dir", tmp_path / "local")

    # Trained on the URL, two processes on one copy, and results in the store.
    url = f"s3://{BUCKET}/sets/{data.name}"
    results = f"s3://{BUCKET}/results"
    out = command(moto, tmp_path / "home", "train.py", *options, "--data", url, "--result-dir", results)
    assert out.stderr.count("downloading") == 1
    [remote] = run_dirs(next((tmp_path / "home" / "msg-gan" / "runs").iterdir()))
    assert_same_run(run_dirs(tmp_path / "local")[0], remote)

    # Another machine scores and samples the network by the URL of its run.
    network = f"{results}/{remote.name}"
    out = command(moto, tmp_path / "other", "generate.py", "images", "--network", network, "--seeds", "0-3",
                  "--outdir", tmp_path / "out")  # fmt: skip
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    snapshot = f"{network}/network-snapshot-000000.064.safetensors"
    out = command(
        moto, tmp_path / "other", "run_metrics.py", "--network", snapshot, "--data", url, "--metrics", "swd16"
    )
    assert "swd16: swd " in out.stdout
