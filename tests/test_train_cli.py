"""train.py as a user meets it: options, presets, run dir, bad input."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import config
from dnnlib.errors import UserError
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT, SMALL, command, losses, make_dataset, run_dirs, shown, train
from train import parse
from training.config import as_dict


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(dataset, run dir, output) of a short run."""
    folder = tmp_path_factory.mktemp("finished")
    data = make_dataset(folder / "blobs")
    out = train(*SMALL, "--data", data, "--result-dir", folder / "results", "--network-snapshot-ticks", 3)
    return data, run_dirs(folder / "results")[0], out


def test_run_dir(finished):
    _, run, out = finished
    assert run.name == "00000-msg-stylegan-blobs-1gpu"
    names = {re.sub(r"tfevents\..*", "tfevents", p.name) for p in run.iterdir()} - {".lock"}
    snapshots = {"000000.192", "000000.384", "000000.400"}
    assert names == {
        "config.json", "run.json", "log.txt", "stats.jsonl", "events.out.tfevents", "reals.png", "4x4", "8x8", "16x16",
        *(f"network-snapshot-{s}.safetensors" for s in snapshots),
        *(f"checkpoint-{s}.pt" for s in sorted(snapshots)[1:]),  # the last two are kept
    }  # fmt: skip
    for folder in ("4x4", "8x8", "16x16"):
        assert len(list((run / folder).glob("fakes*.png"))) == 8  # before training, 6 ticks, the end
        with Image.open(run / folder / "fakes000000.400.png") as im, Image.open(run / "reals.png") as reals:
            assert im.size == reals.size == (256, 144)
    rows = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert [r["tick"] for r in rows] == [1, 2, 3, 4, 5, 6, 7] and rows[-1]["kimg"] == 0.4
    for key in ("kimg", "tick", "sec_per_kimg", "total_sec", "Loss/D", "Loss/G", "Loss/scores/real", "Loss/scores/fake",
                "Loss/r1_penalty", "Resources/peak_cpu_mem_gb", "data_wait_sec"):  # fmt: skip
        assert all(np.isfinite(r[key]) for r in rows), key
    assert "tick 7" in out.stdout and "img/s" in out.stdout and "data wait" in out.stdout
    assert shown(run) in out.stdout.replace("\r", "")


def test_config_json_launches_the_same_run_again(finished, tmp_path):
    _, run, _ = finished
    train(run / "config.json", "--result-dir", tmp_path)
    assert losses(run_dirs(tmp_path)[0]) == losses(run)


def test_run_numbers_count_up(finished):
    data, run, _ = finished
    short = ("--total-kimg", "0.016", "--result-dir", run.parent)
    train(*SMALL, "--data", data, *short)
    train(*SMALL, "--data", data, *short)
    assert [p.name[:5] for p in run_dirs(run.parent)] == ["00000", "00001", "00002"]


def test_help_explains_every_option():
    out = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    text = re.sub(r"[│\s]+", " ", out.stdout)
    for part, fields in (("", as_dict(config.robohash())), ("G.", as_dict(config.robohash())["G"])):
        for name in fields:
            if name not in ("G", "D", "G_opt", "D_opt", "loss", "kind"):
                assert f"--{part}{name.replace('_', '-')}" in text, name
    assert text.count("(default:") >= 60 and all(p in text for p in config.PRESETS)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nope"], "nope: unknown preset, expected auto, one of robohash"),
        (["--nope", "3"], "unknown argument --nope 3"),
        (["--batch", "x"], "--batch x: expected a whole number"),
        (["--batch", "7", "--gpus", "2"], "batch 7: expected a multiple of gpus 2"),
        (["--batch", "6", "--D.mbstd-num-features", "1"], "6 images per forward pass"),
        (["--micro-batch", "5"], "micro_batch: found 5"),
        (["--resolution", "5"], "resolution: found 5, expected 6 to 16384"),
        (["--total-kimg", "0"], "total_kimg: found 0"),
        (["--G.fused-scale", "maybe"], "--G.fused-scale maybe: expected one of auto, false, true"),
        (["missing.json"], "missing.json: cannot read"),
        (["--G.fmap-decay", "nan"], "fmap_decay: found nan"),
        (["--G.z-dim", "1000000000000"], "z_dim: found 1000000000000"),
        (["--G-opt.lr", "inf"], "lr: found inf"),
        (["--seed", "99999999999999999999"], "seed: found"),
        (["--total-kimg", "1e-9"], "total_kimg: found 1e-09"),
    ],
)
def test_bad_options_are_one_line(args, message):
    with pytest.raises((UserError, SystemExit)) as e:
        parse(args)
    assert message in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "c.json: not JSON: Expecting"),
        ('{"data": "x", "nope": 1}', "unknown option nope"),
        ('{"data": "x", "G": {"z_dim": "a"}}', "G: z_dim: found 'a', expected int"),
        ('{"data": "x", "batch": 0}', "batch: found 0"),
        ("[]", "expected an object"),
    ],
)
def test_bad_config_json_is_reported(tmp_path, content, message):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        parse([str(tmp_path / "c.json")])


