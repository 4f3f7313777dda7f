"""Formats by their first bytes; networks by URL: downloads, hashes, web pages in place of files."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.loading import FORMATS, format_of
from tests.golden_data import GOLDEN

SAFETENSORS, ZIP, LEGACY, PICKLE, HTML = FORMATS


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ((2**27 - 1).to_bytes(8, "little") + b'{"', SAFETENSORS),
        ((10).to_bytes(8, "little") + b'{"', SAFETENSORS),
        (b"PK\x03\x04", ZIP),
        (bytes.fromhex("80028a0a6cfc9c46f9206aa85019") + b".", LEGACY),
        (b"\x80\x02\x8a\x0a", PICKLE),
        (b"\x80\x05", PICKLE),
        (b"<!DOCTYPE HTML>", HTML),
        (b"\xef\xbb\xbf\r\n\t <HTML lang=", HTML),
        (b"<?xml version=", HTML),
        (b"<head>", HTML),
    ],
)
def test_the_first_bytes_tell_the_format(tmp_path, head, name):
    (tmp_path / "x.png").write_bytes(head)
    assert format_of(tmp_path / "x.png") == name


@pytest.mark.parametrize(
    "head", [(2**27).to_bytes(8, "little") + b'{"', b"PK\x05\x06", b"\x80\x01", b"\x80\x06", b"<svg>", b"\x80", b""]
)
def test_other_files_are_refused(tmp_path, head):
    (tmp_path / "x.pkl").write_bytes(head)
    with pytest.raises(UserError, match=r"x.pkl: not a network file \(.*expected a snapshot of train.py"):
        format_of(tmp_path / "x.pkl")


def test_golden_files_are_what_they_are(snapshot):
    assert format_of(snapshot) == SAFETENSORS
    assert format_of(GOLDEN / "c2_network-final.pkl") == PICKLE
    assert format_of(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_1.pth") == ZIP


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
