"""run_metrics.py and the hook of train.py as users have them."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metrics.result_files import keep
from tests.metrics.keep_results import result
from tests.runs import ENV, ROOT, SMALL, assert_same_run, make_dataset, run_dirs, script, train

PROGRAM_ENV = {**ENV, "PYTHONPATH": str(ROOT)}  # of programs in this folder


def metrics(*args, check=True):
    return script("run_metrics.py", *args, check=check)


def rows(run_dir, name):
    return [json.loads(line) for line in (run_dir / f"metric-{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with four snapshots that were scored as it went."""
    base = tmp_path_factory.mktemp("run")
    data = make_dataset(base / "set")
    args = [*SMALL, "--data", data, "--total-kimg", 0.256, "--network-snapshot-ticks", 1]
    out = train(
        *args, "--result-dir", base / "results", "--metrics", "swd16,stability4,consistency4", "--metric-every", 2
    )
    train(*args, "--result-dir", base / "plain")
    (path,) = run_dirs(base / "results")
    return base, path, out.stdout


def test_training_scores_its_snapshots_and_is_not_changed_by_it(run):
    base, path, stdout = run
    for name in ("swd16", "consistency4", "stability4"):
        found = [r["snapshot"] for r in rows(path, name)]
        assert found == ["network-snapshot-000000.128.safetensors", "network-snapshot-000000.256.safetensors"]
        assert f"network-snapshot-000000.256.safetensors  {name}: " in stdout
    (plain,) = run_dirs(base / "plain")
    assert_same_run(path, plain)
    assert (path / "metric-swd16.png").read_bytes().startswith(b"\x89PNG")
    events = [EventAccumulator(str(f)).Reload() for f in path.glob("*.metrics")]
    assert [s.step for e in events for s in e.Scalars("Metrics/swd16/swd")] == [128, 256]


def test_one_snapshot_and_all(run):
    _, path, _ = run
    before = rows(path, "swd16")
    out = metrics("--network", path, "--snapshot", "all", "--metrics", "swd16,stability4", "--seed", 3)
    found = rows(path, "swd16")
    assert len(found) == 4 and [r["kimg"] for r in found] == [0.064, 0.128, 0.192, 0.256]
    assert [r["value"] for r in found if r["kimg"] in (0.128, 0.256)] == [r["value"] for r in before]
    assert "network-snapshot-000000.064.safetensors: stability4: left out" in out.stdout
    again = metrics("--run-id", 0, "--result-dir", path.parent, "--snapshot", 0.192, "--metrics", "swd16", "--seed", 3)
    assert len(rows(path, "swd16")) == 4 and "network-snapshot-000000.192" in again.stdout
    metrics("--network", path, "--metrics", "swd16", "--seed", 4)
    assert len(rows(path, "swd16")) == 5  # another seed is another result


def test_results_say_what_they_depend_on(run, tmp_path):
    base, path, _ = run
    snapshot = path / "network-snapshot-000000.256.safetensors"
    out = metrics("--network", snapshot, "--data", base / "set", "--metrics", "fid20", "--random-detectors", "--mirror",
                  "--cache-dir", tmp_path / "cache", "--resize", "clean")  # fmt: skip
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


def test_the_best_snapshot_is_linked(run):
    _, path, _ = run
    names = sorted(p.name for p in path.glob("network-snapshot-*"))

    def best_after(k, value, metric="fid50k", **conditions):
        facts = {"weights": "published", "seed": 0, "truncation_psi": 1.0, "num_fakes": 50000, **conditions}
        keep(path, result(metric, names[k], k, value, facts))
        return names.index(os.readlink(path / "best.safetensors"))

    assert [best_after(k, value) for k, value in enumerate((9, 5, 7, 8))] == [0, 1, 1, 1]
    # Measured otherwise, for fewer snapshots, of one class or truncated: not comparable.
    assert best_after(2, 1, seed=1) == best_after(0, 1, weights="not the published ones") == 1
    assert best_after(2, 2, "fid50k_full") == best_after(0, 0.1, truncation_psi=0.5) == 1
    assert best_after(3, 1, "fid50k-class2") == best_after(0, 0.1, "fid5k", num_fakes=5000) == 1
    assert best_after(3, 1) == 3
    metrics("--network", path / "best.safetensors", "--metrics", "consistency4")
    assert rows(path, "consistency4")[-1]["snapshot"] == names[3] == os.readlink(path / "best.safetensors")
    for file in (*path.glob("metric-fid*"), path / "best.safetensors"):
        file.unlink()


