"""run_metrics.py as users have it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.metrics.helpers import rows, run_metrics
from tests.runs import ENV, ROOT, SMALL, make_dataset, run_dirs, train


def test_one_snapshot_and_all(run):
    _, path, _ = run
    before = rows(path, "swd16")
    out = run_metrics("--network", path, "--snapshot", "all", "--metrics", "swd16,stability4", "--seed", 3)
    found = rows(path, "swd16")
    assert len(found) == 4 and [r["kimg"] for r in found] == [0.064, 0.128, 0.192, 0.256]
    assert [r["value"] for r in found if r["kimg"] in (0.128, 0.256)] == [r["value"] for r in before]
    assert "network-snapshot-000000.064.safetensors: stability4: left out" in out.stdout
    one = ["--run-id", 0, "--result-dir", path.parent, "--snapshot", 0.192]
    again = run_metrics(*one, "--metrics", "swd16", "--seed", 3)
    assert len(rows(path, "swd16")) == 4 and "network-snapshot-000000.192" in again.stdout
    run_metrics("--network", path, "--metrics", "swd16", "--seed", 4)
    assert len(rows(path, "swd16")) == 5  # another seed is another result


@pytest.mark.parametrize("damaged", ["000000.064", "000000.192"])
def test_a_damaged_snapshot_does_not_keep_the_others_from_being_scored(run, tmp_path, damaged):
    _, path, _ = run
    copy = tmp_path / path.name
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns("metric-*"))
    snapshot = copy / f"network-snapshot-{damaged}.safetensors"
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    out = run_metrics("--network", copy, "--snapshot", "all", "--metrics", "swd16,msssim16", check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    assert f"warning: {snapshot.name} is not scored: " in out.stdout
    assert f"error: not everything was measured (1 failed): {snapshot.name} is not scored" in out.stderr
    kept = {r["kimg"] for r in rows(copy, "swd16")} & {r["kimg"] for r in rows(copy, "msssim16")}
    assert kept == {0.064, 0.128, 0.192, 0.256} - {float(damaged)}


def test_results_say_what_they_depend_on(run, tmp_path):
    base, path, _ = run
    snapshot = path / "network-snapshot-000000.256.safetensors"
    out = run_metrics("--network", snapshot, "--data", base / "set", "--metrics", "fid20", "--random-detectors",
                      "--mirror", "--cache-dir", tmp_path / "cache", "--resize", "clean")  # fmt: skip
    assert re.search(r"fid20-of-random-weights: fid \d", out.stdout) and "fid20:" not in out.stdout
    (r,) = rows(path, "fid20-of-random-weights")
    expected = {
        "metric": "fid20-of-random-weights", "version": 1, "num_reals": 20, "num_fakes": 20, "mirror": True, "seed": 3,
        "truncation_psi": 1.0, "resize": "clean", "precision": "fp32", "weights": "random", "dataset": "set",
        "detector": "inception", "dataset_images": 40, "features": 2048,
    }  # fmt: skip
    assert {k: r[k] for k in expected} == expected and len(r["fingerprint"]) == 32
    assert not (path / "best.safetensors").exists(), "figures of random weights choose no best"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_results_of_no_run_are_printed_whole_or_kept(run, tmp_path):
    _, path, _ = run
    network = tmp_path / "network.safetensors"
    network.write_bytes((path / "network-snapshot-000000.256.safetensors").read_bytes())
    out = run_metrics("--network", network, "--metrics", "consistency4", "--trunc", 0.5)
    assert "version 1, seed 0, truncation_psi 0.5, " in out.stdout and "truncation_cutoff 8" in out.stdout
    for _ in range(2):
        out = run_metrics("--network", network, "--metrics", "consistency4", "--out", tmp_path / "new" / "scores.jsonl")
    found = [json.loads(line) for line in (tmp_path / "new" / "scores.jsonl").read_text().splitlines()]
    assert len(found) == 2 and found[0]["snapshot"] == "network.safetensors" and "version 1" not in out.stdout


def test_a_dataset_that_moved_or_has_other_classes_is_reported(run, tmp_path):
    base, path, _ = run
    moved = tmp_path / "00000-moved"
    moved.mkdir()
    config = json.loads((path / "config.json").read_text()) | {"data": str(tmp_path / "gone")}
    (moved / "config.json").write_text(json.dumps(config))
    name = "network-snapshot-000000.256.safetensors"
    (moved / name).write_bytes((path / name).read_bytes())
    out = run_metrics("--network", moved, "--metrics", "swd8", check=False)
    assert "gone: the dataset of the run is not there; --data tells where it is" in out.stderr
    assert out.returncode == 2 and "expected --data DATASET" in out.stderr
    other = make_dataset(tmp_path / "other", classes=4)
    out = run_metrics("--network", moved, "--metrics", "swd8", "--data", other, check=False)
    assert out.returncode == 2 and "has 3 classes, expected 4 as in other" in out.stderr
    assert run_metrics("--network", moved, "--metrics", "swd8", "--data", base / "set").returncode == 0


def test_two_sets_of_images(run, tmp_path):
    base, _, _ = run
    other = make_dataset(tmp_path / "other", n=30)
    out = run_metrics("--images", other, "--data", base / "set", "--metrics", "swd30,fid30_full", "--random-detectors")
    assert "swd30: swd " in out.stdout and "fid30_full-of-random-weights" in out.stdout
    assert "due to the small number of images alone" in out.stdout
    out = run_metrics("--images", base / "set", "--data", base / "set", "--metrics", "swd40")
    assert float(re.search(r"swd (\S+)", out.stdout)[1]) < 1e-3
    out = run_metrics("--images", other, "--data", base / "set", "--metrics", "consistency", check=False)
    assert out.returncode == 2 and "looks at a generator" in out.stderr


def test_two_processes_give_the_same(run, tmp_path):
    _, path, _ = run
    found = []
    for n in (1, 2):
        out = run_metrics("--network", path, "--metrics", "swd16,consistency8", "--gpus", n, "--batch", 4)
        found.append(re.sub(r"\(\d+s\)", "", out.stdout))
    assert found[0] == found[1]


def test_repeats_and_classes(tmp_path):
    data = make_dataset(tmp_path / "set")
    train(*SMALL, "--data", data, "--total-kimg", 0.064, "--use-labels", "--result-dir", tmp_path / "r")
    (path,) = run_dirs(tmp_path / "r")
    out = run_metrics("--network", path, "--metrics", "swd8", "--repeats", 3)
    assert re.search(r"swd8: \S+ ± \S+ over 3 seeds", out.stdout) and len(rows(path, "swd8")) == 3
    out = run_metrics("--network", path, "--metrics", "swd8", "--per-class")
    assert all(f"swd8-class{k}: swd " in out.stdout and rows(path, f"swd8-class{k}")[0]["class"] == k for k in range(3))
    out = run_metrics("--network", path, "--metrics", "swd8", "--class", 7, check=False)
    assert out.returncode == 2 and "has 3 classes" in out.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--network", "x.safetensors", "--metrics", "fidx"], "fidx: unknown metric, expected some of fid50k"),
        (["--network", "x.safetensors", "--metrics", "swd"], "x.safetensors: no such file"),
        (["--network", "{run}", "--data", "{base}/none"], "none: no such file or folder"),
        (["--network", "{run}", "--batch", 0], "--batch 0: expected >= 1"),
        (["--network", "{run}", "--metrics", "fid8", "--detector-dir", "{base}"], "expected the weights of inception"),
        (["--network", "{run}", "--class", 9], "--class 9: network-snapshot-000000.256.safetensors has 3 classes"),
    ],
)
def test_what_is_wrong_is_one_line(run, args, message):
    base, path, _ = run
    filled = [str(a).format(base=base, run=path) for a in args]
    out = run_metrics(*filled, check=False)
    errors = [line for line in out.stderr.splitlines() if line.startswith("error:")]
    assert out.returncode == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in out.stderr


def test_metrics_rank_reals_trained_and_untrained(tmp_path):
    """Other reals are nearer than a trained network, and that is nearer than an untrained one."""
    data = make_dataset(tmp_path / "set", n=200)
    other = make_dataset(tmp_path / "other", n=200, seed=1)
    args = ["tiny", "--resolution", 16, "--batch", 16, "--data", data, "--result-dir", tmp_path / "r", "--seed", 1]
    train(*args, "--total-kimg", 0.016)
    train(*args, "--total-kimg", 6, "--tick-kimg", 6, "--loss.reg-interval", 4)
    untrained, trained = run_dirs(tmp_path / "r")
    options = ["--metrics", "swd100,fid100", "--random-detectors", "--data", data]
    outs = [run_metrics("--images", other, *options).stdout]
    outs += [run_metrics("--network", path, *options).stdout for path in (trained, untrained)]
    for pattern in (r"swd100: swd (\S+)", r"fid100-of-random-weights: fid (\S+)"):
        found = [float(re.search(pattern, out)[1]) for out in outs]
        assert found[0] < 0.7 * found[1] < 0.5 * found[2], (pattern, found)


def test_ctrl_c_keeps_what_was_computed(run):
    _, path, _ = run
    command = [sys.executable, "run_metrics.py", "--network", str(path), "--metrics", "consistency5,swd40k"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )  # fmt: skip
    assert "consistency5: " in process.stdout.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr.endswith("interrupted; the results above are kept\n"), stderr
    assert "Traceback" not in stderr
    assert len(rows(path, "consistency5")) == 1
