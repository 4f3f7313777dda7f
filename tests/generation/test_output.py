"""Where commands write."""

import zipfile
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from generation.output import add_to_zip, check_fps, check_frame, check_outdir, check_output, in_threads, write_file


def test_a_free_name_of_a_known_kind_is_accepted(tmp_path):
    check_output(tmp_path / "new" / "a.PNG", (".png",), overwrite=False)
    check_output(tmp_path / "frames", (".mp4", ""), overwrite=False)


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"a.jpg: expected a name that ends in one of .mp4, or a name without a suffix \(a folder\)"
    ):
        check_output(tmp_path / "a.jpg", (".mp4", ""), overwrite=False)


def test_what_exists_is_replaced_only_if_asked_for_and_folders_never(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"a.png: exists already, choose another name, or add --overwrite"):
        check_output(tmp_path / "a.png", (".png",), overwrite=False)
    check_output(tmp_path / "a.png", (".png",), overwrite=True)

    (tmp_path / "frames").mkdir()
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"frames: exists already, choose another name$"):
            check_output(tmp_path / "frames", ("",), overwrite)


def test_places_that_cannot_be_written_to_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output .*a.png: .*file is a file, expected a folder"):
        check_output(tmp_path / "file" / "x" / "a.png", [".png"], overwrite=True)
    with pytest.raises(UserError, match=r"--outdir .*x: .*file is a file, expected a folder"):
        check_outdir(tmp_path / "file" / "x", [], overwrite=True)

    # Whoever runs the tests may have the right to write anywhere.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(UserError, match="cannot be written to"):
        check_output(tmp_path / "new" / "a.png", [".png"], overwrite=False)


def test_a_folder_must_not_hold_files_of_the_same_names(tmp_path):
    check_outdir(tmp_path / "new", ["a.png"], overwrite=False)
    (tmp_path / "a.png").touch()
    check_outdir(tmp_path, ["b.png"], overwrite=False)
    check_outdir(tmp_path, ["a.png"], overwrite=True)
    with pytest.raises(UserError, match=r"a\.png exists already, choose another folder, or add --overwrite"):
        check_outdir(tmp_path, ["b.png", "a.png"], overwrite=False)
    with pytest.raises(UserError, match=r"a\.png: a file, expected a folder"):
        check_outdir(tmp_path / "a.png", [], overwrite=True)


@pytest.mark.parametrize("fps", [0, -1, 241, float("nan")])
def test_rates_that_no_film_has(fps):
    with pytest.raises(UserError, match="--fps"):
        check_fps(fps, Path("film.mp4"))


def test_gifs_are_slower():
    check_fps(50, Path("film.GIF"))
    with pytest.raises(UserError, match=r"--fps 60: expected 0\.1 to 50 in a \.gif"):
        check_fps(60, Path("film.gif"))


def test_films_have_a_largest_size():
    check_frame(8192, 8192, "--size 9")
    with pytest.raises(UserError, match="--size 9: frames of 8193x8 pixels, expected at most 8192 either way"):
        check_frame(8193, 8, "--size 9")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_file(tmp_path / "a.png", b"data")
    with pytest.raises(UserError, match=r"b\.png: cannot write: no such file"):
        write_file(tmp_path / "missing" / "b.png", b"data")
    with pytest.raises(UserError, match="cannot write: file name too long"):
        write_file(tmp_path / f"{'n' * 300}.png", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == b"data"


@pytest.mark.parametrize("beside", [False, True])
def test_results_of_threads_come_in_order_and_items_are_drawn_as_needed(beside):
    drawn = []
    results = in_threads(lambda x: x * x, (drawn.append(k) or k for k in range(1000)), beside)
    assert next(results) == 0 and len(drawn) < 200
    assert list(results) == [x * x for x in range(1, 1000)]


def test_the_same_files_make_the_same_zip(tmp_path):
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            add_to_zip(archive, "x.png", b"data")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
