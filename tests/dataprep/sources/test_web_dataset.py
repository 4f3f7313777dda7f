import gzip
import io
import sys
import tarfile

import numpy as np
import pytest
import webdataset

from dataprep.sources import web_dataset
from dataprep.sources.web_dataset import create_from_webdataset
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_images, png, tar
from tests.runs import script
from training.data.tfrecord import TFRecordDataset


def shards(folder, kind="cls", n=10, per=4, suffix=""):
    folder.mkdir()
    label = {
        "cls": lambda i: {"cls": i % 3},
        "json": lambda i: {"json": {"kind": i % 3, "parts": [i / 4, 1.5]}},
        "npy": lambda i: {"npy": np.array([i / 4, 1.5], np.float32)},
        "none": lambda i: {"txt": f"caption {i}"},
    }[kind]
    for s in range(0, n, per):
        with webdataset.TarWriter(str(folder / f"a-{s:04d}.tar{suffix}")) as out:
            for i in range(s, min(s + per, n)):
                out.write({"__key__": f"dir/{i:06d}", "png": png(i), **label(i)})
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("kind", "option", "expected"),
    [
        ("cls", "auto", np.eye(3)[np.arange(10) % 3]),
        ("cls", "none", None),
        ("json", "json:kind", np.eye(3)[np.arange(10) % 3]),
        ("json", "json:parts", [[i / 4, 1.5] for i in range(10)]),
        ("npy", "npy", [[i / 4, 1.5] for i in range(10)]),
        ("none", "auto", None),
    ],
)
def test_webdataset(kind, option, expected, suffix, tmp_path):
    folder = shards(tmp_path / "in", kind, suffix=suffix)
    create_from_webdataset(tmp_path / "out", (folder,), label=option)
    check_images(tmp_path / "out", range(10), expected)


def test_webdataset_command_with_single_shards_and_a_subset(tmp_path):
    files = sorted(shards(tmp_path / "in").iterdir())
    script("dataset_tool.py", "create_from_webdataset", tmp_path / "out", files[2], files[0], "--max-images", 5)
    check_images(tmp_path / "out", [8, 9, 0, 1, 2], np.eye(3)[[2, 0, 0, 1, 2]])
    script("dataset_tool.py", "create_from_webdataset", tmp_path / "part", tmp_path / "in", "--subset", 4)
    kept = sorted(np.random.RandomState(123).permutation(10)[:4].tolist())
    check_images(tmp_path / "part", kept, np.eye(3)[[k % 3 for k in kept]])


def test_tar_members_that_lead_out_are_left_out_and_listed(tmp_path, capsys):
    path = tar(
        tmp_path / "a.tar", ("../0.png", png(0)), ("1.png", png(1)), ("/2.png", png(2)),
        ("3.png", (tarfile.SYMTYPE, "/etc/passwd")), ("4.png", (tarfile.LNKTYPE, "1.png")), ("5.png", b"broken"),
    )  # fmt: skip
    create_from_webdataset(tmp_path / "out", (path,))
    check_images(tmp_path / "out", [1])
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert listed.count("\n") == 5 and listed.count("a link or device") == 2
    assert "../0.png: leads out of the archive" in listed and "/2.png: an absolute or foreign path" in listed
    assert "5.png: not a readable image" in listed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"x" * 5000), "not a whole tar archive"),
        (lambda p: p.write_bytes(b""), "not a whole tar archive"),
        (lambda p: tar(p, ("a.txt", b"x")), "no image in 1 shards"),
        (lambda p: p.write_bytes(gzip.compress(b"x" * 5000)[:40]), "not a whole tar archive"),
        (lambda p: tar(p, ("1.png", png(1)), ("1.cls", b"cat")), "1.cls: not a label"),
        (lambda p: tar(p, ("1.png", png(1)), ("1.cls", b"1"), ("2.png", png(2))), "2: no .cls beside it"),
        (lambda p: tar(p, ("1.png", png(1)), ("1.cls", b"70000")), "class 70000, expected 0 to 65535"),
    ],
)
def test_bad_shards_are_reported(make, message, tmp_path):
    make(tmp_path / "a.tar")
    with pytest.raises(UserError) as e:
        create_from_webdataset(tmp_path / "out", (tmp_path / "a.tar",))
    assert message in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("cut", ["header", "member", "middle of a header"])
