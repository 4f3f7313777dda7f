"""A server that speaks as much of the Hugging Face Hub's API as uploads and downloads of models take.

Files go through the Hub's own steps: preupload, Git LFS's batch API, and a commit in lines of JSON. The server checks
tokens, sizes and hashes as the Hub does.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_of_the_owner"


@dataclass
class Repo:
    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    messages: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return self.sha_of(len(self.commits) - 1)

    @staticmethod
    def sha_of(index: int) -> str:
        return hashlib.sha1(str(index).encode()).hexdigest()

    def files(self, revision: str) -> dict[str, bytes] | None:
        if revision == "main":
            return self.commits[-1]
        shas = [self.sha_of(i) for i in range(len(self.commits))]
        return self.commits[shas.index(revision)] if revision in shas else None


class Hub(ThreadingHTTPServer):
    """`repos` is what there is; `requests` what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    # Answers.

    def answer(self, status: int, body: Any = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code: str) -> None:
        self.answer(404, {"error": code}, X_Error_Code=code)

    def owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    # Requests.

    def handle_request(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        for pattern, action in ROUTES.items():
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return action(self, *match.groups())
        self.body()
        return self.answer(404, {"error": f"unknown: {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def whoami(self) -> None:
        self.answer(200 if self.owner() else 401, {"name": "me", "type": "user"})

    def create(self) -> None:
        request = json.loads(self.body())
        if not self.owner():
            return self.answer(401, {"error": "Invalid username or password."})
        name = f"{request.get('organization') or 'me'}/{request['name']}"
        if not name.startswith("me/"):
            return self.answer(403, {"error": "not your namespace"})
        exists = name in self.server.repos
        if not exists:
            self.server.repos[name] = Repo(bool(request.get("private")) or request.get("visibility") == "private")
        return self.answer(409 if exists else 200, {"url": f"{self.server.url}/{name}", "id": name})

    def preupload(self, name: str, revision: str) -> None:
        files = json.loads(self.body())["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        self.answer(200, {"files": modes})

    def validate(self) -> None:
        content = json.loads(self.body())["content"]
        errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
        self.answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def batch(self, name: str) -> None:
        request = json.loads(self.body())
        if not self.owner():
            return self.answer(401, {})
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.server.url}/lfs/{entry['oid']}"}}}
            for entry in request["objects"]
        ]
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        data = self.body()
        if hashlib.sha256(data).hexdigest() != oid:
            return self.answer(400, {"error": "other content than announced"})
        self.server.blobs[oid] = data
        return self.answer(200)

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        if not self.owner():
            return self.answer(401, {})
        repo = self.server.repos[name]
        files = dict(repo.commits[-1])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repo.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        repo.commits.append(files)
        return self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{repo.sha}", "commitOid": repo.sha})

    def find(self, name: str, revision: str = "main") -> dict[str, bytes] | None:
        """The files of a revision, or None if the answer has been given already."""
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.owner()):
            self.missing("RepoNotFound")
            return None
        files = repo.files(revision)
        if files is None:
            self.missing("RevisionNotFound")
        return files

    def info(self, name: str, revision: str = "main") -> None:
        files = self.find(name, revision)
        if files is not None:
            repo = self.server.repos[name]
            sha = repo.sha if revision == "main" else revision
            siblings = [{"rfilename": path} for path in files]
            self.answer(200, {"id": name, "modelId": name, "sha": sha, "private": repo.private, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        files = self.find(name, revision)
        if files is not None:
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for path, data in files.items()
            ]
            self.answer(200, rows)

    def resolve(self, name: str, revision: str, path: str) -> None:
        files = self.find(name, revision)
        if files is None:
            return
        if path not in files:
            return self.missing("EntryNotFound")
        repo = self.server.repos[name]
        data = files[path]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        sha = repo.sha if revision == "main" else revision
        return self.answer(200, data, ETag=etag, X_Repo_Commit=sha, Content_Length=str(len(data)))


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = {
    "GET /api/whoami-v2": Handler.whoami,
    "POST /api/repos/create": Handler.create,
    "POST /api/validate-yaml": Handler.validate,
    rf"POST /api/models/{NAME}/preupload/([\w.-]+)": Handler.preupload,
    rf"POST /{NAME}\.git/info/lfs/objects/batch": Handler.batch,
    r"PUT /lfs/(\w+)": Handler.put,
    rf"POST /api/models/{NAME}/commit/([\w.-]+)": Handler.commit,
    rf"GET /api/models/{NAME}": Handler.info,
    rf"GET /api/models/{NAME}/revision/([\w.-]+)": Handler.info,
    rf"GET /api/models/{NAME}/tree/([\w.-]+)": Handler.tree,
    rf"(?:GET|HEAD) /{NAME}/resolve/([\w.-]+)/(.+)": Handler.resolve,
}


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """Yield a Hub without repositories."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