def test_results_that_are_written_at_once_and_damaged_lines(tmp_path):
    program = str(ROOT / "tests" / "metrics" / "keep_results.py")
    commands = [[sys.executable, program, str(tmp_path), str(n)] for n in range(3)]
    assert [p.wait() for p in [subprocess.Popen(c, cwd=ROOT, env=PROGRAM_ENV) for c in commands]] == [0, 0, 0]
    assert len(rows(tmp_path, "swd")) == 60
    file = tmp_path / "metric-swd.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0][:20], "[1, 2]", "{}", *lines[1:]]) + "\n")
    subprocess.run(commands[0], cwd=ROOT, env=PROGRAM_ENV, check=True)
    assert {r["snapshot"] for r in rows(tmp_path, "swd")} >= {json.loads(line)["snapshot"] for line in lines[1:]}


def test_two_processes_score_as_they_train(run, tmp_path):
    base, _, _ = run
    args = [*SMALL, "--data", base / "set", "--total-kimg", 0.128, "--network-snapshot-ticks", 1, "--gpus", 2]
    train(*args, "--result-dir", tmp_path, "--metrics", "swd16,stability4,fid8", "--metric-every", 1)
    (found,) = run_dirs(tmp_path)
    assert [len(rows(found, name)) for name in ("swd16", "stability4")] == [2, 1]
    then = rows(found, "swd16")
    metrics("--network", found, "--metrics", "swd16", "--batch", 4)  # as many as each process had in training
    now = rows(found, "swd16")
    assert len(now) == 2 and now[0] == then[0]  # the same conditions: in place of the other
    assert now[1]["value"] == pytest.approx(then[1]["value"], rel=1e-6)


def test_a_run_that_is_asked_to_stop_does_not_wait_for_its_metrics(run, tmp_path):
    base, _, _ = run
    args = ["train.py", *SMALL, "--data", base / "set", "--result-dir", tmp_path, "--network-snapshot-ticks", 1]
    with open(tmp_path / "err", "w") as err:
        process = subprocess.Popen(
            [sys.executable, *map(str, args), "--metrics", "consistency5,swd100k,msssim50"],
            cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=err, text=True,
        )  # fmt: skip
        while "consistency5: " not in (line := process.stdout.readline()):
            assert line
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "not scored to the end" in stdout and "stopped at 0.064 kimg" in stdout
    (found,) = run_dirs(tmp_path)
    assert len(rows(found, "consistency5")) == 1 and not list(found.glob("metric-msssim*"))


def test_results_of_no_run_are_printed_whole_or_kept(run, tmp_path):
    _, path, _ = run
    network = tmp_path / "network.safetensors"
    network.write_bytes((path / "network-snapshot-000000.256.safetensors").read_bytes())
    out = metrics("--network", network, "--metrics", "consistency4", "--trunc", 0.5)
    assert "version 1, seed 0, truncation_psi 0.5, " in out.stdout and "truncation_cutoff 8" in out.stdout
    for _ in range(2):
        out = metrics("--network", network, "--metrics", "consistency4", "--out", tmp_path / "new" / "scores.jsonl")
    found = [json.loads(line) for line in (tmp_path / "new" / "scores.jsonl").read_text().splitlines()]
    assert len(found) == 2 and found[0]["snapshot"] == "network.safetensors" and "version 1" not in out.stdout


def test_a_dataset_that_moved_or_has_other_classes_is_told(run, tmp_path):
    base, path, _ = run
    moved = tmp_path / "00000-moved"
    moved.mkdir()
    config = json.loads((path / "config.json").read_text()) | {"data": str(tmp_path / "gone")}
    (moved / "config.json").write_text(json.dumps(config))
    name = "network-snapshot-000000.256.safetensors"
    (moved / name).write_bytes((path / name).read_bytes())
    out = metrics("--network", moved, "--metrics", "swd8", check=False)
    assert "gone: the dataset of the run is not there; --data tells where it is" in out.stderr
    assert out.returncode == 2 and "expected --data DATASET" in out.stderr
    other = make_dataset(tmp_path / "other", classes=4)
    out = metrics("--network", moved, "--metrics", "swd8", "--data", other, check=False)
    assert out.returncode == 2 and "has 3 classes, expected 4 as in other" in out.stderr
    assert metrics("--network", moved, "--metrics", "swd8", "--data", base / "set").returncode == 0


def test_two_sets_of_images(run, tmp_path):
    base, _, _ = run
    other = make_dataset(tmp_path / "other", n=30)
    out = metrics("--images", other, "--data", base / "set", "--metrics", "swd30,fid30_full", "--random-detectors")
    assert "swd30: swd " in out.stdout and "fid30_full-of-random-weights" in out.stdout
    assert "due to the small number of images alone" in out.stdout
    out = metrics("--images", base / "set", "--data", base / "set", "--metrics", "swd40")
    assert float(re.search(r"swd (\S+)", out.stdout)[1]) < 1e-3
    out = metrics("--images", other, "--data", base / "set", "--metrics", "consistency", check=False)
    assert out.returncode == 2 and "looks at a generator" in out.stderr