def test_a_cut_shard_is_reported(cut, tmp_path):
    """What comes before it is kept, and what is lost is listed."""
    path = tar(tmp_path / "a.tar", *[(f"{i}.png", png(i)) for i in range(6)])
    with tarfile.open(path) as t:
        at = t.getmember("4.png").offset
    raw = bytearray(path.read_bytes())
    if cut == "header":
        raw[at + 100] ^= 255
    else:
        raw = raw[: at + (700 if cut == "member" else 200)]
    path.write_bytes(raw)
    create_from_webdataset(tmp_path / "out", (path,))
    data = TFRecordDataset(tmp_path / "out")
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert 3 <= len(data) <= 4 and f"a.tar: damaged after {len(data)} samples, the rest of it is left out" in listed


@pytest.mark.parametrize(
    ("name", "content", "label", "expected"),
    [
        ("json", b'{"k": "10"}', "json:k", None),
        ("json", b'{"k": {"3": 1}}', "json:k", None),
        ("json", b'{"k": 0.5}', "json:k", [[0.5]]),
        ("cls", b"007", "cls", [[0] * 7 + [1]]),
        ("npy", b"PK..garbage", "npy", None),
        ("npy", None, "npy", None),
    ],
)
def test_labels_of_a_webdataset_are_not_guessed(name, content, label, expected, tmp_path):
    if content is None:  # a header that promises much
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (10**10,)})
        content = buffer.getvalue()
    path = tar(tmp_path / "a.tar", ("1.png", png(1)), (f"1.{name}", content))
    if expected is None:
        with pytest.raises(UserError, match=f"1.{name}: not a label"):
            create_from_webdataset(tmp_path / "out", (path,), label=label)
    else:
        create_from_webdataset(tmp_path / "out", (path,), label=label)
        check_images(tmp_path / "out", [1], expected)


def test_labels_are_found_behind_an_empty_shard(tmp_path):
    a = tar(tmp_path / "a.tar", ("readme.txt", b"x"))
    b = tar(tmp_path / "b.tar", ("1.png", png(1)), ("1.cls", b"1"))
    create_from_webdataset(tmp_path / "out", (a, b))
    check_images(tmp_path / "out", [1], [[0, 1]])
    with pytest.raises(UserError, match="no shards named"):
        create_from_webdataset(tmp_path / "x", ())


def test_webdataset_without_its_library(tmp_path, monkeypatch):
    path = tar(tmp_path / "a.tar", ("1.png", png(1)))
    monkeypatch.setitem(sys.modules, "webdataset", None)
    monkeypatch.setitem(sys.modules, "webdataset.tariterators", None)
    with pytest.raises(UserError, match="create_from_webdataset: needs webdataset: pip install webdataset"):
        create_from_webdataset(tmp_path / "out", (path,))


def test_a_second_file_of_one_name_is_left_out_and_listed(tmp_path):
    path = tar(tmp_path / "a.tar", ("1.png", png(1)), ("1.PNG", png(2)), ("3.png", png(3)), (".4.png", png(4)))
    create_from_webdataset(tmp_path / "out", (path,))
    check_images(tmp_path / "out", [1, 3])
    assert "1.PNG: duplicate file name" in (tmp_path / "out" / "skipped.txt").read_text()


def test_a_file_that_is_too_large_ends_its_shard(tmp_path, monkeypatch):
    """Nothing is read on the word of a header."""
    path = tar(tmp_path / "a.tar", ("1.png", png(1)), ("2.png", png(2)), ("3.png", bytes(5000)), ("4.png", png(4)))
    monkeypatch.setattr(web_dataset, "LARGEST", 4000)
    create_from_webdataset(tmp_path / "out", (path, tar(tmp_path / "b.tar", ("5.png", png(5)))))
    check_images(tmp_path / "out", [1, 5])
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert "a.tar: damaged after 1 samples" in listed and "3.png: 5000 bytes, expected at most 4000" in listed


def test_no_label_is_unpickled(tmp_path):
    """A pickle that would make a folder, under every extension that could be taken for one."""
    code = b"cos\nmkdir\n(S'" + str(tmp_path / "made").encode() + b"'\ntR."
    for extension in ("pkl", "pickle", "pyd", "pth", "npy", "cls"):
        path = tar(tmp_path / f"{extension}.tar", ("1.png", png(1)), (f"1.{extension}", code))
        with pytest.raises(UserError, match=f"1.{extension}: not a label"):
            create_from_webdataset(tmp_path / "out", (path,), label=extension)
    assert not (tmp_path / "made").exists()
