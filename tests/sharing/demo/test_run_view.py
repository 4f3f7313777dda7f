"""What the page shows of a run."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from dnnlib.files import lock
from sharing.demo import run_view
from sharing.demo.run_view import RunWatch
from tests.sharing.report.written_runs import row, write_run, write_sheets


def test_sheets_and_curves_newest_first(tmp_path):
    run_dir = write_run(tmp_path / "00003-run", kimg=2)
    write_sheets(run_dir, range(1, 4))
    view = RunWatch(run_dir).look()
    assert view.state == "00003-run: stopped before its end, 2 of 3 kimg"
    assert [title for _, title in view.sheets] == ["3 kimg", "2 kimg", "1 kimg"]
    reds = [np.asarray(Image.open(io.BytesIO(data)))[..., 0].max() for data, _ in view.sheets]
    assert reds == [30, 20, 10]  # the sheets' own pixels
    assert {trace.name for trace in view.losses.data} == {"D", "G"}
    assert {trace.name for trace in view.scores.data} == {"real", "fake"}


def test_the_version_changes_with_the_run(tmp_path):
    run_dir = write_run(tmp_path / "run", total=9)
    write_sheets(run_dir, range(1, 2))
    watch = RunWatch(run_dir)
    seen = [watch.version()]
    assert watch.version() == seen[0]
    write_sheets(run_dir, range(2, 3))
    seen.append(watch.version())
    (run_dir / "network-snapshot-000002.safetensors").write_bytes(b"")
    seen.append(watch.version())
    with open(run_dir / "stats.jsonl", "a") as stats:
        stats.write(json.dumps(row(4)) + "\n")
    seen.append(watch.version())
    with open(run_dir / ".lock", "w") as held:  # a process that trains
        lock(held)
        seen.append(watch.version())
        assert "training now" in watch.look().state
    assert len(set(seen)) == 5 and watch.version() == seen[3]


def test_a_run_that_has_just_begun(tmp_path):
    view = RunWatch(tmp_path).look()
    assert view.state.startswith("No curves yet: stats.jsonl: ") and view.sheets == [] and view.losses is None


def test_damaged_sheets_are_left_out_and_only_the_newest_shown(tmp_path, monkeypatch):
    run_dir = write_run(tmp_path / "run")
    write_sheets(run_dir, range(1, 6))
    (run_dir / "8x8" / "fakes000004.png").write_bytes(b"nothing")
    monkeypatch.setattr(run_view, "MOST_SHEETS", 3)
    assert [title for _, title in RunWatch(run_dir).look().sheets] == ["5 kimg", "3 kimg"]


@pytest.mark.parametrize("size", [8, 256])
def test_a_sheet_fits_the_page(tmp_path, size):
    run_dir = write_run(tmp_path / "run")
    write_sheets(run_dir, range(1, 2), sizes=(4, size))
    ((data, _),) = RunWatch(run_dir).look().sheets
    assert max(Image.open(io.BytesIO(data)).size) <= run_view.SHEET_SIZE
