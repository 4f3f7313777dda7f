"""Where results are kept."""

import json
import os
import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metrics.result_files import ResultFiles, keep, link_best, read_results
from tests.metrics.helpers import rows
from tests.metrics.keep_results import result
from tests.runs import ENV, ROOT

PROGRAM_ENV = {**ENV, "PYTHONPATH": str(ROOT)}  # of programs in this folder


def test_a_result_is_kept_in_all_places(tmp_path):
    run_dir, out = tmp_path / "run", tmp_path / "new" / "out.jsonl"
    run_dir.mkdir()
    said = []
    files = ResultFiles(run_dir, out, said.append)
    for kimg, value in ((2, 2.0), (1, 3.0), (2, 4.0)):  # the last in place of the first
        kept = result("swd", f"network-snapshot-{kimg}", kimg, value, {"seed": 0})
        kept.values["swd"] = value
        files.keep(kept)
    assert [row["value"] for row in rows(run_dir, "swd")] == [3.0, 4.0]
    assert len(out.read_text().splitlines()) == 3 and not said
    assert (run_dir / "metric-swd.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_shows_one_series(tmp_path):
    files = ResultFiles(tmp_path, None, print)
    for seed, kimg in ((0, 1), (0, 2), (1, 1)):
        shown = result("swd", f"network-snapshot-{kimg}", kimg, 3.0, {"seed": seed})
        shown.values["swd"] = 10.0 * seed + kimg
        files.keep(shown)
    (events,) = [EventAccumulator(str(f)).Reload() for f in tmp_path.glob("*.metrics")]
    assert [(s.step, s.value) for s in events.Scalars("Metrics/swd/swd")] == [(1000, 1), (2000, 2)]


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").touch()
    said = []
    files = ResultFiles(tmp_path / "gone", tmp_path / "file" / "out.jsonl", said.append)
    files.keep(result("swd", "x", 1, 3.0, {}))
    assert len(said) == 2 and all("the result is not kept there" in line for line in said)


def test_the_best_snapshot_is_linked(tmp_path):
    names = [f"network-snapshot-{k:06d}.safetensors" for k in range(4)]
    for name in names:
        (tmp_path / name).touch()

    def best_after(k, value, metric="fid50k", **conditions):
        facts = {"weights": "published", "seed": 0, "truncation_psi": 1.0, "num_fakes": 50000, **conditions}
        keep(tmp_path, result(metric, names[k], k, value, facts))
        return names.index(os.readlink(tmp_path / "best.safetensors"))

    assert [best_after(k, value) for k, value in enumerate((9, 5, 7, 8))] == [0, 1, 1, 1]
    # Measured otherwise, for fewer snapshots, of one class or truncated: not comparable.
    assert best_after(2, 1, seed=1) == best_after(0, 1, weights="not the published ones") == 1
    assert best_after(2, 2, "fid50k_full") == best_after(0, 0.1, truncation_psi=0.5) == 1
    assert best_after(3, 1, "fid50k-class2") == best_after(0, 0.1, "fid5k", num_fakes=5000) == 1
    assert best_after(3, 1) == 3


def test_a_file_of_the_users_own_is_not_replaced(tmp_path):
    for name in ("network-snapshot-000001.safetensors", "best.safetensors"):
        (tmp_path / name).write_text(name)
    keep(tmp_path, result("fid50k", "network-snapshot-000001.safetensors", 1, 3.0, {"weights": "published"}))
    assert (tmp_path / "best.safetensors").read_text() == "best.safetensors"


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


def test_results_that_name_other_places_are_left_out(tmp_path):
    run_dir, name = tmp_path / "run", "network-snapshot-000001.safetensors"
    run_dir.mkdir()
    for path in (tmp_path / "secret", run_dir / name):
        path.write_text("x")
    good = {"metric": "fid5k", "snapshot": name, "kimg": 1, "value": 2.0, "results": {}, "weights": "published"}
    wrong = [
        {"snapshot": "../secret"}, {"snapshot": str(tmp_path / "secret")}, {"snapshot": ".hidden"}, {"snapshot": 3},
        {"metric": "../fid5k"}, {"value": "low"}, {"value": 10**400}, {"results": {"x": None}}, {"seed": [1]},
        {"kimg": "1"}, {"num_fakes": "many"}, {"results": 1},
    ]  # fmt: skip
    lines = [json.dumps({**good, "kimg": 2, "value": 0.5, **change}) for change in wrong]
    lines += ["[" * 100_000, '{"metric": ' + "9" * 5000 + "}", json.dumps(good)]
    (run_dir / "metric-fid5k.jsonl").write_text("\n".join(lines) + "\n")

    assert [one.value for one in read_results(run_dir / "metric-fid5k.jsonl")] == [2.0]
    link_best(run_dir)
    assert os.readlink(run_dir / "best.safetensors") == name
