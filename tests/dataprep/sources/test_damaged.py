"""Missing, damaged and hostile files of every source: one line that names the file, in little memory."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataprep.command import COMMANDS
from dataprep.sources.web_dataset import WebDataset
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import image, png, tar
from tests.datasets import write_dataset
from training.data import labels
from training.data.archives import ZipFiles
from training.data.dataset import open_dataset
from training.data.tfrecord import TFRecordDataset


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
