"""Named files in folders and zip archives."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib.errors import UserError
from training.data import archives
from training.data.archives import FolderFiles, ZipFiles, by_suffix, image_names, label_file, other_files, outside

CONTENT = {"b/1.png": b"one" * 100, "a.png": b"two", "b-1.png": b"", "b.png": bytes(range(256))}


@pytest.fixture(params=["folder", "stored", "deflated"])
def files(request, tmp_path):
    """The same files in each form."""
    if request.param == "folder":
        for name, data in CONTENT.items():
            (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / name).write_bytes(data)
        return FolderFiles(tmp_path / "x")
    return ZipFiles(write_zip(tmp_path / "x.zip", CONTENT, request.param == "deflated"))


def write_zip(path, content, deflated=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as z:
        z.mkdir("folder")
        for name, data in content.items():
            z.writestr(name, data)
    return path


def test_names_are_sorted_and_contents_are_whole(files):
    assert files.names == ["a.png", "b-1.png", "b.png", "b/1.png"] and not files.refused
    assert {name: files.read(name) for name in files.names} == CONTENT


def test_files_can_be_sent_to_another_process(files):
    files.read("a.png")
    again = pickle.loads(pickle.dumps(files))
    assert again.names == files.names and again.read("b/1.png") == CONTENT["b/1.png"]


def test_stamp_changes_with_a_file(tmp_path):
    for change in ({"a.png": b"owt"}, {"a.png": b"three"}):
        one = ZipFiles(write_zip(tmp_path / "1.zip", CONTENT))
        two = ZipFiles(write_zip(tmp_path / "2.zip", CONTENT | change))
        assert one.stamp(one.names) != two.stamp(two.names)
        assert one.stamp(["b.png"]) == two.stamp(["b.png"])
    (tmp_path / "x").mkdir()
    path = tmp_path / "x" / "a.png"
    path.write_bytes(b"x")
    folder = FolderFiles(tmp_path / "x")
    before = folder.stamp(["a.png"])
    os.utime(path, (1, 1))
    assert folder.stamp(["a.png"]) != before


def test_links_and_pipes_of_a_folder(tmp_path):
    """Links to files are followed; links to folders, to nothing and to themselves, and pipes are refused."""
    folder = tmp_path / "x"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "1.png").write_bytes(b"1")
    (folder / "deep" / "1.png").symlink_to(tmp_path / "1.png")
    (folder / "nothing.png").symlink_to(tmp_path / "nothing")
    (folder / "folder.png").symlink_to(tmp_path)
    (folder / "circle.png").symlink_to("circle.png")
    os.mkfifo(folder / "pipe.png")
    files = FolderFiles(folder)
    assert files.names == ["deep/1.png"] and files.read("deep/1.png") == b"1"
    for name in ("nothing", "folder", "circle", "pipe"):
        assert f"{folder}/{name}.png: neither a file nor a folder, or a link to none" in files.refused


def test_a_file_that_vanished_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    files = FolderFiles(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: cannot read: no such file"):
        files.read("a.png")


def test_members_that_are_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as z:
        for name in ("../0.png", "1.png", "/2.png", "C:\\3.png", "a/../../4.png"):
            z.writestr(name, b"x")
        link = zipfile.ZipInfo("5.png")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
        z.writestr("6.png", b"x")
        z.writestr("7.png", b"x")
    raw = path.read_bytes()
    at = raw.rindex(b"PK\x01\x02")  # the directory entry of the last file; its flags are 8 bytes further
    raw = raw[: at + 8] + b"\x01" + raw[at + 9 :]
    at = raw.rindex(b"PK\x01\x02", 0, at)  # that of the file before it; its method, Deflate64, 10 bytes further
    path.write_bytes(raw[: at + 10] + b"\x09" + raw[at + 11 :])
    files = ZipFiles(path)
    assert files.names == ["1.png"]
    reasons = dict(line.removeprefix(f"{path}: ").split(": ", 1) for line in files.refused)
    assert reasons == {
        "../0.png": "leads out of the archive",
        "/2.png": "an absolute or foreign path",
        "C:\\3.png": "an absolute or foreign path",
        "a/../../4.png": "leads out of the archive",
        "5.png": "a link",
        "6.png": "compression method 9, expected stored, deflated, bzip2 or LZMA",
        "7.png": "encrypted",
    }


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_compression_and_backslashes(tmp_path, method):
    """As zip tools of Windows write them."""
    content = {"a\\b\\c.png": bytes(range(256)) * 40, "a\\d.png": b"", "e.png": b"x"}
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as z:
        for name, data in content.items():
            z.writestr(name, data)
    files = ZipFiles(tmp_path / "x.zip")
    assert files.names == ["a/b/c.png", "a/d.png", "e.png"] and not files.refused
    assert {name: files.read(name) for name in files.names} == {n.replace("\\", "/"): d for n, d in content.items()}

    # Damage in the middle is reported.
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    for i in range(50, 80):
        raw[i] ^= 255
    (tmp_path / "x.zip").write_bytes(raw)
    with pytest.raises(UserError, match=r"x\.zip: a/b/c\.png: damaged"):
        ZipFiles(tmp_path / "x.zip").read("a/b/c.png")


@pytest.mark.parametrize(("method", "most"), [(zipfile.ZIP_BZIP2, 5_000_000), (zipfile.ZIP_LZMA, 10_000_000)])
def test_no_more_is_unpacked_than_promised(tmp_path, method, most):
    """LZMA has a dictionary of 8 MB."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as z:
        z.writestr("a.png", b"\0" * 50_000_000)
    raw = bytearray((tmp_path / "x.zip").read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)
    (tmp_path / "x.zip").write_bytes(raw)
    files = ZipFiles(tmp_path / "x.zip")
    tracemalloc.start()
    with pytest.raises(UserError, match=r"damaged: 1001 bytes, .* expected 1000"):
        files.read("a.png")
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_files_of_one_name_the_later_one_counts(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.png": b"old", "b.png": b"b"})
    with zipfile.ZipFile(path, "a") as z:
        z.writestr("a.png", b"new")
    files = ZipFiles(path)
    assert files.names == ["a.png", "b.png"] and files.read("a.png") == b"new"


def test_no_more_is_inflated_than_the_directory_promises(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"a.png": b"\0" * 50_000_000}, deflated=True)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(raw)
    files = ZipFiles(path)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"x\.zip: a\.png: damaged: 1001 bytes, .* expected 1000"):
        files.read("a.png")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_files_of_more_than_the_largest_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 255)
    files = ZipFiles(write_zip(tmp_path / "x.zip", CONTENT))
    with pytest.raises(UserError, match=r"b\.png: more than 255 bytes"):
        files.read("b.png")
    assert files.read("a.png") == b"two"


