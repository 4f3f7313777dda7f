"""Collections of the field's forms, made by the formats' own libraries; hostile and damaged ones."""

import gzip
import io
import json
import os
import tarfile
import tracemalloc
import zipfile

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dataprep.build import Output
from dataprep.rules import Rules
from dataprep.sources.hugging_face import create_from_hf
from dataprep.sources.images import ImageFiles, create_from_images, open_files
from dataprep.sources.web_dataset import WebDataset, create_from_webdataset
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.runs import script
from training.data import labels
from training.data.archives import FolderFiles, ZipFiles
from training.data.dataset import open_dataset
from training.data.tfrecord import TFRecordDataset


def image(i, size=16):
    return np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(i, size=16):
    buffer = io.BytesIO()
    Image.fromarray(image(i, size)).save(buffer, format="PNG")
    return buffer.getvalue()


def check(folder, indices, expected=None):
    """The dataset has these images in this order, and these labels."""
    data = TFRecordDataset(folder)
    assert len(data) == len(indices)
    for k, i in enumerate(indices):
        np.testing.assert_array_equal(data[k][0], image(i).transpose(2, 0, 1))
    np.testing.assert_array_equal(data.labels, np.zeros((len(data), 0)) if expected is None else expected)


# tar shards


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
    check(tmp_path / "out", range(10), expected)


def test_webdataset_command_with_single_shards_and_a_subset(tmp_path):
    files = sorted(shards(tmp_path / "in").iterdir())
    script("dataset_tool.py", "create_from_webdataset", tmp_path / "out", files[2], files[0], "--max-images", 5)
    check(tmp_path / "out", [8, 9, 0, 1, 2], np.eye(3)[[2, 0, 0, 1, 2]])
    script("dataset_tool.py", "create_from_webdataset", tmp_path / "part", tmp_path / "in", "--subset", 4)
    kept = sorted(np.random.RandomState(123).permutation(10)[:4].tolist())
    check(tmp_path / "part", kept, np.eye(3)[[k % 3 for k in kept]])


def tar(path, *members):
    with tarfile.open(path, "w") as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = data
                t.addfile(info)
    return path


def test_tar_members_that_lead_out_are_left_out_and_listed(tmp_path, capsys):
    path = tar(
        tmp_path / "a.tar", ("../0.png", png(0)), ("1.png", png(1)), ("/2.png", png(2)),
        ("3.png", (tarfile.SYMTYPE, "/etc/passwd")), ("4.png", (tarfile.LNKTYPE, "1.png")), ("5.png", b"broken"),
    )  # fmt: skip
    create_from_webdataset(tmp_path / "out", (path,))
    check(tmp_path / "out", [1])
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
def test_bad_shards_are_told(make, message, tmp_path):
    make(tmp_path / "a.tar")
    with pytest.raises(UserError) as e:
        create_from_webdataset(tmp_path / "out", (tmp_path / "a.tar",))
    assert message in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["a.tar"]


# Hugging Face


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    base = tmp_path_factory.mktemp("hf")
    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c", "d"]),
         "parts": datasets.Sequence(datasets.Value("float32"))}
    )  # fmt: skip

    def part(indices):
        rows = {
            "photo": [Image.fromarray(image(i)) for i in indices],
            "kind": [i % 3 for i in indices],
            "parts": [[i / 4, 1.5] for i in indices],
        }
        return datasets.Dataset.from_dict(rows, features=features)

    both = datasets.DatasetDict({"train": part(range(70)), "test": part(range(70, 75))})
    (base / "hub" / "data").mkdir(parents=True)
    for k in range(2):
        shard = both["train"].shard(2, k, contiguous=True)
        shard.to_parquet(str(base / "hub" / "data" / f"train-{k:05d}-of-00002.parquet"))
    both["test"].to_parquet(str(base / "hub" / "data" / "test-00000-of-00001.parquet"))
    both.save_to_disk(str(base / "saved"))
    return base


@pytest.mark.parametrize("form", ["hub", "saved"])
def test_hugging_face(form, hub, tmp_path):
    create_from_hf(tmp_path / "train", hub / form, split="train")
    check(tmp_path / "train", range(70), np.eye(4)[np.arange(70) % 3])
    facts = json.loads((tmp_path / "train" / "dataset.json").read_text())
    assert facts["classes"] == ["a", "b", "c", "d"] and facts["image"] == "photo"
    script("dataset_tool.py", "create_from_hf", tmp_path / "test", hub / form, "--split", "test", "--label", "parts")
    check(tmp_path / "test", range(70, 75), [[i / 4, 1.5] for i in range(70, 75)])
    with pytest.raises(UserError, match="has the splits test, train, expected one to be chosen with --split"):
        create_from_hf(tmp_path / "x", hub / form)
    with pytest.raises(UserError, match=r"--split valid: not in .*, expected one of test, train"):
        create_from_hf(tmp_path / "x", hub / form, split="valid")


