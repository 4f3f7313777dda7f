"""The datasets that the original knew, from small files of their real forms."""

import gzip
import io
import json
import pickle
import shutil
import struct
import sys
import tarfile

import h5py
import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from dataprep.build import Output
from dataprep.command import COMMANDS
from dataprep.compare import compare
from dataprep.convert import extract
from dataprep.sources.celeba import create_celeba
from dataprep.sources.cifar import load_cifar10
from dataprep.sources.hdf5 import create_from_hdf5
from dataprep.sources.lsun import create_lsun, create_lsun_wide
from dataprep.sources.mnist import read_idx
from dataprep.sources.svhn import create_svhn
from dnnlib.errors import UserError
from tests.datasets import write_dataset
from tests.golden_data import GOLDEN
from tests.runs import script
from training.data.tfrecord import TFRecordDataset, halvings


def order(n):
    """Of the original: RandomState(123)."""
    indices = np.arange(n)
    np.random.RandomState(123).shuffle(indices)
    return indices


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digits(n=30):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(10, size=n).astype(np.uint8)


@pytest.fixture(params=["gz", "plain"])
def mnist(request, tmp_path):
    images, labels = digits()
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        if request.param == "gz":
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder, images, labels


def check(folder, images, labels=None, classes=0):
    """Every level of every record, and the labels, are these."""
    dataset = TFRecordDataset(folder)
    assert len(dataset) == len(images) and dataset.labels.shape[1] == classes
    for r, file in dataset.files_by_resolution.items():
        for i, image in enumerate(images):
            expected = next(x for x in halvings(image) if x.shape[1] == r)
            np.testing.assert_array_equal(file[i], expected)
    if classes:
        np.testing.assert_array_equal(dataset.labels, np.eye(classes)[labels])


def test_mnist(mnist, tmp_path):
    source, images, labels = mnist
    script("dataset_tool.py", "create_mnist", tmp_path / "out", source)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, None]
    check(tmp_path / "out", padded[order(30)], labels[order(30)], 10)


def test_mnistrgb(mnist, tmp_path):
    source, images, _ = mnist
    args = ["--num_images", 12, "--random_seed", 5]  # spelled as in the original
    script("dataset_tool.py", "create_mnistrgb", tmp_path / "out", source, *args)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)])
    rng = np.random.RandomState(5)
    check(tmp_path / "out", [padded[rng.randint(30, size=3)] for _ in range(12)])


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
    check(tmp_path / "out", images[n], labels[n], classes)


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
        load_cifar10(source)
    if not (form == "folder" and "no data_batch" in message):
        assert message in str(e.value)
    assert "data_batch" in str(e.value) or "os.system" in str(e.value)