def test_two_processes_give_the_same(run, tmp_path):
    _, path, _ = run
    found = []
    for n in (1, 2):
        out = metrics("--network", path, "--metrics", "swd16,consistency8", "--gpus", n, "--batch", 4)
        found.append(re.sub(r"\(\d+s\)", "", out.stdout))
    assert found[0] == found[1]


def test_repeats_and_classes(tmp_path):
    data = make_dataset(tmp_path / "set")
    train(*SMALL, "--data", data, "--total-kimg", 0.064, "--use-labels", "--result-dir", tmp_path / "r")
    (path,) = run_dirs(tmp_path / "r")
    out = metrics("--network", path, "--metrics", "swd8", "--repeats", 3)
    assert re.search(r"swd8: \S+ ± \S+ over 3 seeds", out.stdout) and len(rows(path, "swd8")) == 3
    out = metrics("--network", path, "--metrics", "swd8", "--per-class")
    assert all(f"swd8-class{k}: swd " in out.stdout and rows(path, f"swd8-class{k}")[0]["class"] == k for k in range(3))
    out = metrics("--network", path, "--metrics", "swd8", "--class", 7, check=False)
    assert out.returncode == 2 and "has 3 classes" in out.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--metrics", "fid50"], "expected one of --network, --run-id and --images"),
        (["--network", "x.safetensors", "--metrics", "fidx"], "fidx: unknown metric, expected some of fid50k"),
        (["--network", "x.safetensors", "--metrics", "swd"], "x.safetensors: no such file"),
        (["--run-id", 7, "--result-dir", "{base}"], "--run-id 7: 0 run dirs 00007-*"),
        (["--network", "{run}", "--snapshot", 5], "--snapshot 5: not in"),
        (["--network", "{run}", "--data", "{base}/none"], "none: no such file or folder"),
        (["--network", "{run}", "--batch", 0], "--batch 0: expected >= 1"),
        (["--network", "{run}", "--metrics", "fid8", "--detector-dir", "{base}"], "expected the weights of inception"),
        (["--network", "{run}", "--class", 9], "--class 9: network-snapshot-000000.256.safetensors has 3 classes"),
        (["--images", "{base}/set", "--class", 0], "expected a network, not --images"),
        (["--network", "{run}", "--seed", -1], "--seed -1: expected >= 0"),
        (["--network", "{base}"], "no network-snapshot-*.safetensors in it"),
    ],
)
def test_what_is_wrong_is_one_line(run, args, message):
    base, path, _ = run
    filled = [str(a).format(base=base, run=path) for a in args]
    out = metrics(*filled, check=False)
    errors = [line for line in out.stderr.splitlines() if line.startswith("error:")]
    assert out.returncode == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in out.stderr


def test_a_metric_that_cannot_be_had_does_not_end_training(run, tmp_path, monkeypatch):
    base, _, _ = run
    monkeypatch.setitem(os.environ, "MSG_GAN_DETECTORS", str(tmp_path))
    from tests import runs

    monkeypatch.setitem(runs.ENV, "MSG_GAN_DETECTORS", str(tmp_path))
    out = train(
        *SMALL, "--data", base / "set", "--total-kimg", 0.064, "--result-dir", tmp_path / "r", "--metrics", "fid8,swd8"
    )
    assert "warning: fid8: " in out.stderr and "expected the weights of inception" in out.stderr  # at once
    assert "fid8 failed" in out.stdout and "swd8: swd" in out.stdout and "finished" in out.stdout
    wrong = train(*SMALL, "--data", base / "set", "--result-dir", tmp_path / "r", "--metrics", "fidx", check=False)
    assert wrong.returncode == 2 and "fidx: unknown metric" in wrong.stderr


def test_metrics_rank_reals_trained_and_untrained(tmp_path):
    """Other reals are nearer than a trained network, and that is nearer than an untrained one."""
    data = make_dataset(tmp_path / "set", n=200)
    other = make_dataset(tmp_path / "other", n=200, seed=1)
    args = ["tiny", "--resolution", 16, "--batch", 16, "--data", data, "--result-dir", tmp_path / "r", "--seed", 1]
    train(*args, "--total-kimg", 0.016)
    train(*args, "--total-kimg", 6, "--tick-kimg", 2)
    untrained, trained = run_dirs(tmp_path / "r")
    options = ["--metrics", "swd100,fid100", "--random-detectors", "--data", data]
    outs = [metrics("--images", other, *options).stdout]
    outs += [metrics("--network", path, *options).stdout for path in (trained, untrained)]
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