def _flip(data):
    path = data / "blobs-r04.tfrecords"
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)


def _truncate(data):
    path = data / "blobs-r04.tfrecords"
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_flip, "record 1: damaged: data checksum"),
        (_truncate, "record 39: truncated"),
        (lambda d: (d / "blobs-r03.tfrecords").unlink(), None),
        (lambda d: [p.unlink() for p in d.iterdir()], "no *.tfrecords"),
        (shutil.rmtree, "no such file or folder"),
    ],
)
def test_bad_dataset_is_one_line_and_leaves_nothing(finished, tmp_path, change, message):
    data = tmp_path / "blobs"
    shutil.copytree(finished[0], data)
    change(data)
    out = train(*SMALL, "--data", data, "--result-dir", tmp_path / "r", "--total-kimg", "0.016", check=False)
    if message is None:  # training reads the largest level only
        assert out.returncode == 0
        return
    assert out.returncode == 2 and not (tmp_path / "r").exists()
    assert out.stderr.count("\n") == 1 and message in out.stderr and str(data) in out.stderr


def test_result_dir_that_cannot_be_written(finished, tmp_path):
    (tmp_path / "file").write_text("")
    out = train(*SMALL, "--data", finished[0], "--result-dir", tmp_path / "file" / "x", check=False)
    assert out.returncode == 2 and "cannot create the folder" in out.stderr and out.stderr.count("\n") == 1


def test_dry_run_tells_everything_and_trains_nothing(tmp_path):
    args = ["ffhq1024", "--dry-run", "--data", tmp_path / "none", "--result-dir", tmp_path / "r", "--batch", 4]
    out = train(*args).stdout
    counts = json.loads((GOLDEN / "default_vars.json").read_text())["res1024_label0"]
    for net in ("G", "D"):
        assert f"{counts[net]['num_trainable']:,}" in out
    assert '"total_kimg": 25000' in out and "GFLOP per image" in out and "GiB per process" in out and "s/kimg" in out
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--G.mapping-layers", 0], "w_dim: found 16, expected 32"),
        (["--D.resolutions", 64], "D.resolutions: found [64]"),
        (["--D.mbstd-num-features", 3], "expected a divisor of the"),
        (["--loss.name", "wgann"], "loss.name: found wgann, expected one of logistic, "),
        (["--G.mapping-lrmul", 0], "mapping_lrmul: found 0"),
        (["--total-kimg", "inf"], "total_kimg: found inf"),
    ],
)
def test_networks_that_cannot_be_built_are_one_line(finished, tmp_path, args, message):
    for extra in ([], ["--dry-run"]):
        command = [*SMALL, "--data", finished[0], "--result-dir", tmp_path / "r", *args, *extra]
        out = train(*command, check=False)
        assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_auto_says_why_it_chooses_what(finished, tmp_path):
    data, _, _ = finished
    short = ["--total-kimg", 0.016, "--tick-kimg", 0.008, "--batch", 8, "--result-dir", tmp_path]
    for named in (["auto"], ["--preset", "auto"], ["--preset=auto"]):
        out = train(*named, "--data", data, *short).stdout
        assert "auto      40 images 3x16x16, 3 label values; 1 x cpu" in out and "augment: ada, since 40 images" in out
    for run in run_dirs(tmp_path):
        written = json.loads((run / "config.json").read_text())
        assert written["preset"] == "auto" and written["augment"]["name"] == "ada" and written["data"] == str(data)

    # Any number of processes has a batch of its own.
    out = train("auto", "--data", data, "--gpus", 3, "--dry-run").stdout
    assert "3 x cpu" in out and "total-kimg 60" in out

    # A dry run only looks at images that would have to be scaled.
    photos, cache = tmp_path / "photos", tmp_path / "cache"
    photos.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (90, 70), "red").save(photos / f"{name}.png")
    arguments = command("auto", "--data", photos, "--resolution", 32, "--dry-run")
    env = {**ENV, "XDG_CACHE_HOME": str(cache)}
    out = subprocess.run(arguments, cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "3 images to be scaled to 32x32, labels not looked at" in out and not cache.exists()

    for args, message in (
        (["auto"], "auto: expected --data DATASET"),
        (["auto", "--data", tmp_path / "nothing"], "nothing"),
        (["--preset", "wrong"], "wrong: unknown preset, expected auto, one of robohash"),
    ):
        out = train(*args, check=False)
        assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1


def test_torchrun_is_understood(finished, tmp_path):
    """An outer launcher's processes are used as they are."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "train.py"]
    args = [*SMALL, "--data", finished[0], "--result-dir", tmp_path, "--gpus", 2, "--total-kimg", "0.016"]
    env = {**ENV, "PYTHONWARNINGS": "ignore"}
    subprocess.run([*command, *map(str, args)], cwd=ROOT, env=env, check=True, capture_output=True, timeout=120)
    assert os.listdir(tmp_path) == ["00000-msg-stylegan-blobs-2gpu"]