def test_paths_in_an_archive_lead_nowhere(tmp_path):
    """Names that point outside are only looked at for their last part; links are not followed; nothing is unpacked."""
    files, images, _ = cifar_files(2)
    archive = tmp_path / "c.tar"
    with tarfile.open(archive, "w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(f"../../../{name}")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    np.testing.assert_array_equal(load_cifar10(archive)[0], images)
    with tarfile.open(archive, "w") as t:
        info = tarfile.TarInfo("data_batch_1")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        t.addfile(info)
    with pytest.raises(UserError, match="no data_batch_1 in it"):
        load_cifar10(archive)
    assert [p.name for p in tmp_path.iterdir()] == ["c.tar"]


def test_svhn(tmp_path):
    rng = np.random.default_rng(2)
    images, labels = rng.integers(0, 256, (32, 32, 3, 9), dtype=np.uint8), rng.integers(1, 11, (9, 1)).astype(np.uint8)
    savemat(tmp_path / "train_32x32.mat", {"X": images, "y": labels}, do_compression=True)
    create_svhn(tmp_path / "out", tmp_path)
    check(tmp_path / "out", images.transpose(3, 2, 0, 1)[order(9)], labels[order(9), 0] % 10, 10)
    (tmp_path / "train_32x32.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UserError, match=r"train_32x32\.mat: not readable"):
        create_svhn(tmp_path / "other", tmp_path)


def encoded(x, form):
    out = io.BytesIO()
    Image.fromarray(x).save(out, form, quality=95)
    return out.getvalue()


@pytest.fixture
def lsun_dir(tmp_path):
    """JPEG and WebP of several sizes, and two broken entries."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "church_lmdb"
    pictures = {}
    with lmdb.open(str(folder), map_size=2**24) as database, database.begin(write=True) as transaction:
        for i, (h, w, form) in enumerate([(40, 64, "JPEG"), (80, 60, "WEBP"), (64, 64, "JPEG"), (20, 30, "WEBP")]):
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((w, h))
            data = encoded(np.asarray(coarse), form)
            key = f"{i:02d}"
            transaction.put(key.encode(), data)
            with Image.open(io.BytesIO(data)) as im:
                pictures[key] = np.asarray(im.convert("RGB"))
        transaction.put(b"015", b"not an image")
        transaction.put(b"025", encoded(np.zeros((9, 9, 3), np.uint8), "JPEG")[:40])
    return folder, pictures


def test_lsun(lsun_dir, tmp_path):
    source, pictures = lsun_dir
    out = script("dataset_tool.py", "create_lsun", tmp_path / "out", source, "--resolution", 16)
    expected = []
    for x in pictures.values():
        h, w = x.shape[:2]
        crop = min(h, w)
        x = x[(h - crop) // 2 : (h + crop) // 2, (w - crop) // 2 : (w + crop) // 2]
        expected.append(np.asarray(Image.fromarray(x).resize((16, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1))
    check(tmp_path / "out", expected)
    assert "skipped 2 of 6" in out.stderr and "015: not a readable image" in out.stderr
    create_lsun(tmp_path / "two", source, resolution=16, output=Output(max_images=2))
    check(tmp_path / "two", expected[:2])


def test_lsun_without_its_library(lsun_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError, match="pip install lmdb"):
        create_lsun(tmp_path / "out", lsun_dir[0], resolution=16)


def test_lsun_wide(lsun_dir, tmp_path):
    source, pictures = lsun_dir
    create_lsun_wide(tmp_path / "out", source, width=32, height=16)
    dataset = TFRecordDataset(tmp_path / "out")
    assert len(dataset) == 3  # the last is narrower than 32
    x = pictures["00"]  # 40x64: the middle 20 rows, scaled to 16
    small = np.asarray(Image.fromarray(x[10:30]).resize((32, 16), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    np.testing.assert_array_equal(dataset[0][0][:, 8:24], small)
    assert not dataset[0][0][:, :8].any() and not dataset[0][0][:, 24:].any()


@pytest.mark.parametrize("form", ["png", "jpg"])
def test_celeba(form, tmp_path):
    folder = tmp_path / "celeba" / ("img_align_celeba_png" if form == "png" else "img_align_celeba")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)).save(folder / f"{i:06d}.{form}")
    with pytest.raises(UserError, match="5 images, expected 202599, or --allow-missing"):
        create_celeba(tmp_path / "out", tmp_path / "celeba")
    script("dataset_tool.py", "create_celeba", tmp_path / "out", tmp_path / "celeba", "--allow-missing", "--cx", 90)
    expected = []
    for i in order(5):
        with Image.open(folder / f"{i:06d}.{form}") as im:
            expected.append(np.asarray(im)[57:185, 26:154].transpose(2, 0, 1))
    check(tmp_path / "out", expected)


@pytest.mark.parametrize("shuffle", [0, 1])
def test_hdf5(shuffle, tmp_path):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    labels = rng.normal(size=(6, 2)).astype(np.float32)
    with h5py.File(tmp_path / "faces.h5", "w") as f:
        f["data2x2"], f["data16x16"], f["other"] = images[:, :, ::8, ::8], images, images
    np.save(tmp_path / "faces-labels.npy", labels)
    create_from_hdf5(tmp_path / "out", tmp_path / "faces.h5", shuffle=shuffle)
    n = order(6) if shuffle else np.arange(6)
    dataset = TFRecordDataset(tmp_path / "out")
    np.testing.assert_array_equal(np.stack([dataset[i][0] for i in range(6)]), images[n])
    np.testing.assert_array_equal(dataset.labels, labels[n])


@pytest.mark.parametrize(
    ("command", "make", "message"),
    [
        ("create_mnist", lambda p: p.mkdir(), "no train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        ("create_cifar10", lambda p: p.write_bytes(b"x"), "not a whole tar archive"),
        ("create_cifar100", lambda p: None, "no such file"),
        ("create_svhn", lambda p: p.mkdir(), "train_32x32.mat"),
        ("create_lsun", lambda p: p.mkdir(), "no data.mdb in it"),
        ("create_lsun", lambda p: (p.mkdir(), (p / "data.mdb").write_bytes(b"x" * 9000)), "not a readable LMDB"),
        ("create_celeba", lambda p: p.mkdir(), "no img_align_celeba_png/*.png or img_align_celeba/*.jpg"),
        ("create_from_hdf5", lambda p: None, "no such file"),
        ("create_from_hdf5", lambda p: p.write_bytes(b"x" * 99), "not a readable HDF5 archive"),
    ],
)
def test_missing_or_broken_sources_are_one_line(command, make, message, tmp_path):
    make(tmp_path / "source")
    with pytest.raises(UserError) as e:
        COMMANDS[command](tmp_path / "out", tmp_path / "source")
    assert message in str(e.value) and "source" in str(e.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


IDX = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


PLACE, BYTE = st.integers(0, 40), st.integers(0, 255)
MUTATED = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda i, b: IDX[:i] + b + IDX[i:], PLACE, st.binary(max_size=4)),
    st.builds(lambda i, b: IDX[:i] + bytes([b]) + IDX[i + 1 :], PLACE, BYTE),
    PLACE.map(lambda i: IDX[:i]),
)


@settings(max_examples=300, deadline=None)
@given(data=MUTATED, packed=st.booleans())
def test_idx_fuzz(data, packed, tmp_path_factory):
    """Any bytes: an array as the header says, or an error; sizes in the header allocate nothing."""
    path = tmp_path_factory.getbasetemp() / "fuzz.idx"
    path.write_bytes(gzip.compress(data) if packed else data)
    try:
        array = read_idx(path)
        assert array.size == len(data) - 4 - 4 * array.ndim
    except UserError as e:
        assert "fuzz.idx" in str(e)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(IDX)[:-9])
    with pytest.raises(UserError, match="damaged or truncated"):
        read_idx(path)
    np.testing.assert_array_equal(read_idx_of(tmp_path, IDX), np.arange(24).reshape(2, 3, 4))


def read_idx_of(folder, data):
    (folder / "b").write_bytes(data)
    return read_idx(folder / "b")


RGB32 = GOLDEN / "tfrecords_rgb32"


@pytest.mark.parametrize("workers", [1, 2])
def test_extract_and_back(workers, tmp_path):
    """Images and labels of the golden dataset, made into a dataset again, are the same."""
    extract(RGB32, tmp_path / "images", output=Output(workers=workers))
    assert sorted(p.name for p in (tmp_path / "images").iterdir())[:2] == ["dataset.json", "img00000000.png"]
    script("dataset_tool.py", "create_from_images", tmp_path / "again", tmp_path / "images", "--shuffle", 0)
    out = script("dataset_tool.py", "compare", RGB32, tmp_path / "again")
    assert "identical images: 24 of 24" in out.stdout and "identical labels: 24 of 24" in out.stdout


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(3)[[0, 2, 1]], [0, 2, 1]),
        (np.eye(3)[[0, 1, 1]], [[1, 0, 0], [0, 1, 0], [0, 1, 0]]),  # as numbers, class 2 would be lost
        (np.array([[0.5, 0.5], [1, 0], [1, 1]]), [[0.5, 0.5], [1, 0], [1, 1]]),
    ],
)
def test_extracted_labels_keep_their_width(labels, expected, tmp_path):
    data = write_dataset(tmp_path / "a", np.zeros((3, 1, 8, 8), np.uint8), labels)
    extract(data, tmp_path / "images")
    found = json.loads((tmp_path / "images" / "dataset.json").read_text())["labels"]
    assert found == [[f"img{i:08d}.png", label] for i, label in enumerate(expected)]
    assert compare(data, tmp_path / "images") == 0


def test_compare_tells_differences(tmp_path):
    other = tmp_path / "tfrecords_rgb32"
    with np.load(GOLDEN / "tfrecords_rgb32_source.npz") as f:
        images, labels, n = f["images"].copy(), f["labels"].copy(), f["order"]
    images[n[3]] += 1
    labels[n[5]] = labels[n[5]][::-1] + 1
    write_dataset(other, images[n[:-1]], labels[n[:-1]])
    found = script("dataset_tool.py", "compare", RGB32, other, check=False)
    assert found.returncode == 1
    for line in ("images: 24 and 23", "image 3 differs", "label 5 differs", "identical images: 22 of 23"):
        assert line in found.stdout
    found = script("dataset_tool.py", "compare", RGB32, other, "--ignore_labels", 1, check=False)
    assert found.returncode == 1 and "label" not in found.stdout
    assert script("dataset_tool.py", "compare", RGB32, RGB32).returncode == 0


def test_display(tmp_path):
    out = script("dataset_tool.py", "display", RGB32, "--output", tmp_path / "sheet.png", "--first", 4)
    assert "images 4 to 23 of 24" in out.stdout
    with Image.open(tmp_path / "sheet.png") as im:
        assert im.size == (16 * 32, 2 * 32)
        first = np.asarray(im)[:32, :32].transpose(2, 0, 1)
    np.testing.assert_array_equal(first, TFRecordDataset(RGB32)[4][0])


def test_outputs_that_exist_are_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        extract(RGB32, tmp_path / "images")
    assert [p.name for p in (tmp_path / "images").iterdir()] == ["mine.png"]
    shutil.rmtree(tmp_path / "images")
