"""Networks by URL: downloads, hashes, web pages in place of files."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dnnlib.errors import UserError
from pretrained import load_network


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
