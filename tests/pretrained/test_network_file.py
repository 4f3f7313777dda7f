"""Snapshots and generate.py."""

import hashlib
import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import config
from dnnlib.errors import UserError
from pretrained import load_network
from tests.runs import script
from training.networks.msg_stylegan import Discriminator, Generator
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=16, c_dim=3)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    cfg = replace(config.tiny(), G=replace(config.tiny().G, blur_filter=(1, 3, 3, 1)))
    nets = {"G": Generator(cfg.G, SPEC), "D": Discriminator(cfg.D, SPEC), "G_ema": Generator(cfg.G, SPEC)}
    for G in (nets["G"], nets["G_ema"]):
        torch.nn.init.normal_(G.mapping.w_avg)
        for layer in G.synthesis.layers():
            torch.nn.init.normal_(layer.noise_strength)
    return cfg, nets


@pytest.fixture
def snapshot(networks, tmp_path):
    _, nets = networks
    save_snapshot(tmp_path / "network-snapshot-000012.safetensors", nets, SPEC, 12345)
    return tmp_path / "network-snapshot-000012.safetensors"


def generate(*args, check=True):
    return script("generate.py", *args, check=check)


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


def test_images_are_those_of_the_network(networks, snapshot, tmp_path):
    generate("images", "--network", snapshot, "--seeds", "3", "--outdir", tmp_path / "o", "--class", 1, "--trunc", 0.5)
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 16)).float()
    with torch.no_grad():
        x = networks[1]["G_ema"](z, torch.eye(3)[[1]], truncation_psi=0.5, truncation_cutoff=8, noise_mode="const")[-1]
    expected = ((x[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "o" / "seed0003.png") as im:
        np.testing.assert_array_equal(np.asarray(im), expected)


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_same_seed_same_image_whatever_else_is_asked_for(snapshot, tmp_path, noise):
    for out, seeds in (("a", "0-4,9"), ("b", "9"), ("c", "4,3")):
        generate("images", "--network", snapshot, "--seeds", seeds, "--outdir", tmp_path / out, "--noise-mode", noise)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == [f"seed000{i}.png" for i in (0, 1, 2, 3, 4, 9)]
    for out, seed in (("b", 9), ("c", 4), ("c", 3)):
        name = f"seed000{seed}.png"
        assert (tmp_path / out / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_level_and_multiscale_sheet(snapshot, tmp_path):
    generate("images", "--network", snapshot, "--seeds", "0", "--outdir", tmp_path / "o", "--level", 0)
    generate("multiscale", "--network", snapshot, "--seeds", "0-2", "--output", tmp_path / "sheet.png")
    with Image.open(tmp_path / "o" / "seed0000.png") as small, Image.open(tmp_path / "sheet.png") as sheet:
        assert small.size == (4, 4) and sheet.size == (3 * 16, 3 * 16)
        np.testing.assert_array_equal(np.asarray(sheet)[:16, :16], np.asarray(small).repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seeds", "5-3"], "--seeds 5-3: found `5-3`"),
        (["--seeds", "x"], "--seeds x"),
        (["--seeds", "4294967296"], "expected seeds below 2^32"),
        (["--class", 3], "--class 3: expected 0 to 2"),
        (["--level", 3], "--level 3: expected -3 to 2"),
        (["--noise-mode", "loud"], "invalid choice 'loud'"),
        (["--network", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--trunc", "nan"], "--trunc nan: expected -10 to 10"),
        (["--seeds", "0-4000000000"], "at most 1000000 seeds"),
    ],
)
def test_bad_options_are_one_line(snapshot, tmp_path, args, message):
    out = generate("images", "--network", snapshot, "--outdir", tmp_path / "o", *args, check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr and not (tmp_path / "o").exists()
    assert [line for line in out.stderr.splitlines() if line.startswith("error:") and message in line]


def test_url_is_downloaded_once(snapshot, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=snapshot.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{snapshot.name}"
        assert load_network(url).cur_nimg == 12345
        with pytest.raises(UserError, match="cannot download: File not found"):
            load_network(url + ".not")
        server.shutdown()
    assert load_network(url).cur_nimg == 12345  # from the cache
    with pytest.raises(UserError, match="cannot download"):
        load_network(url + ".other")
    assert len(list((tmp_path / "cache").rglob("*.*"))) == 1


def test_hash_of_a_url(snapshot, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    right = hashlib.sha256(snapshot.read_bytes()).hexdigest()
    wrong = "0" * 64
    handler = partial(SimpleHTTPRequestHandler, directory=snapshot.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{snapshot.name}"
        with pytest.raises(UserError, match=f"sha256 is {right}, expected {wrong}"):
            load_network(f"{url}#sha256={wrong}")
        assert not list((tmp_path / "cache").rglob("*.safetensors"))
        assert load_network(f"{url}#sha256={right.upper()}").cur_nimg == 12345
        with pytest.raises(UserError, match="cached as"):
            load_network(f"{url}#sha256={wrong}")
        with pytest.raises(UserError, match="#md5=12: expected nothing after the url but #sha256="):
            load_network(f"{url}#md5=12")
        server.shutdown()


def test_a_web_page_in_place_of_a_file_is_not_kept(snapshot, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    data = snapshot.read_bytes()
    handler = partial(SimpleHTTPRequestHandler, directory=snapshot.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{snapshot.name}"
        snapshot.write_bytes(b"<!doctype html>try again later")
        with pytest.raises(UserError, match="a web page, not a network file"):
            load_network(url)
        snapshot.write_bytes(data)
        assert load_network(url).cur_nimg == 12345
        server.shutdown()


def test_networks_are_read_when_first_asked_for(snapshot):
    """Opening looks at names and shapes only; G_ema is read without G and D."""
    net = load_network(snapshot)
    read = []
    for name, part in net.parts.items():
        for key, stored in part.tensors.items():
            part.tensors[key] = replace(stored, read=lambda k=f"{name}.{key}", r=stored.read: (read.append(k), r())[1])
    assert not read
    net.generator()
    assert read and all(k.startswith("G_ema.") for k in read)
    assert net.G_ema is net.G_ema and len(read) == len(net.parts["G_ema"].tensors)
