"""An S3 server on this machine that fails on demand."""

import contextlib
import threading
from collections import Counter

import fsspec
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"


class ObjectServer:
    """moto's S3 server, with a count of requests and bytes, and with failures on demand."""

    def __init__(self) -> None:
        self.backend = DomainDispatcherApplication(create_backend_app)
        self.fail_every = 0
        """Fail every n-th request; 0 = none, 1 = all."""
        self.requests: Counter[str] = Counter()
        self.failed = 0
        self.bytes_sent: Counter[str] = Counter()
        """Bytes that were read of each object."""
        self.ranges: list[tuple[str, str]] = []
        """Each request to read an object: its path and the Range header."""
        self.lock = threading.Lock()
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __call__(self, environ, start_response):
        with self.lock:
            number = sum(self.requests.values()) + 1
            self.requests[environ["REQUEST_METHOD"]] += 1
            fails = self.fail_every and number % self.fail_every == 0
            self.failed += bool(fails)
        if fails:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>a test</Message></Error>"]
        chunks = list(self.backend(environ, start_response))
        if environ["REQUEST_METHOD"] == "GET":
            with self.lock:
                self.bytes_sent[environ["PATH_INFO"]] += sum(map(len, chunks))
                self.ranges.append((environ["PATH_INFO"], environ.get("HTTP_RANGE", "")))
        return chunks

    @property
    def env(self) -> dict[str, str]:
        """The variables with which the tools of S3 find it, and make few tries of their own."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def close(self) -> None:
        self.server.shutdown()
        with contextlib.suppress(Exception):
            self.thread.join(5)


def object_server(monkeypatch):
    """For a fixture: yield a server with an empty bucket, which this process sees, and the bucket's file system."""
    server = ObjectServer()
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    fs.mkdir(BUCKET)
    yield server, fs
    for key in fs.find(BUCKET):
        fs.rm_file(key)
    fs.rmdir(BUCKET)
    server.close()
