"""Where weight files come from, and what is reported of wrong ones."""

import pytest
import torch

from dnnlib.errors import UserError
from metrics.detectors import weights as weight_files
from metrics.detectors.detector import Detector, DetectorOptions
from metrics.detectors.weights import INCEPTION, LPIPS_WEIGHTS
from tests.metrics.detectors.helpers import CPU, images, ours


def test_facts_tell_the_weights(weights):
    facts = ours("inception", weights).facts
    assert facts["weights"] == "not the published ones" and facts["file"] == INCEPTION.name
    assert facts["sha256"] == weight_files.sha256(weights / INCEPTION.name) and facts["resize"] == "legacy"
    random = Detector("inception", DetectorOptions(random_detectors=True), CPU)
    assert random.facts["weights"] == "random"
    again = Detector("inception", DetectorOptions(random_detectors=True), CPU)
    assert torch.equal(random(images())[0], again(images())[0])


def test_missing_and_wrong_files_are_reported(weights, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"no such file, expected the weights of inception: download https://github\.com"
    ):
        ours("inception", tmp_path)
    (tmp_path / INCEPTION.name).write_bytes((weights / LPIPS_WEIGHTS.name).read_bytes())
    with pytest.raises(UserError, match="not the weights of inception: missing"):
        ours("inception", tmp_path)
    state = torch.load(weights / INCEPTION.name)
    state["fc.weight"] = torch.zeros(1000, 2048)
    torch.save(state, tmp_path / INCEPTION.name)
    with pytest.raises(UserError, match=r"fc\.weight is \[1000, 2048\], expected \[1008, 2048\]"):
        ours("inception", tmp_path)
    (tmp_path / INCEPTION.name).write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        ours("inception", tmp_path)
    monkeypatch.setenv(weight_files.ENVIRONMENT, str(weights))
    assert ours("inception", None).facts["file"] == INCEPTION.name


def test_cached_weights_must_be_the_published_ones(weights, tmp_path, monkeypatch):
    monkeypatch.delenv(weight_files.ENVIRONMENT, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / INCEPTION.name).write_bytes((weights / INCEPTION.name).read_bytes())
    with pytest.raises(UserError, match="expected one that begins with 6726825d"):
        ours("inception", None)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(weight_files.ENVIRONMENT, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        weight_files, "fetch", lambda url, path: (_ for _ in ()).throw(UserError(f"{url}: cannot download"))
    )
    with pytest.raises(UserError, match=r"its weights are not available: .*--detector-dir or MSG_GAN_DETECTORS"):
        ours("inception", None)