@given(st.integers(0, 10**9), st.integers(1, 255), st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_content_is_never_returned(tmp_path_factory, position, change, deflated):
    """Any changed byte leads to an error of one line that names the archive, or changes nothing of a file."""
    path = write_zip(tmp_path_factory.mktemp("zip") / "x.zip", CONTENT, deflated)
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= change
    path.write_bytes(raw)
    try:
        files = ZipFiles(path)
        contents = [files.read(name) for name in files.names]
    except UserError as e:
        assert str(e).startswith(f"{path}: ")
    else:
        assert all(data in CONTENT.values() for data in contents)


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_archive_is_one_line(data, tmp_path):
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"x\.zip: not a whole zip archive"):
        ZipFiles(tmp_path / "x.zip")


def test_an_archive_without_files(tmp_path):
    files = ZipFiles(write_zip(tmp_path / "x.zip", {}))
    assert files.names == [] and files.stamp([]) == b""


def test_the_index_is_small(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for i in range(2000):
            z.writestr(f"{i // 1000:05d}/img{i:08d}.png", b"x")
        z.writestr("large.png", b"x" * 10**6)
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    files = ZipFiles(tmp_path / "x.zip")
    files.read("large.png")
    assert len(pickle.dumps(files)) < 2000 * 100


def test_images_are_reported_from_other_files(tmp_path):
    names = ["a.PNG", "b/c.jpeg", "notes.txt", "d.txt", "e.mp4", "README", "dataset.json"]
    names += [".hidden.png", "__MACOSX/a.png", ".git/f.png", "b/._c.jpeg"]
    files = ZipFiles(write_zip(tmp_path / "x.zip", dict.fromkeys(names, b"")))
    assert image_names(files) == ["a.PNG", "b/c.jpeg"]
    assert by_suffix(other_files(files)) == "2 .txt, 1 without suffix, 1 .mp4"


def test_names_that_are_not_trusted():
    reasons = {name: outside(name) for name in ("a/b.png", "a/..b", "../a", "a/..", "/a", "C:a", "a\\b", "a\0")}
    foreign = "an absolute or foreign path"
    out = "leads out of the archive"
    assert list(reasons.values()) == [None, None, out, out, foreign, foreign, foreign, foreign]


@pytest.mark.parametrize(
    ("json", "expected"),
    [("", ""), ("x/", "x/"), ("x/y/", "x/y/"), ("x/y/z/", None), ("other/", None)],
)
def test_labels_are_in_a_folder_that_holds_all_images(tmp_path, json, expected):
    for name in ("x/y/a.png", "x/y/z/b.png", f"{json}dataset.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = label_file(FolderFiles(tmp_path), ["x/y/a.png", "x/y/z/b.png"])
    assert found == (None if expected is None else (f"{expected}dataset.json", expected))