def test_plain_parquet_with_files_beside_it(tmp_path):
    """A column of bytes; and structs whose images lie beside the file, or lead elsewhere."""
    table = pyarrow.table({"i": [png(0), png(1), b"broken"], "label": [1, 0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    create_from_hf(tmp_path / "a", tmp_path / "a.parquet")
    check(tmp_path / "a", [0, 1], [[0, 1], [1, 0]])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "3.png").write_bytes(png(3))
    cells = [{"bytes": None, "path": "3.png"}, {"bytes": None, "path": "../a.parquet"}, {"bytes": png(4), "path": None}]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.table({"image": pyarrow.array(cells, kind)}), tmp_path / "in" / "b.parquet")
    create_from_hf(tmp_path / "b", tmp_path / "in")
    check(tmp_path / "b", [3, 4])
    assert "row 1: its image is not in the file but at ../a.parquet" in (tmp_path / "b" / "skipped.txt").read_text()


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"text": ["a"]}, {}, "no column of images, found ['text']"),
        ({"i": [b"x"]}, {"image": "photo"}, "no column of images photo, found ['i']"),
        ({"i": [b"x"]}, {"label": "kind"}, "--label kind: no such column"),
        ({"i": [b"x"], "label": ["cat"]}, {}, "column label is string, expected class numbers"),
        ({"i": [b"x"], "label": [-1]}, {}, "row 0: label -1, expected"),
        ({"i": [b"x"]}, {}, "no image to write; 1 skipped"),
    ],
)
def test_bad_tables_are_told(table, options, message, tmp_path):
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(UserError) as e:
        create_from_hf(tmp_path / "out", tmp_path / "a.parquet", **options)
    assert message in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_damaged_tables_are_told(name, tmp_path):
    (tmp_path / name).write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(UserError, match="not readable"):
        create_from_hf(tmp_path / "out", tmp_path / name)


# folders and zips


def test_a_zip_gives_what_its_folder_does(tmp_path):
    folder = tmp_path / "in"
    names = ["all/cats/b.png", "all/cats/deep/c.png", "all/a-dogs/d.png", "all/cats.png/e.png"]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(i))
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for name in names[::-1]:
            z.write(folder / name, name)
    for source in ("in", "in.zip"):
        out = tmp_path / f"out-{source}" / "x"
        create_from_images(out, tmp_path / source, shuffle=0, labels="folders")
        check(out, [2, 3, 0, 1], np.eye(3)[[0, 2, 1, 1]])  # the folder around everything is no class


def test_zip_members_that_lead_out_are_left_out_and_listed(tmp_path):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as z:
        for i, name in enumerate(["../0.png", "1.png", "/2.png", "C:\\3.png", "a/../../4.png", "5.png"]):
            z.writestr(name, png(i))
        link = zipfile.ZipInfo("6.png")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
        z.writestr("7.png", png(7), zipfile.ZIP_LZMA)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as z:
        raw[z.getinfo("5.png").header_offset + 60] ^= 255
    path.write_bytes(raw)
    out = script("dataset_tool.py", "create_from_images", tmp_path / "out", path)
    check(tmp_path / "out", [1])
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert listed.count("\n") == 7 and "skipped 7 of 8" in out.stderr
    for reason in (
        "../0.png: leads out",
        "/2.png: an absolute",
        "6.png: a link",
        "7.png: compression method 14",
        "5.png: damaged",
    ):
        assert reason in listed
    assert "5.png: damaged" in listed
    assert not (tmp_path.parent / "0.png").exists()
    strict = script("dataset_tool.py", "create_from_images", tmp_path / "s", path, "--strict", check=False)
    assert strict.returncode == 2 and "leads out of the archive" in strict.stderr and not (tmp_path / "s").exists()
    assert len(open_dataset(path)) == 2  # directly, the damaged one is told when it is read


