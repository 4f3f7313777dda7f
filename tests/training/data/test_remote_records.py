"""Datasets that are read from an object store image by image."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dataprep.writers import TFRecordFiles, pack
from dnnlib.errors import UserError
from dnnlib.object_store import ObjectStore
from tests.object_server import BUCKET, object_server
from tests.runs import ENV, SMALL, assert_same_run, python, run_dirs, train
from training.data.dataset import open_dataset
from training.data.labels import OneHot
from training.data.streaming import StreamOrder, stream_batches

server = pytest.fixture(object_server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 images with labels, each resolution in shards, the largest in six of up to 17 images."""
    path = tmp_path_factory.mktemp("data") / "tiny"
    rng = np.random.default_rng(0)
    writer = TFRecordFiles(path, "tiny")
    writer.shard_bytes = 17 * len(pack(np.zeros((3, 16, 16), np.uint8), "tfrecords")[0])
    for i in range(100):
        writer.add(i, pack(rng.integers(256, size=(3, 16, 16), dtype=np.uint8), "tfrecords"))
    writer.finish({}, OneHot(rng.integers(3, size=100), 3))
    writer.close()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


URL = f"s3://{BUCKET}/data/tiny"


def upload(fs, folder):
    fs.put(str(folder), f"{BUCKET}/data/tiny", recursive=True)


def test_images_and_labels_are_those_of_the_files(server, folder):
    _, fs = server
    upload(fs, folder)
    for resolution in (None, 16):
        local, remote = open_dataset(folder, resolution), open_dataset(Path(URL), resolution, stream=True)
        assert (len(remote), remote.spec, remote.name) == (len(local), local.spec, "tiny")
        np.testing.assert_array_equal(np.asarray(remote.labels), np.asarray(local.labels))

        # Any order, repetitions, and neighbours across shards.
        indices = np.array([99, 3, 3, 4, 5, *range(40, 90), 0])
        for found, expected in zip(remote.batch(indices), local.batch(indices), strict=True):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(remote[7][0], local[7][0])
    assert open_dataset(Path(URL), use_labels=False, stream=True).spec.c_dim == 0
    assert remote.where(99).startswith(f"{URL}/tiny-r04")


