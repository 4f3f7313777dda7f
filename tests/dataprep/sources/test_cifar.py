import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from dataprep.command import COMMANDS
from dataprep.sources.cifar import load_cifar
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_dataset, order
from tests.runs import script
from training.data.dataset import class_names


def python2_string(data):
    return (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<I", len(data))) + data


def python2_batch(x, y, key):
    """A CIFAR batch byte by byte as Python 2's cPickle wrote it, protocol 2."""
    dtype = b"cnumpy\ndtype\n" + python2_string(b"u1") + b"K\x00K\x01\x87R(K\x03" + python2_string(b"|") + b"NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + python2_string(b"b") + b"\x87R(K\x01"
    array += b"M" + struct.pack("<H", len(x)) + b"M" + struct.pack("<H", x.shape[1]) + b"\x86" + dtype + b"\x89"
    array += python2_string(x.tobytes()) + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([v]) for v in y) + b"e"
    names = b"](" + python2_string(b"a.png") * len(y) + b"e"
    pairs = (
        (b"data", array),
        (key, labels),
        (b"batch_label", python2_string(b"training batch")),
        (b"filenames", names),
    )
    return b"\x80\x02}(" + b"".join(python2_string(k) + v for k, v in pairs) + b"u."


BLACK = np.zeros((1, 3072), np.uint8)


def cifar_files(python, classes=10):
    """name -> bytes of the training files, images, labels."""
    rng = np.random.default_rng(1)
    names = [f"data_batch_{i}" for i in range(1, 6)] if classes == 10 else ["train"]
    key, files, images, labels = "labels" if classes == 10 else "fine_labels", {}, [], []
    for name in names:
        x, y = rng.integers(0, 256, (7, 3072), dtype=np.uint8), rng.integers(classes, size=7).tolist()
        files[name] = (
            python2_batch(x, y, key.encode())
            if python == 2
            else pickle.dumps({"data": x, key: y, "n": None}, protocol=3)
        )
        images.append(x.reshape(-1, 3, 32, 32)), labels.extend(y)
    return files, np.concatenate(images), np.array(labels)


@pytest.mark.parametrize("python", [2, 3])
@pytest.mark.parametrize("form", ["folder", "parent", "tar.gz", "tar"])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(classes, form, python, tmp_path):
    files, images, labels = cifar_files(python, classes)
    folder = tmp_path / "source" / f"cifar-{classes}-batches-py"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    source = {"folder": folder, "parent": folder.parent}.get(form, tmp_path / f"cifar.{form}")
    if form.startswith("tar"):
        with tarfile.open(source, "w:gz" if form == "tar.gz" else "w") as t:
            t.add(folder, folder.name)
    COMMANDS[f"create_cifar{classes}"](tmp_path / "out", source)
    n = order(len(images))
    check_dataset(tmp_path / "out", images[n], labels[n], classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update(data_batch_3=f["data_batch_3"][:-50]), "data_batch_3: damaged or only part of a pickle"),
        (lambda f: f.update(data_batch_2=pickle.dumps({"data": [1]})), "KeyError('labels')"),
        (lambda f: f.update(data_batch_2=pickle.dumps({"data": [1], "labels": ["x"]})), "TypeError"),
        (lambda f: f.update(data_batch_2=pickle.dumps({"data": [1], "labels": [1]})), "is not uint8 [1,3072]"),
        (
            lambda f: f.update(data_batch_2=python2_batch(np.zeros((1, 3072), np.uint8), [10], b"labels")),
            "labels from 10",
        ),
        (lambda f: f.update(data_batch_1=b"cos\nsystem\n(S'true'\ntR."), "asks for os.system"),
        (lambda f: f.pop("data_batch_4"), "no data_batch_4 in it"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_bad_cifar_is_one_line(change, message, form, tmp_path):
    files, _, _ = cifar_files(2)
    change(files)
    folder = tmp_path / "c"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    source = folder
    if form == "tar":
        source = tmp_path / "c.tar"
        with tarfile.open(source, "w") as t:
            t.add(folder, "c")
    with pytest.raises(UserError) as e:
        load_cifar(source, 10)
    if not (form == "folder" and "no data_batch" in message):
        assert message in str(e.value)
    assert "data_batch" in str(e.value) or "os.system" in str(e.value)


def test_the_test_set_and_the_names_of_classes(tmp_path):
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (5, 3072), dtype=np.uint8), [9, 0, 1, 2, 3]
    names = [f"kind {k}" for k in range(10)]
    source = tmp_path / "source"
    source.mkdir()
    (source / "test_batch").write_bytes(python2_batch(x, y, b"labels"))
    (source / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in names]}))
    COMMANDS["create_cifar10"](tmp_path / "out", source, split="test")
    n = order(5)
    check_dataset(tmp_path / "out", x.reshape(-1, 3, 32, 32)[n], np.array(y)[n], 10)
    assert class_names(tmp_path / "out") == names

    # The names survive every way from one form to another.
    script("dataset_tool.py", "extract", tmp_path / "out", tmp_path / "images")
    script("dataset_tool.py", "create_from_images", tmp_path / "again.zip", tmp_path / "images", "--shuffle", 0)
    assert class_names(tmp_path / "images") == class_names(tmp_path / "again.zip") == names
    assert "9 kind 9 (1)" in script("dataset_tool.py", "inspect", tmp_path / "again.zip").stdout


def test_paths_in_an_archive_lead_nowhere(tmp_path):
    """Names that point outside are only looked at for their last part; links are not followed; nothing is unpacked."""
    files, images, _ = cifar_files(2)
    archive = tmp_path / "c.tar"
    with tarfile.open(archive, "w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(f"../../../{name}")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    np.testing.assert_array_equal(load_cifar(archive, 10)[0], images)
    with tarfile.open(archive, "w") as t:
        info = tarfile.TarInfo("data_batch_1")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        t.addfile(info)
    with pytest.raises(UserError, match="no data_batch_1 in it"):
        load_cifar(archive, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["c.tar"]
