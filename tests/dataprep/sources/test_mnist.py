import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.sources.mnist import read_idx
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_dataset, order
from tests.runs import script


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


def test_mnist(mnist, tmp_path):
    source, images, labels = mnist
    script("dataset_tool.py", "create_mnist", tmp_path / "out", source)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, None]
    check_dataset(tmp_path / "out", padded[order(30)], labels[order(30)], 10)


def test_the_test_set_of_mnist(tmp_path):
    images, labels = digits(12)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    script("dataset_tool.py", "create_mnist", tmp_path / "out", tmp_path, "--split", "test")
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, None]
    check_dataset(tmp_path / "out", padded[order(12)], labels[order(12)], 10)


def test_mnistrgb(mnist, tmp_path):
    source, images, _ = mnist
    args = ["--num_images", 12, "--random_seed", 5]  # spelled as in the original
    script("dataset_tool.py", "create_mnistrgb", tmp_path / "out", source, *args)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2)])
    rng = np.random.RandomState(5)
    check_dataset(tmp_path / "out", [padded[rng.randint(30, size=3)] for _ in range(12)])


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
