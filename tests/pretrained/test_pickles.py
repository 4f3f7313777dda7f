"""No pickle runs code, allocates at will or ends in anything but a one-line error."""

import copyreg
import io
import os
import pickle
import pickletools
import random
import resource
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.pickles import ALLOWED, MAX_OPCODES, read_pickle
from tests import tf_pickles
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT

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
        ("copyreg extension", "opcode EXT2"),
        ("persistent_id", "opcode BINPERSID"),
        ("INST in protocol 4", "opcode INST"),
        ("NEWOBJ_EX", "asks for os.system"),
        ("torch persistence", "StyleGAN2-ADA, StyleGAN3 or a project built on them, which is not supported"),
    ):
        path = tmp_path / "x.pkl"
        path.write_bytes(HOSTILE[kind](tmp_path / "trap"))
        with pytest.raises(UserError) as e:
            load_network(path)
        assert message in str(e.value), kind


def deep(opening, closing, n=300_000):
    return opcodes(opening * n, closing * n)


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
    "nested tuples": deep(b"", b"\x85", 300_000).replace(b"\x80\x04", b"\x80\x04N", 1),
    "nested marks": opcodes(b"(" * 900_000),
    "nested tuple as a key": opcodes(b"}N", b"\x85" * 300_000, b"Ns"),
    "very many opcodes": opcodes(b"}" * (MAX_OPCODES + 10)),
    "doubling lists": opcodes(b"]" + b"2" * 60 + b"a" * 60),
    "lists of themselves": opcodes(b"]\x94" + b"h\x00a" * 1000),
    "long line": b"\x80\x02L" + b"9" * 5_000_000 + b"\n.",
    "empty pickle": b"\x80\x04.",
    "stack underflow": opcodes(b"\x85"),
    "mark underflow": opcodes(b"t"),
    "missing memo": opcodes(b"h\x07"),
    "unknown opcode": opcodes(b"\xfe"),
    "just a dictionary": pickle.dumps({"G": 1}, protocol=4),
    "just a list": pickle.dumps([], protocol=4),
    "networks without state": opcodes(text("dnnlib.tflib.network") + text("Network") + b"\x93)\x81"),
    "components that contain themselves": opcodes(
        text("dnnlib.tflib.network") + text("Network") + b"\x93)\x81\x94}(" + text("name") + text("G") + text("version")
        + b"K\x03" + text("static_kwargs") + b"}" + text("variables") + b"]" + text("components") + b"}("
        + text("a") + b"h\x00uub"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREEDY)
def test_memory_and_time_stay_bounded(kind, tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(GREEDY[kind])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError) as e:
        load_network(path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 2**10
    assert time.monotonic() - start < 30


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
    path, ended = tmp_path / "x.pkl", {"loaded": 0, "refused": 0}
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
            ended["loaded"] += 1
        except UserError as e:
            assert "\n" not in str(e) and "x.pkl" in str(e)
            ended["refused"] += 1
    assert ended["refused"] > 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20


def test_the_allow_list_is_short():
    assert set(ALLOWED) == {
        "dnnlib.tflib.network Network", "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar",
        "numpy.core.numeric _frombuffer", "numpy dtype", "numpy ndarray", "_codecs encode",
    }  # fmt: skip


def test_nothing_of_the_file_is_imported():
    """Reading a network pickle imports neither TensorFlow's helpers nor numpy's unpickling functions."""
    code = f"""
import sys
from pretrained.pickles import read_pickle
from pathlib import Path
import builtins
real = builtins.__import__
def watch(name, *args, **kwargs):
    assert not name.startswith(("dnnlib.tflib", "tensorflow")), name
    return real(name, *args, **kwargs)
builtins.__import__ = watch
read_pickle(Path({str(C2)!r}))
assert "dnnlib.tflib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENV, check=True)


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
    for protocol in (2, 3, 4, 5):
        (tmp_path / "x").write_bytes(pickle.dumps([*arrays, np.float32(1.625)], protocol=protocol))
        for a, b in zip([*arrays, np.float32(1.625)], read_pickle(tmp_path / "x"), strict=True):
            np.testing.assert_array_equal(a, b.value)
            assert b.value.dtype == a.dtype
