"""Files from the web, from a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dnnlib.downloads import fetch, is_url
from dnnlib.errors import UserError

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers /whole..., /short (which closes too early) and /garbage; nothing else exists."""

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path == "/garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if not self.path.startswith(("/whole", "/short")):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA if self.path.startswith("/whole") else DATA[:-1])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with its `url` and the `paths` it was asked for; the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url, server.paths = f"http://127.0.0.1:{server.server_port}", []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def cached(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_urls_are_reported_from_files():
    assert is_url("http://x/y.pkl") and is_url("https://x")
    assert not any(map(is_url, ("x.pkl", "/x/y.pkl", "C:/x.pkl", "file:///x.pkl", "")))


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetch(f"{server.url}/whole.pkl?x=1")
    assert path.read_bytes() == DATA and path.name.endswith("-whole.pkl") and cached(tmp_path) == [path]
    assert fetch(f"{server.url}/whole.pkl?x=1") == path
    assert server.paths == ["/whole.pkl?x=1"]


def test_files_of_the_same_name_are_kept_apart(server):
    assert fetch(f"{server.url}/whole/a") != fetch(f"{server.url}/whole/b/a")


def test_the_place_may_be_given(server, tmp_path):
    path = tmp_path / "folder" / "weights.pth"
    assert fetch(f"{server.url}/whole", path) == path
    assert path.read_bytes() == DATA and not cached(tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "cannot download: Not Found"),
        ("short", "cannot download: the last 1 bytes did not arrive"),
        ("garbage", "cannot download: BadStatusLine"),
    ],
)
def test_failed_downloads_leave_nothing(server, tmp_path, path, message):
    with pytest.raises(UserError) as e:
        fetch(f"{server.url}/{path}")
    assert message in str(e.value) and f"{server.url}/{path}" in str(e.value) and not cached(tmp_path)


def test_a_server_that_is_not_there(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"cannot download: .*refused"):
        fetch(f"{server.url}/whole")
    assert not cached(tmp_path)


def test_checksums(server, tmp_path):
    url, wrong = f"{server.url}/whole", "0" * 64
    with pytest.raises(UserError, match=f"whole: sha256 is {SHA256}, expected {wrong}"):
        fetch(f"{url}#sha256={wrong}")
    assert not cached(tmp_path)
    path = fetch(f"{url}#sha256={SHA256.upper()}")
    assert path == fetch(url) and path.read_bytes() == DATA
    with pytest.raises(UserError, match=f"cached as .*whole: sha256 is {SHA256}, expected {wrong}"):
        fetch(f"{url}#sha256={wrong}")
    assert path.exists()


@pytest.mark.parametrize("fragment", ["md5=12", "sha256=12", "part"])
def test_other_fragments_are_refused(server, fragment):
    with pytest.raises(UserError, match=f"#{fragment}: expected nothing after the url but #sha256="):
        fetch(f"{server.url}/whole#{fragment}")
    assert not server.paths
