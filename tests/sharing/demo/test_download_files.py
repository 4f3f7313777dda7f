"""Files that visitors may download."""

from sharing.demo import download_files
from sharing.demo.download_files import DownloadFiles


def test_files_of_one_name_do_not_meet_and_old_ones_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(download_files, "MOST_FILES", 3)
    files = DownloadFiles(tmp_path / "new")
    unwritten = files.new("walk.mp4")
    paths = [files.write("a.png", bytes([i])) for i in range(4)]
    assert len(set(paths)) == 4 and not unwritten.parent.exists()
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.png")) == [b"\x01", b"\x02", b"\x03"]
