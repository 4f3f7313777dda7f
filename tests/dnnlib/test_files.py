import errno

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import atomic, remove_partial
from dnnlib.images import save_png, sheet
from dnnlib.stats import RunLog, format_time, read_stats


def test_atomic_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_atomic_reports_a_full_disk(tmp_path):
    with pytest.raises(UserError, match="cannot write: no space left on the device"), atomic(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_remove_partial(tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in (".a.1.partial", "sub/.b.2.partial"):
        (tmp_path / name).write_text("")
    others = ["keep", ".thesis.partial", "sub/deep/.c.3.partial"]  # not by our names, not where we write
    for name in others:
        (tmp_path / name).write_text("")
    remove_partial(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == sorted(others)


def test_sheet_places_images_row_by_row(tmp_path):
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    grid = sheet(images, 3, (4, 4))
    assert grid.shape == (3, 8, 12)
    np.testing.assert_array_equal(grid[0, ::4, ::4], [[0, 1, 2], [3, 4, 255]])
    save_png(grid, tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as im:
        np.testing.assert_array_equal(np.asarray(im).transpose(2, 0, 1), grid)


def test_resumed_log_drops_rows_past_the_checkpoint(tmp_path):
    log = RunLog(tmp_path, -1)
    for kimg in (1, 2, 3):
        log.write({"kimg": kimg, "Loss/D": 0.5})
    log.close()
    with open(tmp_path / "stats.jsonl", "a") as f:
        f.write('{"kimg": 4, "Lo')  # killed while writing
    log = RunLog(tmp_path, 2)
    log.write({"kimg": 3, "Loss/D": 0.7})
    log.close()
    assert [(r["kimg"], r["Loss/D"]) for r in read_stats(tmp_path / "stats.jsonl")] == [(1, 0.5), (2, 0.5), (3, 0.7)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (200, "3m 20s"), (7510, "2h 05m 10s"), (101400, "1d 04h 10m")],
)
def test_format_time(seconds, text):
    assert format_time(seconds) == text