def records_read(objects, size):
    """Return how often each record was read, from the ranges that were asked for."""
    counts = Counter()
    for path, header in objects.ranges:
        start, stop = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", header).groups())
        counts.update((path, i) for i in range(start // size, (stop + 1) // size))
    return counts


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_an_epoch_reads_each_byte_once_whatever_the_number_of_processes(server, folder, ranks):
    objects, fs = server
    upload(fs, folder)
    data = [open_dataset(Path(URL), stream=True) for _ in range(ranks)]
    objects.ranges.clear()
    objects.bytes_sent.clear()

    # Turns of 8 x 5 images: an epoch of 100 images is two and a half of them. One turn is read ahead.
    order = StreamOrder(len(data[0]), 0, False, batch=8, stretch=5)
    part = 8 // ranks
    for rank, dataset in enumerate(data):
        batches = stream_batches(dataset.batch, order, 0, rank * part, part)
        for _ in range(25):
            next(batches)
        batches.close()

    # Five turns are two epochs. What was read of the sixth is of the third epoch.
    size = len(data[0]._level.first)
    counts = records_read(objects, size)
    assert len(counts) == 100 and sum(objects.bytes_sent.values()) == size * sum(counts.values())
    ahead = Counter(int(i) for place in range(8) for i in order.turn(5, place)[0])
    starts = dict(zip(data[0]._level.files, data[0]._level.starts, strict=False))
    for (path, i), count in counts.items():
        image = starts[path.rpartition("/")[2]] + i
        assert 2 <= count <= 2 + ahead[image]

    # A turn of a place is one request, but where a shard, the dataset or the epoch ends.
    assert len(objects.ranges) <= 6 * 8 + 3 * (6 + 3)


def test_a_run_that_streams_goes_on_within_an_epoch_to_the_bit(server, folder, tmp_path):
    """With another number of processes, though requests fail, and without a copy of the dataset on the disk."""
    objects, fs = server
    upload(fs, folder)
    options = (*SMALL, "--data", URL, "--stream", "--batch", 8, "--micro-batch", 4, "--mirror")

    def run(name, *more):
        env = {**ENV, **objects.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        result = python("train.py", *options, "--result-dir", tmp_path / name, *more, env=env)
        assert result.returncode == 0, result.stderr
        [path] = run_dirs(tmp_path / name)
        return path

    whole = run("whole", "--total-kimg", 0.256)
    objects.fail_every = 7
    run("parts", "--total-kimg", 0.128)
    parts = run("parts", "--total-kimg", 0.256, "--gpus", 2, "--resume", "auto")
    objects.fail_every = 0
    assert_same_run(whole, parts)
    assert objects.failed > 3

    assert [path.name for path in (tmp_path / "cache").rglob("*.*") if path.is_file()].count("tiny-rxx.labels") == 1
    assert not list((tmp_path / "cache").rglob("*.tfrecords"))


def damage(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_damaged_record_is_named(server, folder, tmp_path):
    _, fs = server
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    largest = max(copy.glob("*-r0?-00001-of-*"))
    data = open_dataset(folder)
    first = len(data.images.files[0])
    size = data.images.files[1].offsets[1]
    damage(largest, int(2 * size + 200))
    damage(largest, int(3 * size + 1))
    upload(fs, copy)

    remote = open_dataset(Path(URL), stream=True)
    remote.batch(np.arange(first + 2))
    for i, message in ((2, "damaged: data checksum"), (3, "damaged: length checksum")):
        with pytest.raises(UserError, match=f"{largest.name}: record {i}: {message}"):
            remote.batch(np.array([first + i]))


def truncate(path, count):
    """Leave so many records of 4x4 images."""
    size = len(pack(np.zeros((3, 4, 4), np.uint8), "tfrecords")[-1])
    path.write_bytes(path.read_bytes()[: count * size])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda path: shutil.rmtree(path), "no such folder, expected one of TFRecords to stream"),
        (lambda path: [file.unlink() for file in path.glob("*.tfrecords")], r"no \*.tfrecords in it"),
        (lambda path: max(path.glob("*-00001-of-*")).unlink(), "is missing"),
        (lambda path: min(path.glob("*.tfrecords")).write_bytes(b""), "0 bytes, expected TFRecords"),
        (lambda path: min(path.glob("*.tfrecords")).write_bytes(b"a" * 100), "record 0: damaged: length checksum"),
        (lambda path: max(path.glob("*.tfrecords")).write_bytes(b"a" * 100), "expected a multiple of .* --stream"),
        (lambda path: min(path.glob("*.tfrecords")).write_bytes(b"\x1f\x8b" + b"a" * 100), "compressed by gzip"),
        (
            lambda path: shutil.copy(min(path.glob("*-r02*")), path / "other.tfrecords"),
            "a second file of images",
        ),
        (lambda path: truncate(min(path.glob("*-r02*")), 10), "10 images, expected 100 as in tiny-r04"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(server, folder, tmp_path, change, message):
    _, fs = server
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    change(copy)
    if copy.exists():
        upload(fs, copy)
    with pytest.raises(UserError, match=message):
        open_dataset(Path(URL), stream=True)


def test_a_folder_of_this_machine_is_not_streamed(folder, tmp_path):
    with pytest.raises(UserError, match="cannot be streamed, expected the URL of an object store"):
        open_dataset(folder, stream=True)
    result = train("--data", folder, "--stream", "--result-dir", tmp_path, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "cannot be streamed" in result.stderr


def test_a_range_that_comes_short_is_asked_for_again(server, monkeypatch):
    _, fs = server
    fs.pipe_file(f"{BUCKET}/data/file", b"0123456789")
    store = ObjectStore(f"s3://{BUCKET}/data")
    assert store.read_range("file", 3, 7) == b"3456"
    monkeypatch.setattr("dnnlib.object_store.WAITS", (0.0,))
    with pytest.raises(UserError, match=r"data/file: cannot read, tried 2 times: 2 bytes, expected 4"):
        store.read_range("file", 8, 12)
    with pytest.raises(UserError, match="data/other: no such file"):
        store.read_range("other", 0, 4)
