import pytest

from dnnlib.errors import UserError
from generation.output import check_output


def test_a_free_name_of_a_known_kind_is_accepted(tmp_path):
    check_output(tmp_path / "new" / "a.PNG", (".png",), overwrite=False)
    check_output(tmp_path / "frames", (".mp4", ""), overwrite=False)


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.jpg: expected a name that ends in one of .mp4, no suffix \(a folder\)"):
        check_output(tmp_path / "a.jpg", (".mp4", ""), overwrite=False)


def test_what_exists_is_replaced_only_if_asked_for_and_folders_never(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"a.png: exists already, expected a new name, or --overwrite"):
        check_output(tmp_path / "a.png", (".png",), overwrite=False)
    check_output(tmp_path / "a.png", (".png",), overwrite=True)

    (tmp_path / "frames").mkdir()
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"frames: exists already, expected a new name$"):
            check_output(tmp_path / "frames", ("",), overwrite)
