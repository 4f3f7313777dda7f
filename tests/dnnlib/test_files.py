import errno

import pytest

from dnnlib.errors import UserError
from dnnlib.files import atomic, lock, make_dir, read_json, remove_partial


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


def test_atomic_folder_is_whole_or_absent(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        (temporary / "sub").mkdir(parents=True)
        (temporary / "sub" / "half").write_text("")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    path.mkdir()  # an empty folder may be there already
    with atomic(path) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("new")
    assert (path / "file").read_text() == "new"
    with pytest.raises(UserError, match="x: cannot write: directory not empty"), atomic(path) as temporary:
        temporary.mkdir()
    assert (path / "file").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    with atomic(tmp_path / "x") as first:
        with atomic(tmp_path / "x") as second:
            first.write_text("first")
            second.write_text("second")
        assert (tmp_path / "x").read_text() == "second"
    assert (tmp_path / "x").read_text() == "first"


def test_a_lock_is_held_until_the_file_is_closed(tmp_path):
    with open(tmp_path / "x", "w") as first:
        assert lock(first)
        with open(tmp_path / "x") as second:
            assert not lock(second)
    with open(tmp_path / "x") as third:
        assert lock(third)


def test_make_dir_makes_parents_and_reports_what_is_in_the_way(tmp_path):
    assert make_dir(tmp_path / "a" / "b") == make_dir(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "a" / "file").write_text("")
    with pytest.raises(UserError, match="file/c: cannot create the folder: not a directory"):
        make_dir(tmp_path / "a" / "file" / "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.json: cannot read: no such file"),
        (b"{", "x.json: not JSON: .*, expected options"),
        (b"\xff", "not JSON"),
    ],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content, message):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(path, "options")
    path.write_text('{"a": [1]}')
    assert read_json(path, "options") == {"a": [1]}