def test_odd_things_in_a_folder(tmp_path):
    """Pipes do not block, links to nothing and to folders are listed, links to files are followed."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "1.png").write_bytes(png(1))
    os.mkfifo(folder / "0.png")
    (folder / "1.png").symlink_to(tmp_path / "1.png")
    (folder / "2.png").symlink_to(tmp_path / "nothing")
    (folder / "3.png").symlink_to(tmp_path)
    (folder / "\udcff4.png").write_bytes(png(4))  # a name that is no UTF-8
    (folder / "5.tif").write_bytes(b"")
    script("dataset_tool.py", "create_from_images", tmp_path / "out", folder, "--shuffle", 0)
    check(tmp_path / "out", [1, 4])
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert (
        listed.count("neither a file nor a folder, or a link to none") == 3 and "5.tif: not a readable image" in listed
    )


def test_nothing_but_other_files(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt", "c.mp4"):
        (tmp_path / "in" / name).write_text("x")
    with pytest.raises(UserError, match=r"no image in it but 2 \.txt, 1 \.mp4"):
        ImageFiles(open_files(tmp_path / "in"), "auto")


def test_a_bomb_is_skipped(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(0))
    Image.new("1", (20000, 20000)).save(tmp_path / "in" / "b.png")
    create_from_images(tmp_path / "out", tmp_path / "in")
    check(tmp_path / "out", [0])
    assert "decompression bomb" in (tmp_path / "out" / "skipped.txt").read_text()


# fuzzing: only a UserError, in little memory


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    base = tmp_path_factory.mktemp("originals")
    with zipfile.ZipFile(base / "a.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for i in range(4):
            z.writestr(f"{i}.png", png(i, 8))
        z.writestr("dataset.json", json.dumps({"labels": [[f"{i}.png", i % 2] for i in range(4)]}))
    write_dataset(base / "set", np.stack([image(i).transpose(2, 0, 1) for i in range(3)]), np.eye(2)[[0, 1, 1]])
    tar(base / "a.tar", *[(f"{i}.{ext}", data) for i in range(4) for ext, data in (("png", png(i, 8)), ("cls", b"1"))])
    return base


def read_zip(path):
    files = ZipFiles(path)
    for name in files.names:
        files.read(name)
    open_dataset(path).batch(np.arange(1))


def read_records(path):
    folder = path.parent / "set"
    folder.mkdir(exist_ok=True)
    path.rename(folder / "set-r04.tfrecords")
    data = TFRecordDataset(folder)
    data.verify(10**9)
    data.batch(np.arange(len(data)))


def read_tar(path):
    source = WebDataset([path])
    list(source.entries(np.arange(len(source))))


READERS = {
    "a.zip": read_zip,
    "set/set-r04.tfrecords": read_records,
    "set/set-rxx.labels": lambda path: labels.read_labels(path, 3),
    "a.tar": read_tar,
}
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f"])),
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", READERS)
@given(edits=EDITS, cut=st.one_of(st.just(1.0), st.floats(0, 1)), dense=st.booleans())
@settings(max_examples=150, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_end_in_an_error_that_names_them(originals, tmp_path_factory, name, edits, cut, dense):
    raw = bytearray((originals / name).read_bytes())
    used = np.flatnonzero(np.frombuffer(raw, np.uint8)) if dense else np.arange(len(raw))
    for where, data in edits:  # where there is something, or anywhere
        at = int(used[int(where * len(used))])
        raw[at : at + len(data)] = data
    path = tmp_path_factory.mktemp("fuzz") / name.rpartition("/")[2]
    path.write_bytes(raw[: int(cut * len(raw))])
    tracemalloc.start()
    try:
        READERS[name](path)
    except UserError as e:
        assert str(path.parent) in str(e)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 30e6 + 20 * len(raw)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    ),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_json_gives_labels_or_an_error(value, wrapped):
    text = json.dumps({"labels": value} if wrapped else value).encode()
    try:
        table = labels.labels_from_json(text, ["a", "b"], "dataset.json")
        assert table is None or np.isfinite(table[:]).all()
    except UserError as e:
        assert "dataset.json" in str(e)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_labels_or_an_error(data):
    with pytest.raises(UserError):
        labels.labels_from_json(data, ["a"], "dataset.json")


def test_a_label_file_that_promises_too_much_allocates_nothing(tmp_path):
    with open(tmp_path / "a.labels", "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": (5, 10**12)})
    with pytest.raises(UserError, match="not a readable array"):
        labels.read_labels(tmp_path / "a.labels", 5)
    np.savez(tmp_path / "b.labels.npz", np.zeros((5, 2)))
    with pytest.raises(UserError, match="not a readable array"):
        labels.read_labels(tmp_path / "b.labels.npz", 5)


def test_files_are_in_the_order_of_their_names(tmp_path):
    for name in ("b/1.png", "b-1.png", "a.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    assert FolderFiles(tmp_path).names == ["a.png", "b-1.png", "b.png", "b/1.png"]
    create_from_images(tmp_path / "out", tmp_path, picture=Rules(resize=3), output=Output(workers=1))


@pytest.mark.parametrize("cut", ["header", "member", "middle of a header"])
def test_a_cut_shard_is_told(cut, tmp_path):
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
        check(tmp_path / "out", [1], expected)


def test_labels_are_found_behind_an_empty_shard(tmp_path):
    a = tar(tmp_path / "a.tar", ("readme.txt", b"x"))
    b = tar(tmp_path / "b.tar", ("1.png", png(1)), ("1.cls", b"1"))
    create_from_webdataset(tmp_path / "out", (a, b))
    check(tmp_path / "out", [1], [[0, 1]])
    with pytest.raises(UserError, match="no shards named"):
        create_from_webdataset(tmp_path / "x", ())


def test_a_link_in_a_circle_loses_nothing_else(tmp_path):
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"{i}.png").write_bytes(png(i))
    (folder / "b").symlink_to("b")
    create_from_images(tmp_path / "out", tmp_path / "in", shuffle=0)
    check(tmp_path / "out", range(5))
    assert "sub/b: neither a file" in (tmp_path / "out" / "skipped.txt").read_text()


def test_booleans_are_classes_of_a_hugging_face_dataset(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"i": [png(0), png(1)], "label": [True, False]}), tmp_path / "a.parquet")
    create_from_hf(tmp_path / "out", tmp_path / "a.parquet")
    check(tmp_path / "out", [0, 1], [[0, 1], [1, 0]])
    with pytest.raises(UserError, match=r"--split test: .* is a file"):
        create_from_hf(tmp_path / "x", tmp_path / "a.parquet", split="test")
