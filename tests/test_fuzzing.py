"""Files of others with changed bytes, of every binary format that is read: success, or one line that says why not.

Run dirs, JSON and downloads are in `test_fuzzing_runs.py`. Pickles of TensorFlow and other containers have more tests
in `tests/dnnlib/test_pickles.py`, records, archives and labels in `tests/training/data`.
"""

import io
import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import tiny
from generation.latent_directions import Directions, pack_directions, read_directions
from generation.latent_files import check_latents, pack_latents, read_latents
from generation.sampling import Sampler, SamplingOptions
from metrics import cache
from metrics.detectors.weights import WeightFile, load_weights
from metrics.moments import Moments
from pretrained import load_network
from sharing.demo.studio import Studio
from tests.datasets import write_dataset, write_images
from tests.fuzzing import CHANGES, EDITS, changed, edited, fuzz, succeeds
from tests.golden_data import GOLDEN
from training.data.dataset import class_names, open_dataset
from training.networks.architectures import build_generator
from training.run.checkpoint import load_checkpoint, newest_whole, restore, save_checkpoint
from training.run.snapshot import FORMAT, save_snapshot
from training.spec import ImageSpec
from training.state import TrainState

SPEC = ImageSpec(resolution=8, c_dim=2)
NETWORK = str(GOLDEN / "c2_network-final.pkl")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzing")


@pytest.fixture(scope="module")
def sampler():
    return Sampler(SamplingOptions(network=NETWORK, device="cpu"))


# Networks.


@pytest.fixture(scope="module")
def snapshot(folder):
    torch.manual_seed(0)
    save_snapshot(folder / "whole.safetensors", {"G_ema": build_generator(tiny().G, SPEC)}, SPEC, 12345)
    return (folder / "whole.safetensors").read_bytes()


def open_all(path):
    net = load_network(path)
    return net.G, net.D, net.G_ema


@given(EDITS)
@fuzz(150)
def test_snapshots_with_changed_bytes(folder, snapshot, edits):
    head = int.from_bytes(snapshot[:8], "little") + 16
    (folder / "x.safetensors").write_bytes(edited(snapshot, edits, head))
    succeeds(partial(open_all, folder / "x.safetensors"))


@given(CHANGES, CHANGES)
@fuzz(150)
def test_snapshots_with_changed_metadata_and_shapes(folder, snapshot, facts_changes, header_changes):
    size = int.from_bytes(snapshot[:8], "little")
    header = json.loads(snapshot[8 : 8 + size])
    metadata = header["__metadata__"]
    metadata[FORMAT] = json.dumps(changed(json.loads(metadata[FORMAT]), facts_changes))
    text = json.dumps(changed(header, header_changes[:1])).encode("utf-8", "surrogatepass")
    (folder / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + snapshot[8 + size :])
    succeeds(partial(open_all, folder / "x.safetensors"))


@pytest.mark.parametrize(
    "name", ["c2_network-final.pkl", "stylegan_tf/sg1_network-final.pkl", "bmsg_gan/depth3_latent16/GAN_GEN_1.pth"]
)
@given(edits=EDITS)
@fuzz(60)
def test_networks_of_others_with_changed_bytes(folder, name, edits):
    path = folder / Path(name).name
    path.write_bytes(edited((GOLDEN / name).read_bytes(), edits, 4096))
    succeeds(partial(open_all, path))


@given(st.dictionaries(st.sampled_from(range(40)), st.lists(st.integers(0, 9), max_size=5), max_size=3))
@fuzz(40)
def test_weights_of_bmsg_gan_of_other_shapes(folder, shapes):
    state = torch.load(GOLDEN / "bmsg_gan" / "depth3_latent16" / "GAN_GEN_1.pth", weights_only=True)
    for number, shape in shapes.items():
        state[list(state)[number % len(state)]] = torch.zeros(shape)
    torch.save(state, folder / "x.pth")
    succeeds(partial(open_all, folder / "x.pth"))


# Checkpoints.


def new_state():
    """A state whose networks are the smallest possible, so that hundreds can be made."""
    small = tiny()
    G = replace(small.G, fmap_base=16, fmap_max=4, z_dim=4, w_dim=4, mapping_fmaps=4, mapping_layers=1)
    cfg = replace(small, G=G, D=replace(small.D, fmap_base=16, fmap_max=4))
    state = TrainState(cfg, SPEC, CPU)
    state.averages.add({"Loss/D": torch.tensor([1.0, 3.0])})
    return state


@pytest.fixture(scope="module")
def checkpoint(folder):
    state = new_state()
    state.cur_nimg = 1000
    save_checkpoint(folder, state)
    return (folder / "checkpoint-000001.pt").read_bytes()


@given(EDITS)
@fuzz(60)
def test_checkpoints_with_changed_bytes(folder, checkpoint, edits):
    (folder / "x.pt").write_bytes(edited(checkpoint, edits, 4096))
    succeeds(partial(load_checkpoint, folder / "x.pt"))


PARTS = ("version", "architecture", "config", "G", "D", "G_ema", "G_opt", "averages", "progress", "tick_kimg")
STRANGE = st.sampled_from([None, 2, 3, "x", [], {}, {"x": 1}, {1: None}, torch.zeros(2), torch.zeros(1, 7, 2)])


@given(st.dictionaries(st.sampled_from(PARTS), STRANGE, min_size=1, max_size=2), st.sets(st.sampled_from(PARTS)))
@fuzz(60)
def test_checkpoints_of_other_content(folder, checkpoint, parts, missing):
    content = torch.load(io.BytesIO(checkpoint), weights_only=True) | parts
    run_dir = folder / "run"
    run_dir.mkdir(exist_ok=True)
    path = run_dir / "checkpoint-000001.pt"
    torch.save({key: value for key, value in content.items() if key not in missing or len(missing) > 2}, path)
    if succeeds(partial(load_checkpoint, path)):
        succeeds(partial(restore, new_state(), path))
    succeeds(partial(newest_whole, run_dir))


