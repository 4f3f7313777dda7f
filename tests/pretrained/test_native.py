"""Snapshots: round trip, and what is wrong with some."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnnlib.errors import UserError
from pretrained import load_network
from tests.pretrained.snapshot_fixtures import SPEC


def test_round_trip(networks, snapshot):
    _, nets = networks
    net = load_network(snapshot)
    assert (net.spec, net.cur_nimg) == (SPEC, 12345)
    z, c = torch.randn(4, 16), torch.eye(3)[[0, 1, 2, 0]]
    with torch.no_grad():
        for name in ("G", "G_ema"):
            ours = getattr(net, name)(z, c, truncation_psi=0.7, truncation_cutoff=8, noise_mode="const")
            theirs = nets[name](z, c, truncation_psi=0.7, truncation_cutoff=8, noise_mode="const")
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert torch.equal(net.D(theirs, c), nets["D"](theirs, c))
        w = net.G_ema.mapping(z, c)
        assert w.shape == (4, 6, 16)
        assert torch.equal(net.G_ema.synthesis(w, noise_mode="const")[-1], net.G_ema(z, c, noise_mode="const")[-1])
        assert len(net.G_ema(z, None, noise_mode="none")) == 3
    assert net.generator() is net.G_ema


def _rewrite(path, metadata=None, drop=None, reshape=None, extra=None):
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        meta = dict(f.metadata())
    facts = json.loads(meta["msg-gan"])
    facts.update(metadata or {})
    facts = {k: v for k, v in facts.items() if v is not None}
    meta = {"other": "program"} if facts.pop("foreign", False) else {"msg-gan": json.dumps(facts)}
    tensors = load_file(path)
    if drop:
        del tensors[drop]
    if extra:
        tensors[extra] = torch.zeros(2)
    if reshape:
        tensors[reshape] = tensors[reshape][..., :-1].contiguous()
    save_file(tensors, path, meta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: _rewrite(p, {"version": 99}), "snapshot version 99, expected 1"),
        (lambda p: _rewrite(p, {"foreign": True}), "of another program"),
        (lambda p: _rewrite(p, {"G": {"kind": "other"}}), "kind other"),
        (lambda p: _rewrite(p, {"D": {"kind": "msg_progan"}}), "D: of another architecture"),
        (lambda p: _rewrite(p, {"D": {}}), "D: of another architecture"),
        (lambda p: _rewrite(p, {"G": [1]}), "G: found [1], expected an object"),
        (lambda p: _rewrite(p, extra="other.weight"), "unknown tensor other.weight"),
        (lambda p: _rewrite(p, {"images": None}), "no 'images' in the metadata"),
        (lambda p: _rewrite(p, {"G": {"nope": 1}}), "unknown option nope"),
        (lambda p: _rewrite(p, drop="D.b4.fc0.weight"), "D: of another architecture: missing tensor b4.fc0.weight"),
        (lambda p: _rewrite(p, reshape="G.synthesis.b4.layer0.source.const"), "another architecture"),
        (lambda p: _rewrite(p, {"D": {"fmap_max": 8}}), "another architecture"),
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "not a whole safetensors file"),
        (lambda p: p.write_bytes(b"\n<!DOCTYPE html><title>404</title>"), "a web page, not a network file"),
        (lambda p: p.write_bytes(b"<html>sign in</html>"), "a web page, not a network file"),
        (lambda p: p.write_bytes(b""), "not a network file (an empty file)"),
        (lambda p: p.write_bytes(b"GIF89a"), "not a network file (begins with b'GIF89a')"),
        (lambda p: p.write_bytes(b"\x80"), "not a network file"),
        (lambda p: p.unlink(), "no such file"),
        (lambda p: (p.unlink(), p.mkdir()), "a folder"),
    ],
)
def test_bad_files_are_one_line(snapshot, change, message):
    change(snapshot)
    with pytest.raises(UserError) as e:
        load_network(snapshot)
    assert message in str(e.value) and str(snapshot) in str(e.value)
