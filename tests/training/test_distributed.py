"""N processes are one process with N micro-batches."""

import subprocess
import sys

import pytest

from tests.runs import ENV, ROOT, losses, make_dataset, newest_checkpoint, run_dirs, tensors, train

ARGS = ["tiny", "--resolution", "16", "--batch", "8", "--micro-batch", "4", "--total-kimg", "0.024",
        "--tick-kimg", "0.024", "--precision", "fp32", "--loss.style-mixing-prob", "0.5", "--mirror"]  # fmt: skip
PROGAN = ["progan-robohash", *ARGS[1:-3], "--G.z-dim", "8", "--D.features", "8", "--loss.r1-gamma", "1", "--mirror"]
# The probability changes after every second of the three steps.
ADA = [*ARGS, "--augment.name", "ada", "--augment.kimg", "0.05", "--augment.interval", "2", "--augment.target", "-1"]
BALANCED = [*ARGS, "--balance-classes"]
WGAN_GP = [*ARGS, "--loss.name", "wgan-gp"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "blobs")


def run(args, data, results, gpus):
    train(*args, "--data", data, "--result-dir", results, "--gpus", gpus)
    (folder,) = run_dirs(results)
    assert folder.name == f"00000-{'msg-progan' if args is PROGAN else 'msg-stylegan'}-blobs-{gpus}gpu"
    return folder


@pytest.mark.parametrize(
    "args",
    [ARGS, PROGAN, WGAN_GP, ADA, BALANCED],
    ids=["msg-stylegan", "msg-progan", "wgan-gp", "ada", "balanced"],
)
def test_two_ranks_equal_one_with_two_micro_batches(args, data, tmp_path):
    one, two = (run(args, data, tmp_path / str(n), n) for n in (1, 2))
    a, b = newest_checkpoint(one), newest_checkpoint(two)
    assert a["progress"]["cur_nimg"] == 24 == 3 * 8
    for part in ("G", "D", "G_ema", "G_opt", "D_opt", "augmenter"):
        theirs = tensors(b[part])
        for name, t in tensors(a[part]).items():
            worst = (t.double() - theirs[name].double()).abs().max().item()
            assert worst <= 1e-6 * max(t.double().abs().max().item(), 1e-3), f"{part}{name}: {worst}"
    assert args is PROGAN or a["G"]["mapping.w_avg"].abs().max() > 0
    assert args is not ADA or a["augmenter"]["p"].item() == pytest.approx(0.32)  # 16 of 50 images
    for x, y in zip(losses(one), losses(two), strict=True):
        assert x == pytest.approx(y, rel=1e-6)


@pytest.mark.parametrize("micro_batch", [2, None])
def test_a_run_goes_on_with_fewer_or_more_processes(data, tmp_path, micro_batch):
    """The run stays one, and sees the same images in the same order; sums are rounded in another order."""
    options = ["tiny", "--resolution", 16, "--batch", 8, "--tick-kimg", 0.008, "--precision", "fp32", "--mirror",
               "--data", data, "--resume", "auto", "--result-dir"]  # fmt: skip
    options[1:1] = ["--micro-batch", micro_batch] if micro_batch else []

    # Without a micro-batch, each of 2 processes takes 4 images a pass, which remains when there are others. Rounding
    # grows with each step, from 10^-8 in the first to 10^-2 in the ninth, so each number of processes takes one.
    before = None
    for gpus, kimg in ((2, 0.008), (1, 0.016), *([(4, 0.024)] if micro_batch else [])):
        out = train(*options, tmp_path / "changing", "--gpus", gpus, "--total-kimg", kimg).stdout
        assert before is None or f"continued with --gpus {gpus}, so far {before}" in out
        before = gpus
    train(*options, tmp_path / "steady", "--gpus", 2, "--total-kimg", kimg)
    [changing], [steady] = run_dirs(tmp_path / "changing"), run_dirs(tmp_path / "steady")
    assert newest_checkpoint(changing)["config"]["micro_batch"] == (micro_batch or 4)
    for x, y in zip(losses(changing), losses(steady), strict=True):
        assert x == pytest.approx(y, rel=1e-3, abs=1e-6)


def test_wrong_number_of_processes_is_reported(data, tmp_path):
    out = train(*ARGS, "--data", data, "--result-dir", tmp_path, "--gpus", 3, check=False)
    assert out.returncode == 2 and "batch 8: expected a multiple of gpus 3" in out.stderr


def test_classes_that_are_not_there_cannot_be_balanced(data, tmp_path):
    out = train(*BALANCED, "--data", data, "--no-use-labels", "--result-dir", tmp_path / "r", check=False)
    assert out.returncode == 2 and "balance_classes: the dataset has no labels" in out.stderr
    assert not (tmp_path / "r").exists()


def test_error_in_the_workers_is_one_line(data, tmp_path):
    (tmp_path / "file").write_text("")
    out = train(*ARGS, "--data", data, "--result-dir", tmp_path / "file", "--gpus", 2, check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    assert len([line for line in out.stderr.splitlines() if line.startswith("error:")]) == 1


@pytest.mark.parametrize(("kind", "status", "text"), [("user", 2, "error: only rank 1 knows"), ("bug", 1, "a bug")])
def test_error_of_any_rank_is_reported(kind, status, text):
    command = [sys.executable, "-m", "tests.failing_rank", kind]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=100)
    assert out.returncode == status and text in out.stderr
    assert ("Traceback" in out.stderr) == (kind == "bug")
