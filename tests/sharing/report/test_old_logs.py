"""Logs of the original systems."""

import pytest
from torch.utils.tensorboard import SummaryWriter

from dnnlib.errors import UserError
from sharing.report.old_logs import read_old_run

SPEED = "minibatch 16   time {}  sec/tick 840.2   sec/kimg {}    maintenance 63.9   gpumem {}"
TICKS = f"""dnnlib: Running train.training_loop() on localhost...
Building TensorFlow graph...
tick 1     kimg 140.3    {SPEED.format("15m 04s    ", "5.99", "4.1 ")}
tick 2     kimg 280.6    lod 7.00  {SPEED.format("1d 02h 30m ", "4.00", "7.3 ")}
tick 3     kimg 42"""


def test_loss_log_of_bmsg_gan(tmp_path):
    (tmp_path / "exp").mkdir()
    path = tmp_path / "exp" / "loss.log"
    path.write_text("0\t1.5\t2.5\n1000\t0.5\tnan\n")
    for given in (path, path.parent):
        record = read_old_run(given)
        assert (record.name, record.unit, record.progress) == ("exp", "thousand steps", 1)
        assert record.curves["Loss/D"].y.tolist() == [1.5, 0.5] and record.last("Loss/G") != record.last("Loss/G")


def test_a_loss_log_of_a_continued_run_goes_on_where_it_was(tmp_path):
    path = tmp_path / "loss.log"
    path.write_text("0\t1\t2\n2000\t1\t2\n0\t1\t2\n500\t1\t2\n1500\t1\t2\n0\t1\t2\n100\t1")
    assert read_old_run(path).curves["Loss/D"].x.tolist() == [0, 2, 2, 2.5, 3.5, 3.5]


def test_log_txt_of_msg_stylegan_tf(tmp_path):
    (tmp_path / "log.txt").write_text(TICKS)
    record = read_old_run(tmp_path)
    assert record.state == "log of msg-stylegan-tf" and record.progress == 280.6
    assert record.curves["img_per_sec"].y.tolist() == pytest.approx([1000 / 5.99, 250])
    assert record.curves["total_sec"].y.tolist() == [904, 86400 + 2 * 3600 + 30 * 60]
    assert record.curves["Resources/peak_gpu_mem_gb"].y.tolist() == [4.1, 7.3]
    assert "Loss/scores/real" not in record.curves and "events.out.tfevents" in record.notes[0]


def test_losses_of_msg_stylegan_tf_come_from_its_events(tmp_path):
    (tmp_path / "log.txt").write_text(TICKS)
    with SummaryWriter(str(tmp_path)) as events:
        for nimg in (140300, 280600):
            events.add_scalar("Loss/scores/real", nimg / 1e5, global_step=nimg)
            events.add_scalar("xCustomScalars/Loss/scores/real/margin_lo", 0, global_step=nimg)
        events.add_scalar("Metrics/fid50k", 12.5, global_step=280600)

    record = read_old_run(tmp_path / "log.txt")
    assert record.curves["Loss/scores/real"].x.tolist() == [140.3, 280.6] and not record.notes
    assert record.curves["Loss/scores/real"].y.tolist() == pytest.approx([1.403, 2.806])
    assert record.metrics["fid50k"]["value"].y.tolist() == [12.5]
    assert {name.partition("/")[0] for name in record.curves} == {"img_per_sec", "total_sec", "Resources", "Loss"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines in it, expected a loss.log of BMSG-GAN or a log.txt of msg-stylegan-tf"),
        ("hello\n", "line 1: found 'hello', expected `step<tab>loss of D<tab>loss of G`"),
        ("0\t1\t2\nx\t1\t2\n10\t1\t2\n", "line 2: found"),
        ("0\t1\n", "line 1: found"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "loss.log"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_old_run(path)


def test_a_folder_without_logs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a run dir: no stats.jsonl, loss.log or log.txt in it"):
        read_old_run(tmp_path)
