"""No pickle runs code, allocates at will or ends in anything but a one-line error."""

import copyreg
import io
import json
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.pickles import ARRAYS, MAX_OPCODES, TENSORFLOW, read_pickle
from pretrained import load_network
from pretrained.tf_networks import generator_table, options
from tests import tf_pickles
from tests.golden_data import GOLDEN, golden
from tests.runs import ENV, ROOT
from training.config import from_dict
from training.networks.architectures import build_generator
from training.networks.config import GeneratorConfig
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec

C2 = GOLDEN / "c2_network-final.pkl"


class Reduce:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def touch(path):
    return Reduce(os.system, f"touch {path}")


def opcodes(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def text(s):
    return pickle.SHORT_BINUNICODE + bytes([len(s)]) + s.encode()


def call(module, name, *args):
    """REDUCE by STACK_GLOBAL of anything."""
    return text(module) + text(name) + b"\x93(" + b"".join(args) + b"tR"


def network(**state):
    cls = tf_pickles.network_class()
    return tf_pickles.dumps(tf_pickles.network(cls, **state), cls)


def nested_in_network(evil):
    cls = tf_pickles.network_class()
    kwargs = {"resolution": evil}
    net = tf_pickles.network(cls, version=3, name="G", static_kwargs=kwargs, components={}, variables=[])
    return tf_pickles.dumps((net, net, net), cls)


def persistent_id(path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("exec", f"touch {path}") if obj == "here" else None

    out = io.BytesIO()
    Pickler(out, 4).dump(["here"])
    return out.getvalue()


def extension_registry(path):
    copyreg.add_extension(os.system.__module__, "system", 1234)
    try:
        return pickle.dumps(touch(path), protocol=4)
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 1234)


def object_array(path):
    a = np.empty(2, object)
    a[0] = touch(path)
    return pickle.dumps(a, protocol=4)


HOSTILE = {
    "os.system": lambda p: pickle.dumps(touch(p), protocol=4),
    "os.system, protocol 2": lambda p: pickle.dumps(touch(p), protocol=2),
    "builtins.eval": lambda p: pickle.dumps(Reduce(eval, f"open({str(p)!r}, 'w')"), protocol=4),
    "builtins.exec": lambda p: pickle.dumps(Reduce(exec, f"open({str(p)!r}, 'w')"), protocol=4),
    "subprocess.Popen": lambda p: pickle.dumps(Reduce(subprocess.Popen, ["touch", str(p)]), protocol=4),
    "open": lambda p: pickle.dumps(Reduce(open, str(p), "w"), protocol=4),
    "getattr": lambda p: pickle.dumps(Reduce(getattr, 1, "real"), protocol=4),
    "nested in static kwargs": lambda p: nested_in_network(touch(p)),
    "nested in a list": lambda p: pickle.dumps([1, {"a": [touch(p)]}], protocol=4),
    "as a dictionary key": lambda p: pickle.dumps({(1, 2): touch(p)}, protocol=4),
    "in a dtype's name": lambda p: opcodes(
        call("numpy", "dtype", call("os", "system", text(f"touch {p}")), b"\x89\x88")
    ),
    "in a dtype's state": lambda p: opcodes(
        call("numpy", "dtype", text("f4"), b"\x89\x88"),
        b"(K\x03",
        call("os", "system", text(f"touch {p}")),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    ),
    "object array": object_array,
    "in an array's state": lambda p: opcodes(
        call("numpy.core.multiarray", "_reconstruct", text("numpy") + text("ndarray") + b"\x93", b"K\x00\x85C\x01b"),
        b"(K\x01K\x01\x85",
        call("numpy", "dtype", text("f4"), b"\x89\x88"),
        b"\x89",
        call("os", "system", text(f"touch {p}")),
        b"tb",
    ),
    "state of a foreign object": lambda p: opcodes(call("builtins", "object"), text("x"), b"b"),
    "__setstate__ by BUILD on a list": lambda p: opcodes(b"]}(", text("__class__"), text("x"), b"ub"),
    "persistent_id": persistent_id,
    "copyreg._reconstructor": lambda p: pickle.dumps(Reduce(copyreg._reconstructor, int, object, None), protocol=4),
    "copyreg extension": extension_registry,
    "INST": lambda p: b"(S'touch " + str(p).encode() + b"'\nios\nsystem\n.",
    "INST in protocol 4": lambda p: opcodes(b"(", text("touch"), b"ios\nsystem\n"),
    "OBJ": lambda p: b"\x80\x02(cos\nsystem\nS'touch " + str(p).encode() + b"'\no.",
    "NEWOBJ_EX": lambda p: opcodes(text("os") + text("system") + b"\x93)}\x92"),
    "_codecs.encode into a codec": lambda p: opcodes(call("_codecs", "encode", text("x"), text("zip"))),
    "a call of numpy.ndarray": lambda p: opcodes(call("numpy", "ndarray", b"J\xff\xff\xff\x7f\x85")),
    "numpy.load": lambda p: opcodes(call("numpy", "load", text(str(p)))),
    "torch persistence": lambda p: opcodes(call("torch_utils.persistence", "_reconstruct_persistent_obj", b"}")),
    "a module that looks allowed": lambda p: opcodes(call("dnnlib.tflib.network", "Network.__init__.__globals__")),
    "dotted name": lambda p: opcodes(call("numpy", "core.multiarray._reconstruct")),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_is_executed(kind, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "x.pkl"
    path.write_bytes(HOSTILE[kind](trap))
    before = set(sys.modules)
    with pytest.raises(UserError) as e:
        load_network(path)
    assert not trap.exists() and "\n" not in str(e.value) and str(path) in str(e.value)
    assert not {m for m in set(sys.modules) - before if not m.startswith(("torch", "numpy"))}


def test_refusals_name_what_was_asked_for(tmp_path):
    for kind, message in (
        ("os.system", "refused: the file asks for posix.system"),
        ("nested in static kwargs", "refused: the file asks for posix.system"),
        ("builtins.eval", "refused: the file asks for builtins.eval"),
        ("copyreg._reconstructor", "copyreg._reconstructor"),
        ("copyreg extension", "unregistered extension code 1234"),
        ("persistent_id", "persistent id instruction was encountered"),
        ("INST in protocol 4", "asks for os.system"),
        ("NEWOBJ_EX", "asks for os.system"),
        ("torch persistence", "StyleGAN2-ADA, StyleGAN3 or a project built on them, which is not supported"),
    ):
        path = tmp_path / "x.pkl"
        path.write_bytes(HOSTILE[kind](tmp_path / "trap"))
        with pytest.raises(UserError) as e:
            load_network(path)
        assert message in str(e.value), kind


def deep(opening, closing, n=300_000):
    return opcodes(opening * n, closing * (n - 1))


NETWORK = text("dnnlib.tflib.network") + text("Network") + b"\x93)\x81"
NDARRAY = text("numpy") + text("ndarray") + b"\x93"
RECONSTRUCT = call("numpy.core.multiarray", "_reconstruct", NDARRAY, b"K\x00\x85C\x01b")
FLOAT32 = call("numpy", "dtype", text("f4"), b"\x89\x88")


PLACES = ("name", "version", "static_kwargs", "option", "blur_filter", "components", "variables", "variable")


def state(name, value):
    """A network with `value` (opcodes) in one place of its state."""
    parts = {"name": text("G"), "version": b"K\x03", "static_kwargs": b"}", "components": b"}", "variables": b"]"}
    if name in ("option", "blur_filter"):
        parts["static_kwargs"] = b"}(" + text("blur_filter" if name == "blur_filter" else "resolution") + value + b"u"
    elif name == "variable":
        parts["variables"] = b"](" + value + b"N\x86e"
    else:
        parts[name] = value
    return opcodes(NETWORK, b"}(", *(text(k) + v for k, v in parts.items()), b"ub")


# Opcodes of things that take forever, or the stack, to hash, compare or print.
TRAPS = {
    "nested lists": b"]" * 100_000 + b"a" * 99_999,
    "doubled lists": b"](]\x94"
    + b"".join(b"](" + 2 * (b"j" + struct.pack("<I", i)) + b"e\x94" for i in range(60))
    + b"e",
    "a huge integer": b"\x8b" + struct.pack("<i", 300_000) + b"\x7f" * 300_000,
    "long text": b"X" + struct.pack("<I", 3_000_000) + b"x" * 3_000_000,
    "control characters": text("G\nerror: nothing is wrong\x1b[2J"),
    "itself": b"]\x94j\x00\x00\x00\x00a",
}


def sharing():
    """A G whose mapping has a hundred layers that are all one array of bytes: small, and large once it is float32."""
    cls = tf_pickles.network_class()
    array, bias = np.zeros((1024, 1024), np.int8), np.zeros(1024, np.int8)
    kwargs = {"resolution": 8, "latent_size": 1024, "dlatent_size": 1024, "mapping_fmaps": 1024, "mapping_layers": 100,
              "fmap_base": 8, "fmap_max": 2}  # fmt: skip
    cfg = from_dict(GeneratorConfig, options(kwargs, GeneratorConfig)[0], "G")
    with torch.device("meta"):
        net = build_generator(cfg, ImageSpec(resolution=8))
    shapes = {row.ours: row for row in generator_table(cfg, net.spec)}
    variables = []
    for key, t in net.state_dict().items():
        if key.startswith("mapping.fc"):
            variables.append((shapes[key].theirs, array if t.ndim == 2 else bias))
        else:
            order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(t.ndim, range(t.ndim)) if key.endswith("weight") else range(t.ndim)
            variables.append((shapes[key].theirs, np.zeros([t.shape[i] for i in order], np.float32)))
    net = tf_pickles.network(cls, version=2, name="G", static_kwargs=kwargs, variables=variables)
    return tf_pickles.dumps(net, cls)


def repeated():
    """A small network that a tuple names a hundred thousand times."""
    g = golden("c1")
    cls = tf_pickles.network_class()
    variables = [(name.removeprefix("D/"), array) for name, array in g.arrays.items() if name.startswith("D/")]
    net = tf_pickles.network(cls, version=2, name="D", static_kwargs=g.meta["D_static_kwargs"], variables=variables)
    return tf_pickles.dumps((net,) * 100_000, cls)


GREEDY = {
    "bytes of 2^40": opcodes(b"\x8e" + struct.pack("<Q", 2**40) + b"x"),
    "bytes of 2^31": opcodes(b"B" + struct.pack("<I", 2**31 - 1) + b"x"),
    "text of 2^62": opcodes(b"\x8d" + struct.pack("<Q", 2**62) + b"x"),
    "bytearray of 2^40": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "frame of 2^62": opcodes(b"\x95" + struct.pack("<Q", 2**62), b"N"),
    "integer of 2^31 bytes": opcodes(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x"),
    "memo index of 2^31": opcodes(b"Nr" + struct.pack("<I", 2**31)),
    "array that claims 2^40": opcodes(
        call("numpy.core.multiarray", "_reconstruct", text("numpy") + text("ndarray") + b"\x93", b"K\x00\x85C\x01b"),
        b"(K\x01\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85",
        call("numpy", "dtype", text("f4"), b"\x89\x88"), b"\x89C\x04abcdtb",
    ),
    "array of many dimensions": opcodes(
        call("numpy.core.multiarray", "_reconstruct", text("numpy") + text("ndarray") + b"\x93", b"K\x00\x85C\x01b"),
        b"(K\x01(" + b"K\x01" * 5000 + b"t", call("numpy", "dtype", text("f4"), b"\x89\x88"), b"\x89C\x04abcdtb",
    ),
    "nested lists": deep(b"]", b"a"),
    "nested tuples": opcodes(b"N", b"\x85" * 300_000),
    "nested marks": opcodes(b"(" * 900_000),
    "nested lists in a tuple": opcodes(b"N", b"]\x94h\x00\x85" * 1000),
    "long tuple": opcodes(b"(" + b"N" * 100_000 + b"t"),
    "very many opcodes": opcodes(b"}" * (MAX_OPCODES + 10)),
    "lists of themselves": opcodes(b"]\x94" + b"h\x00a" * 1000),
    "long line": b"\x80\x02L" + b"9" * 5_000_000 + b"\n.",
    "empty pickle": b"\x80\x04.",
    "stack underflow": opcodes(b"\x85"),
    "mark underflow": opcodes(b"t"),
    "missing memo": opcodes(b"h\x07"),
    "unknown opcode": opcodes(b"\xfe"),
    "just a dictionary": pickle.dumps({"G": 1}, protocol=4),
    "just a list": pickle.dumps([], protocol=4),
    "networks without state": opcodes(NETWORK),
    "components that contain themselves": opcodes(
        NETWORK + b"\x94}(" + text("name") + text("G") + text("version") + b"K\x03" + text("static_kwargs") + b"}"
        + text("variables") + b"]" + text("components") + b"}(" + text("a") + b"h\x00uub"
    ),
    "many references to a huge dimension": opcodes(
        RECONSTRUCT, b"(K\x01\x8b" + struct.pack("<i", 500_000) + b"\x7f" * 500_000 + b"\x94",
        b"(" + b"h\x00" * 20_000 + b"t", FLOAT32, b"\x89C\x04abcdtb",
    ),
    "one array for a hundred layers": sharing(),
    "one network a hundred thousand times": repeated(),
    **{f"{what} as {name}": state(name, value) for what, value in TRAPS.items()
       for name in PLACES},
}  # fmt: skip


def ended(folder):
    """How load_network ended for each file of a folder, in a process of limited memory that none may hang or kill."""
    command = [sys.executable, "-m", "tests.pretrained.open_networks", folder]
    out = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=300)
    results = {name: message for name, message, _ in map(json.loads, out.stdout.splitlines())}
    missing = {p.name for p in folder.iterdir()} - results.keys()
    assert not missing and out.returncode == 0, (min(missing, default=""), out.returncode, out.stderr[-2000:])
    return results


def test_memory_and_time_stay_bounded(tmp_path):
    for kind, data in GREEDY.items():
        (tmp_path / kind).write_bytes(data)
    for kind, message in ended(tmp_path).items():
        assert message != "LOADED" and len(message) < 1200 and message.isprintable(), (kind, message)


def pth(key=b"", value=b"", container="zip"):
    """Bytes of a .pth whose state dict has one more entry, by opcodes."""
    out = io.BytesIO()
    content = pickle.PROTO + b"\x02}" + (b"(" + key + value + b"u" if key else b"") + b"."
    if container == "legacy":
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
            out.write(pickle.dumps(part, 2))
        out.write(content + pickle.dumps([], 2))
        return out.getvalue()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", content)
        z.writestr("archive/version", "3\n")
    return out.getvalue()


def long_text(s):
    """Text by the one opcode for it that protocol 2 and torch's reader have."""
    return pickle.BINUNICODE + struct.pack("<I", len(s)) + s.encode()


ELEMENTS = b"\x8a\x05" + (2**37).to_bytes(5, "little")
STORAGE = b"(" + long_text("storage") + b"ctorch\nFloatStorage\n" + long_text("0") + long_text("cpu") + ELEMENTS + b"tQ"
HOSTILE_PTH = {
    "bytearray": (long_text("x"), b"cbuiltins\nbytearray\n\x8a\x05" + (4 * 10**9).to_bytes(5, "little") + b"\x85R"),
    "huge storage": (
        long_text("x"),
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x01\x85K\x01\x85\x89}tR",
    ),
    "os.system": (long_text("x"), b"cos\nsystem\n" + long_text("true") + b"\x85R"),
    "control characters": (long_text("x\ny\x1b[2J"), b"N"),
}


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_pth_files_stay_bounded_too(container, tmp_path):
    for kind, (key, value) in HOSTILE_PTH.items():
        (tmp_path / kind).write_bytes(pth(key, value, container))
    (tmp_path / "empty").write_bytes(pth(container=container))
    results = ended(tmp_path)
    assert all(m != "LOADED" and m.isprintable() for m in results.values()), results
    assert "asks for os.system" in results["os.system"] and "damaged" in results["huge storage"]
    assert "not weights of one network" in results["empty"]  # so that it is the entry that was refused in the others


@pytest.mark.parametrize("name", ["zip", "legacy", "safetensors"])
def test_fuzz_of_other_formats(name, tmp_path):
    """Bytes changed anywhere in small files: an error or a network, and nothing else."""
    rng = random.Random(0)
    state = torch.load(GOLDEN / "bmsg_gan" / "depth3_latent16" / "GAN_GEN_1.pth", weights_only=True)
    whole = tmp_path / "whole"
    if name == "safetensors":
        net = load_network(GOLDEN / "bmsg_gan" / "depth3_latent16" / "GAN_GEN_1.pth")
        save_snapshot(whole, {"G": net.G}, net.spec, 1)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=name == "zip")
    data = whole.read_bytes()
    whole.unlink()
    header = 8192 if name != "zip" else len(data)
    for i in range(150):
        mutated = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(min(header, len(data) - 8))
            kind = rng.randrange(3)
            if kind == 0:
                mutated[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                mutated[at] = rng.randrange(256)
            else:
                del mutated[at]
        (tmp_path / f"{i:03d}").write_bytes(mutated)
    messages = ended(tmp_path).values()
    assert all(m.isprintable() for m in messages) and sum(m != "LOADED" for m in messages) > 50


def test_truncated_files(tmp_path):
    """Cut anywhere, among the first opcodes and within arrays."""
    data, path = C2.read_bytes(), tmp_path / "x.pkl"
    for n in [1, 2, 3, 10, 11, 12, 40, 100, 500, 2000, 10_000, len(data) // 2, len(data) - 2, len(data) - 1]:
        path.write_bytes(data[:n])
        with pytest.raises(UserError) as e:
            load_network(path)
        assert "x.pkl" in str(e.value) and "\n" not in str(e.value)
    assert "half a download" in str(e.value)


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # pickletools, of a text opcode that is then refused
@pytest.mark.parametrize("seed", range(8))
def test_fuzz(seed, tmp_path):
    """Flipped, changed, inserted and deleted bytes outside of array data: an error or the networks, nothing else."""
    rng = random.Random(seed)
    data = C2.read_bytes()
    small = [at for op, arg, at in pickletools.genops(data) if not (isinstance(arg, bytes) and len(arg) > 64)]
    path, outcomes = tmp_path / "x.pkl", {"loaded": 0, "refused": 0}
    for _ in range(60):
        mutated = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.choice(small) + rng.randrange(3)
            kind = rng.randrange(4)
            if kind == 0:
                mutated[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                mutated[at] = rng.randrange(256)
            elif kind == 2:
                del mutated[at]
            else:
                mutated.insert(at, rng.randrange(256))
        path.write_bytes(mutated)
        try:
            net = load_network(path)
            assert net.G is not None or net.D is not None or net.G_ema is not None
            outcomes["loaded"] += 1
        except UserError as e:
            assert "\n" not in str(e) and "x.pkl" in str(e)
            outcomes["refused"] += 1
    assert outcomes["refused"] > 30


def test_the_allow_lists_are_short():
    assert set(TENSORFLOW) == {
        "dnnlib.tflib.network Network", "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar",
        "numpy.core.numeric _frombuffer", "numpy dtype", "numpy ndarray",
    }  # fmt: skip
    assert set(TENSORFLOW) - set(ARRAYS) == {"dnnlib.tflib.network Network"}


def test_what_numpy_writes_is_read(tmp_path):
    """Arrays of every allowed type and layout, every protocol."""
    arrays = [
        np.arange(6, dtype=t).reshape(2, 3) for t in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    ]
    arrays += [
        np.asfortranarray(arrays[1]),
        arrays[1].astype(">f4"),
        np.array([True, False]),
        np.zeros(()),
    ]
    for protocol in (3, 4, 5):
        (tmp_path / "x").write_bytes(pickle.dumps([*arrays, np.float32(1.625)], protocol=protocol))
        read = read_pickle(tmp_path / "x")
        for a, b in zip([*arrays, np.float32(1.625)], read, strict=True):
            np.testing.assert_array_equal(a, b)
            assert b.dtype.type == a.dtype.type
