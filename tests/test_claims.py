"""Files whose headers claim far more than they hold are refused before memory is taken for that."""

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib.errors import UserError
from tests.runs import ENV, ROOT
from training.data.dataset import open_dataset
from training.data.records import encode_example, frame

HUGE = 2**36  # values; more than the process that reads may have, and than most machines have


def npy(shape, dtype="<f4", content=b""):
    """A .npy file whose header claims any shape."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": False, "shape": shape})
    return out.getvalue() + content


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as written:
        for name, data in members.items():
            written.writestr(name, data)
    return out.getvalue()


def npz(method=zipfile.ZIP_STORED, **members):
    return archive({f"{name}.npy": data for name, data in members.items()}, method)


def saved(**tensors):
    out = io.BytesIO()
    torch.save(tensors, out)
    return out.getvalue()


def packed(data):
    """A file of torch.save whose members are compressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        return archive({name: old.read(name) for name in old.namelist()}, zipfile.ZIP_DEFLATED)


def buffer(container):
    """A file of torch that asks for an empty buffer."""
    ask = b"cbuiltins\nbytearray\n\x8a\x05" + (4 * 10**9).to_bytes(5, "little") + b"\x85R"
    content = b"\x80\x02}(X\x01\x00\x00\x00x" + ask + b"u."
    if container == "zip":
        return archive({"archive/data.pkl": content, "archive/version": "3\n"})
    parts = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(part, 2) for part in parts) + content + pickle.dumps([], 2)


def header(shape):
    """A snapshot whose header claims a tensor of any shape."""
    text = json.dumps({"G.x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * HUGE]}}).encode()
    return struct.pack("<Q", len(text)) + text


def images(data, suffix):
    return archive({f"0.{suffix}": data})


BOMB = 2**28  # bytes, of which a zip makes a quarter of a megabyte; more than the process that reads may have
ZEROS = npy((1, BOMB // 4), "<f4", bytes(BOMB))
PACKED = packed(saved(version=3, x=torch.zeros(BOMB // 4)))
FILES = {
    "latents-claims": lambda: npz(**dict.fromkeys(("names", "z", "c", "w", "noise_seeds"), npy((2, HUGE)))),
    "latents-zip in a zip": lambda: archive({"latents.npz": npz(names=npy((2, HUGE)))}),
    "latents-bomb": lambda: npz(zipfile.ZIP_DEFLATED, names=ZEROS),
    "latents-bomb in a zip": lambda: archive({"latents.npz": bytes(BOMB)}, zipfile.ZIP_DEFLATED),
    "directions-claims": lambda: npz(**dict.fromkeys(("vectors", "deviations", "layers"), npy((2, HUGE)))),
    "directions-bomb": lambda: npz(zipfile.ZIP_DEFLATED, vectors=ZEROS, deviations=b"", layers=b""),
    "directions-negative": lambda: npz(**dict.fromkeys(("vectors", "deviations", "layers"), npy((-1, -HUGE)))),
    "weights-bomb": lambda: PACKED,
    "weights-buffer": lambda: buffer("zip"),
    "weights-older buffer": lambda: buffer("legacy"),
    "checkpoint-bomb": lambda: PACKED,
    "checkpoint-buffer": lambda: buffer("zip"),
    "network-bomb.pth": lambda: PACKED,
    "network-buffer.pth": lambda: buffer("zip"),
    "network-older buffer.pth": lambda: buffer("legacy"),
    "network-claims.safetensors": lambda: header([HUGE]),
    "network-header.safetensors": lambda: struct.pack("<Q", 2**26) + b"{}",
    "dataset-bands.zip": lambda: images(npy((5, HUGE, 8), "|u1"), "npy"),
    "dataset-negative bands.zip": lambda: images(npy((5, -HUGE, -8), "|u1"), "npy"),
    "dataset-picture.zip": lambda: images(picture(2**16, 2**16), "png"),
}  # fmt: skip


def picture(width, height):
    """A PNG whose header claims any size, with the right checksum."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_headers_that_claim_too_much_take_no_memory(tmp_path):
    for name, make in FILES.items():
        (tmp_path / name).write_bytes(make())
    command = [sys.executable, "-m", "tests.read_claims", str(tmp_path)]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=200)
    assert out.returncode == 0, out.stderr[-2000:]

    # A reader that tried and failed would speak of memory.
    results = dict(map(json.loads, out.stdout.splitlines()))
    assert results.keys() == FILES.keys()
    for name, message in results.items():
        assert message != "READ" and message.isprintable(), name
        assert "alloc" not in message.lower() and "memory" not in message.lower(), (name, message)


def test_images_of_too_many_channels_are_one_line(tmp_path):
    image = np.zeros((5000, 8, 8), np.uint8)
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "records-r03.tfrecords").write_bytes(frame(encode_example(image)))
    (tmp_path / "bands").mkdir()
    np.save(tmp_path / "bands" / "0.npy", image)
    (tmp_path / "bands" / "dataset.json").write_text(json.dumps({"channels": 5000}))
    for form in ("records", "bands"):
        with pytest.raises(UserError, match=r"channels: found .*, expected 1 to 4096"):
            open_dataset(tmp_path / form)


def test_labels_of_too_many_values_are_one_line(tmp_path):
    (tmp_path / "x-r03.tfrecords").write_bytes(frame(encode_example(np.zeros((3, 8, 8), np.uint8))))
    np.save(tmp_path / "x-rxx.labels.npy", np.zeros((1, 2**20 + 1), bool))
    (tmp_path / "x-rxx.labels.npy").rename(tmp_path / "x-rxx.labels")
    with pytest.raises(UserError, match="c_dim: found 1048577, expected 0 to 2\\^20"):
        open_dataset(tmp_path)
