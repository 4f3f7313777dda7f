"""report.py as users have it."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from dnnlib.errors import UserError
from sharing.report.command import Options, main, write_report
from tests.runs import ENV, ROOT, SMALL, make_dataset, run_dirs, script, train
from tests.sharing.report.written_runs import write_run, write_sheets


@pytest.fixture
def run(tmp_path):
    run_dir = write_run(tmp_path / "results" / "00003-msg-stylegan-set-1gpu")
    write_sheets(run_dir, range(3))
    return run_dir


def report(*runs, folder, **options):
    write_report(Options(runs=tuple(map(str, runs)), output=folder / "report.html", **options))
    return (folder / "report.html").read_text()


def test_a_run_of_train_py(tmp_path):
    out = train(*SMALL, "--total-kimg", 0.128, "--metrics", "swd16", "--data", make_dataset(tmp_path / "blobs"),
                "--result-dir", tmp_path / "results")  # fmt: skip
    (run_dir,) = run_dirs(tmp_path / "results")

    # The command is in the last lines of the run.
    command = re.search(r"report    python (.+)", out.stdout)[1].split()
    assert command == ["report.py", str(run_dir)]
    made = script(*command, "--output", tmp_path / "new" / "page.html")
    assert re.fullmatch(r".*page.html: 1 run, 3 sheets, \d\.\d MB\n", made.stdout) and not made.stderr

    text = (tmp_path / "new" / "page.html").read_text()
    assert "0.128 of 0.128 kimg" in text and "swd16 at 0.128 kimg" in text and "finished" in text
    for title in ("Losses", "Scores", "Penalties", "Metric swd16", "Stability", "Speed", "Memory", "Learning rate"):
        assert f"<h3>{title}</h3>" in text, title
    assert len(text) < 6e6


def test_numbers_of_runs_and_labels(run, tmp_path):
    other = write_run(tmp_path / "elsewhere" / "00003-other")
    text = report("3", other, run, folder=tmp_path, result_dir=tmp_path / "results")
    assert "2 training runs" in text  # a run that is given twice counts once
    assert "3 · 00003-msg-stylegan-set-1gpu" in text and "3 (2) · 00003-other" in text


def test_old_runs_next_to_new_ones(run, tmp_path):
    (tmp_path / "loss.log").write_text("0\t1\t2\n1000\t1\t2\n")
    text = report(run, tmp_path / "loss.log", folder=tmp_path)
    assert "log of BMSG-GAN" in text and "thousand steps" in text


def test_a_run_without_sheets_or_with_a_sheet_of_one_level(run, tmp_path):
    shutil.copy(run / "8x8" / "fakes000002.png", run / "8x8" / "fakes000003.png")
    text = report(run, folder=tmp_path)
    assert '"kimg": [0.0, 1.0, 2.0]' in text

    shutil.rmtree(run / "4x4")
    shutil.rmtree(run / "8x8")
    assert 'id="samples"' not in report(run, folder=tmp_path, overwrite=True)


def test_names_that_are_no_text(tmp_path):
    run_dir = write_run(tmp_path / os.fsdecode(b"00001-\xff"), data="\ud800")
    assert "00001-?" in report(run_dir, folder=tmp_path)


def test_a_page_of_a_run_with_large_sheets_is_bounded(tmp_path):
    run_dir = write_run(tmp_path / "run")
    write_sheets(run_dir, range(16), sizes=(4, 128), noise=255)
    text = report(run_dir, folder=tmp_path, max_mb=7)
    assert 5e6 < len(text) < 7e6 and "of the 16 sheets" in text


def test_bad_input_leaves_nothing(run, tmp_path):
    cases = [
        (["nowhere"], "nowhere: no such run, expected a run dir, the number of a run, or the log of an old run"),
        (["12"], "run 12: 0 run dirs 00012-*"),
        ([tmp_path], "not a run dir: no stats.jsonl, loss.log or log.txt in it"),
        ([run / "config.json"], "config.json, line 1: found"),
    ]
    (tmp_path / "out").mkdir()
    for runs, message in cases:
        with pytest.raises(UserError, match=re.escape(message)):
            report(*runs, folder=tmp_path / "out", result_dir=tmp_path)
    (run / "4x4" / "fakes000001.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"fakes000001.png: not a readable image"):
        report(run, folder=tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_options_are_checked_before_anything_is_read(run, tmp_path, monkeypatch):
    cases = [
        ([], "expected a run dir, or several"),
        ([run, "--max-mb", 2], "--max-mb 2: expected 7 to 2000"),
        ([run, "--output", tmp_path / "page.pdf"], "expected a name that ends in one of .html, .htm"),
        ([run, "--unknown"], "--unknown"),
    ]
    for arguments, message in cases:
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
        with pytest.raises(UserError, match=message):
            main()


def test_the_process_reports_an_error_in_one_line_and_keeps_a_file_that_is_there(run, tmp_path):
    output = tmp_path / "page.html"
    output.write_text("mine")
    out = script("report.py", run, "--output", output, check=False)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr == f"error: --output {output}: exists already, choose another name, or add --overwrite\n"
    assert output.read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["page.html", "results"]


def test_an_interrupted_report_leaves_nothing(run, tmp_path):
    shutil.rmtree(run / "8x8")
    write_sheets(run, range(100), sizes=(4, 64), noise=255)
    for name in ("tmp", "out"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "report.py", str(run), "--output", str(tmp_path / "out" / "report.html")]
    process = subprocess.Popen(command, cwd=ROOT, env={**ENV, "TMPDIR": str(tmp_path / "tmp")}, stderr=subprocess.PIPE)

    # The film is made in a folder of its own.
    while not os.listdir(tmp_path / "tmp"):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and errors == b""
    assert os.listdir(tmp_path / "tmp") == os.listdir(tmp_path / "out") == []
