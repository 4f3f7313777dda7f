"""Files from the web, from a server on this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

from dnnlib import downloads
from dnnlib.downloads import drive_id, fetch, is_url
from dnnlib.errors import UserError

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


WARNING_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="search" action="/search"><input type="hidden" name="q" value="no"></form>
<p>big.pkl (200M) is too large for Google to scan for viruses.</p>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="large_file_id"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t&amp;x"><input type="hidden" name="uuid" value="12-ab"></form>
</body></html>"""
QUOTA_PAGE = "<html><head><title>Google Drive -\n Quota exceeded</title></head><body>Too many users.</body></html>"


class Handler(BaseHTTPRequestHandler):
    """Answers /whole..., /short (which closes too early), /garbage, /flaky (the third time), /busy (never),
    /moved (elsewhere), and /drive as Google Drive does; nothing else exists."""

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path.startswith("/drive"):
            self.drive()
            return
        if self.path.startswith("/busy") or (self.path == "/flaky" and self.server.paths.count("/flaky") < 3):
            self.send_error(503)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", self.server.target)
            self.end_headers()
            return
        if self.path == "/garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if not self.path.startswith(("/whole", "/short", "/flaky")):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:-1] if self.path.startswith("/short") else DATA)

    def drive(self):
        query = parse_qs(urlparse(self.path).query)
        action = {"large_file_id": self.server.url + "/drive"}.get(query["id"][0], "http://127.0.0.1:1/evil")
        is_file = query["id"] == ["small_file_id"] or (query.get("confirm"), query.get("uuid")) == (["t&x"], ["12-ab"])
        page = QUOTA_PAGE if query["id"] == ["quota_file_id"] else WARNING_PAGE.replace("{action}", action)
        content = DATA if is_file else page.encode()

        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if is_file else "text/html; charset=utf-8")
        if is_file:
            self.send_header("Content-Disposition", 'attachment; filename="big.pkl"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with its `url` and the `paths` it was asked for; the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url, server.paths = f"http://127.0.0.1:{server.server_port}", []
        monkeypatch.setattr(downloads, "DRIVE", f"{server.url}/drive")
        monkeypatch.setattr(downloads, "WAITS", (0.01, 0.02))
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


def test_what_may_pass_is_tried_again(server, capsys):
    assert fetch(f"{server.url}/flaky").read_bytes() == DATA
    assert server.paths == ["/flaky"] * 3
    assert capsys.readouterr().err.count("Service Unavailable, another try in 0.0") == 2

    # In the end it gives up; what is missing is not asked for again.
    with pytest.raises(UserError, match="busy: cannot download: Service Unavailable"):
        fetch(f"{server.url}/busy")
    with pytest.raises(UserError, match="missing: cannot download: Not Found"):
        fetch(f"{server.url}/missing")
    assert server.paths[3:] == ["/busy"] * 3 + ["/missing"]


@pytest.mark.parametrize(
    "url",
    [
        "https://drive.google.com/file/d/small_file_id/view?usp=sharing",
        "https://drive.google.com/open?id=small_file_id",
        "https://drive.google.com/uc?export=download&id=small_file_id",
        "https://docs.google.com/uc?id=small_file_id",
    ],
)
def test_links_to_google_drive_lead_to_the_file(server, url):
    assert drive_id(url) == "small_file_id"
    path = fetch(url)
    assert path.read_bytes() == DATA and path.name.endswith("-small_file_id")
    assert server.paths == ["/drive?id=small_file_id&export=download"]


def test_large_files_of_google_drive_are_confirmed(server, capsys):
    assert fetch("https://drive.google.com/file/d/large_file_id/view").read_bytes() == DATA
    [first, second] = server.paths
    assert first == "/drive?id=large_file_id&export=download"
    assert parse_qs(urlparse(second).query) == {
        "id": ["large_file_id"], "export": ["download"], "confirm": ["t&x"], "uuid": ["12-ab"]
    }  # fmt: skip
    assert "big.pkl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file_id", "title"),
    [("quota_file_id", "Google Drive - Quota exceeded"), ("evil_file_id", "Google Drive - Virus scan warning")],
)
def test_a_page_in_place_of_a_file_is_named(server, tmp_path, file_id, title):
    # A form that leads elsewhere is not sent.
    url = f"https://drive.google.com/file/d/{file_id}/view"
    with pytest.raises(UserError, match=f"{file_id}/view: Google Drive gives no file, but a page: {title}"):
        fetch(url)
    assert len(server.paths) == 1 and not cached(tmp_path)


def test_other_pages_of_google_drive_are_no_files(server):
    assert drive_id("https://example.com/file/d/small_file_id/view") is None
    for url in ("https://drive.google.com/drive/my-drive", "https://drive.google.com/uc?id=../x"):
        with pytest.raises(UserError, match=r"no file of Google Drive, expected a link such as"):
            fetch(url)
    assert not server.paths


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x.pkl", "http://10.0.0.1/x.pkl", "http://localhost.example.com/x", "http://[2001:db8::1]/x",
     "http://drive.google.com/uc?id=0123456789", "HTTP://example.com/x"],
)  # fmt: skip
def test_only_https_is_used_beyond_this_machine(server, url):
    with pytest.raises(UserError, match="expected https://, so that nobody on the way can read or replace the file"):
        fetch(url)


@pytest.mark.parametrize("target", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_a_server_cannot_lead_to_other_protocols(server, tmp_path, target):
    server.target = target
    with pytest.raises(UserError, match=r"expected https://|is not allowed"):
        fetch(f"{server.url}/moved")
    assert not cached(tmp_path)


def test_a_server_may_lead_elsewhere(server):
    server.target = f"{server.url}/whole"
    assert fetch(f"{server.url}/moved").read_bytes() == DATA


def test_the_copy_is_found_without_the_token(server):
    path = fetch(f"{server.url}/whole.pkl?id=3&token=s3cret")
    assert fetch(f"{server.url}/whole.pkl?id=3") == path and server.paths == ["/whole.pkl?id=3&token=s3cret"]


def test_messages_hold_no_token(server, capsys):
    for path in ("missing", "busy"):
        with pytest.raises(UserError, match=f"/{path}: cannot download") as e:
            fetch(f"{server.url}/{path}?token=s3cret")
        assert "s3cret" not in str(e.value)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1/x: a user name or password is not sent"):
        fetch("http://me:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in capsys.readouterr().err
