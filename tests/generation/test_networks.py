"""What --network may be: a file, a URL, a run dir, the number of a run."""

import os

import pytest

from dnnlib.errors import UserError
from generation.networks import find_network


@pytest.fixture
def results(tmp_path):
    run = tmp_path / "00007-msg-stylegan-set-1gpu"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for kimg in ("000002", "000010"):
        (run / f"network-snapshot-{kimg}.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize("network", ["7", "RUN"])
def test_a_run_stands_for_one_of_its_snapshots(results, network):
    run = results / "00007-msg-stylegan-set-1gpu"
    network = str(run) if network == "RUN" else network
    assert find_network(network, result_dir=results) == str(run / "network-snapshot-000010.safetensors")
    assert find_network(network, "2", results) == str(run / "network-snapshot-000002.safetensors")

    with pytest.raises(UserError, match=r"best.safetensors: no such file; .* or use --snapshot latest"):
        find_network(network, "best", results)
    os.symlink("network-snapshot-000002.safetensors", run / "best.safetensors")
    assert find_network(network, "best", results) == str(run / "network-snapshot-000002.safetensors")


@pytest.mark.parametrize("network", ["https://example.org/network.pkl", "network.pkl", "missing/folder"])
def test_files_and_urls_stay_as_they_are(results, network):
    assert find_network(network, result_dir=results) == network


def test_a_file_whose_name_is_a_number_is_a_file(results, monkeypatch):
    monkeypatch.chdir(results)
    (results / "7").touch()
    assert find_network("7", result_dir=results) == "7"


def test_missing_runs_and_snapshots_are_one_line(results):
    with pytest.raises(UserError, match=r"--network: empty, expected a network file"):
        find_network("")
    with pytest.raises(UserError, match=r"--network 3: 0 run dirs 00003-\* in .*, expected one"):
        find_network("3", result_dir=results)
    with pytest.raises(UserError, match=r"--snapshot 5: not in .*, expected latest, or one of 2, 10"):
        find_network("7", "5", results)
    (results / "00008-x").mkdir()
    (results / "00008-x" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no network-snapshot-\*.safetensors in it"):
        find_network("8", result_dir=results)


def test_a_repository_that_was_downloaded(snapshot, tmp_path):
    (tmp_path / "faces").mkdir()
    network = snapshot.rename(tmp_path / "faces" / "network.safetensors")
    (tmp_path / "faces" / "config.json").write_text("{}")
    assert find_network(str(tmp_path / "faces")) == str(network)


def test_run_dirs_of_the_original(tmp_path):
    """By path or number: the final network, or one of the snapshots by its kimg."""
    run = tmp_path / "00003-sgan-faces-2gpu"
    run.mkdir()
    for name in ("network-snapshot-000120.pkl", "network-snapshot-001000.pkl", "submit_config.txt", "log.txt"):
        (run / name).touch()
    assert find_network(str(run)) == str(run / "network-snapshot-001000.pkl")
    (run / "network-final.pkl").touch()
    assert find_network(str(run)) == find_network("3", result_dir=tmp_path) == str(run / "network-final.pkl")
    assert find_network(str(run), "120") == str(run / "network-snapshot-000120.pkl")
    with pytest.raises(UserError, match="--snapshot 7: not in"):
        find_network(str(run), "7")
