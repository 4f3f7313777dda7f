"""A training job of SageMaker, as its container starts it: variables, folders, pairs of hyperparameters."""

import json
import subprocess
import sys
import time

import pytest

from cluster.sagemaker import ROOT, hand_over, training_command
from dnnlib.errors import UserError
from pretrained import load_network
from tests.runs import ENV, make_dataset, run_dirs

HYPERPARAMETERS = ["--preset", "tiny", "--resolution", "16", "--batch", "8", "--tick_kimg", "0.064", "--mirror", "True"]


def start(tmp_path, *hyperparameters):
    data = tmp_path / "blobs"
    if not data.exists():
        make_dataset(data)
    env = {
        **ENV,
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_NUM_GPUS": "0",
        "SM_CHANNEL_TRAINING": str(data),
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "MSG_GAN_CHECKPOINTS": str(tmp_path / "checkpoints"),
    }
    command = [sys.executable, "sagemaker_train.py", *HYPERPARAMETERS, *hyperparameters]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_job_that_is_stopped_leaves_its_network_and_goes_on_when_started_again(tmp_path):
    process = start(tmp_path, "--total_kimg", "100")
    while not any(tmp_path.glob("checkpoints/*/checkpoint-*.pt")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped at" in out
    before = load_network(tmp_path / "model" / "network.safetensors").cur_nimg
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["mirror"] is True and config["data"] == str(tmp_path / "blobs")

    total = before / 1000 + 0.2
    process = start(tmp_path, "--total_kimg", f"{total:.3f}")
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0 and "resuming at" in out
    assert len(run_dirs(tmp_path / "checkpoints")) == 1
    assert load_network(tmp_path / "model" / "network.safetensors").cur_nimg > before


def test_several_machines_meet_at_the_first(tmp_path):
    variables = {"SM_HOSTS": '["algo-2", "algo-1"]', "SM_CURRENT_HOST": "algo-2", "SM_NUM_GPUS": "8"}
    command = training_command(["--preset", "ffhq1024", "--G.use_noise", "False"], variables, tmp_path)
    assert command == [
        *("-m", "torch.distributed.run", "--nnodes=2", "--node-rank=1", "--nproc-per-node=8"),
        *("--master-addr=algo-1", "--master-port=29500", str(ROOT / "train.py"), "ffhq1024"),
        *("--resume", "auto", "--result-dir", str(tmp_path), "--G.no-use-noise", "--gpus", "16"),
    ]


@pytest.mark.parametrize(
    ("variables", "hyperparameters", "text"),
    [
        ({"SM_HOSTS": "algo-1"}, [], "SM_HOSTS"),
        ({"SM_HOSTS": '["a"]', "SM_CURRENT_HOST": "b"}, [], "expected what SageMaker sets"),
        ({}, ["--mirror"], "expected pairs of --NAME VALUE"),
    ],
)
def test_what_makes_no_sense_is_said(variables, hyperparameters, text, tmp_path):
    with pytest.raises(UserError, match=text):
        training_command(hyperparameters, variables, tmp_path)


def test_a_job_that_has_saved_nothing_leaves_nothing(tmp_path):
    hand_over(tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