# Datasets.


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A small dataset of each form."""
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), np.uint8)
    folder = tmp_path_factory.mktemp("datasets")
    write_dataset(folder / "records", images, np.eye(2)[[0, 1, 1, 0]])
    write_images(folder / "folder", *images.transpose(0, 2, 3, 1), labels=[[f"{i}.png", i % 2] for i in range(4)])
    (folder / "bands").mkdir()
    for i in range(4):
        np.save(folder / "bands" / f"{i}.npy", np.zeros((5, 8, 8), np.uint8))
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "folder").iterdir()):
            archive.write(path, path.name)
    return folder


def read_dataset(path):
    """Read all that training does."""
    class_names(path) if path.is_file() else None
    dataset = open_dataset(path)
    dataset.verify(2**30)
    dataset.fingerprint()
    return dataset.batch(np.arange(len(dataset)))


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("records", ".tfrecords"), ("records", ".labels"), ("folder", ".png"), ("folder", ".json"), ("bands", ".npy"),
     ("images.zip", ".zip")],
)  # fmt: skip
@given(edits=EDITS)
@fuzz(60)
def test_datasets_with_changed_bytes(datasets, form, suffix, edits):
    place = datasets / form
    path = place if place.is_file() else min(p for p in place.iterdir() if p.suffix == suffix)
    data = path.read_bytes()
    try:
        path.write_bytes(edited(data, edits, 200 if suffix != ".zip" else None))
        succeeds(partial(read_dataset, place))
    finally:
        path.write_bytes(data)


# Latents and directions, from the command line and as uploads of the page.


@pytest.fixture(scope="module")
def latents(sampler):
    return pack_latents(["a", "b"], list(sampler.draw(sampler.latents([3, 5]))))


@pytest.fixture(scope="module")
def directions(sampler):
    w_dim = len(sampler.G.mapping.w_avg)
    return pack_directions(Directions(np.eye(w_dim, dtype=np.float32), np.ones(w_dim, np.float32), np.array([0, 1])))


@pytest.fixture(scope="module")
def studio():
    return Studio(SamplingOptions(network=NETWORK, device="cpu"), "cpu", None)


def repacked(packed, name, array, method):
    """Return a file of arrays with one of them changed, so that its checksums are right."""
    with np.load(io.BytesIO(packed)) as old:
        arrays = {key: old[key] for key in old} | {name: array}
    out = io.BytesIO()
    (np.savez_compressed if method else np.savez)(out, **arrays)
    return out.getvalue()


ARRAYS = st.builds(
    lambda shape, dtype, value: np.full(shape, value).astype(dtype),
    st.lists(st.sampled_from([0, 1, 2, 4, 8, 16]), max_size=4).map(tuple),
    st.sampled_from(["f4", "f8", "f2", "i8", "u8", "U3", "U0", "?", "c8", "M8[s]", "S2"]),
    st.sampled_from([0, 1, -1, 300]),
)


@given(EDITS, st.sampled_from(["names", "z", "c", "w", "noise_seeds", "noise0", "noise1"]), ARRAYS, st.integers(0, 3))
@fuzz(150)
def test_files_of_latents(folder, sampler, studio, latents, edits, name, array, kind):
    path = folder / "latents.npz"
    path.write_bytes(edited(latents, edits) if kind > 1 else repacked(latents, name, array, kind))
    if kind == 3:
        with zipfile.ZipFile(folder / "latents.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("latents.npz", edited(latents, edits))
    succeeds(lambda: check_latents(read_latents(path), path, sampler))
    if succeeds(partial(studio.read_latents, path)):
        studio.read_latents(path).latents()


@given(EDITS, st.sampled_from(Directions._fields), ARRAYS, st.integers(0, 3))
@fuzz(150)
def test_files_of_directions(folder, sampler, studio, directions, edits, name, array, kind):
    path = folder / "directions.npz"
    path.write_bytes(edited(directions, edits) if kind > 1 else repacked(directions, name, array, kind))
    if succeeds(partial(read_directions, path, sampler)):
        w = torch.zeros(1, sampler.G.synthesis.num_ws, len(sampler.G.mapping.w_avg))
        read_directions(path, sampler).shift(w, 0, 1.0)
    succeeds(partial(studio.read_directions, path))


# Weights of detectors, and statistics of the reals.


@given(EDITS, st.dictionaries(st.sampled_from(["weight", "bias", 3, "x"]), STRANGE, max_size=2), st.booleans())
@fuzz(80)
def test_weights_of_detectors(folder, edits, parts, damaged):
    layer, file = torch.nn.Linear(2, 3), WeightFile("https://example.com/weights.pth")
    torch.save(layer.state_dict() | parts, folder / file.name)
    if damaged:
        (folder / file.name).write_bytes(edited((folder / file.name).read_bytes(), edits))
    succeeds(partial(load_weights, layer, "example", {file: ""}, folder))


@given(EDITS, st.sampled_from(["n", "sum", "outer"]), ARRAYS, st.booleans())
@fuzz(80)
def test_statistics_of_the_reals_are_as_they_were_or_none(folder, edits, name, array, damaged):
    moments = Moments(3)
    moments.add(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([False, False, True, True]))
    out = io.BytesIO()
    moments.save(out)
    path = folder / "moments.npz"
    path.write_bytes(edited(out.getvalue(), edits) if damaged else repacked(out.getvalue(), name, array, False))
    found = cache.load(path, Moments.load)
    if found is not None:
        assert all(np.isfinite(part).all() for part in found.total())
