"""Run dirs, options, logs and answers of servers that others have made up: success, or one line that says why not."""

import json
import socketserver
import threading
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from config import progan_robohash, tiny
from dnnlib import downloads
from dnnlib.downloads import fetch, is_url
from generation.run_sheets import find_sheets
from metrics.networks import find_target
from metrics.options import Options as MetricOptions
from metrics.result_files import keep, read_results
from metrics.results import Result
from sharing.demo.run_view import RunWatch
from sharing.report.command import Options as ReportOptions
from sharing.report.command import write_report
from sharing.report.old_logs import read_old_run
from sharing.report.records import read_run
from tests.fuzzing import CHANGES, DEEP, EDITS, VALUES, changed, edited, fuzz, json_bytes, succeeds
from tests.sharing.report.written_runs import row, write_metric, write_run, write_sheets
from train import parse
from training.config import as_dict
from training.run.run_dir import open_run

NESTED = b"[" * 100_000  # deeper than anything may be read


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run with every file that is read of one."""
    path = write_run(tmp_path_factory.mktemp("fuzzing") / "00007-run", data="set", seed=1)
    write_sheets(path, range(2))
    write_metric(path, "fid50k_full", {1: 9.0, 2: 3.0}, weights="published", num_fakes=10)
    session = {"command": "train.py", "started": "", "ended": None, "outcome": "", "from_kimg": 0, "to_kimg": 1}
    facts = {**session, "host": "", "data": {"path": "set", "fingerprint": "x"}, "earlier": [session]}
    (path / "run.json").write_text(json.dumps(facts))
    for kimg in (1, 2):
        (path / f"network-snapshot-{kimg:06d}.safetensors").touch()
    return path


def read_with(path, data, *readers):
    """Read a run dir in several ways while one of its files holds other bytes."""
    before = path.read_bytes() if path.exists() else None
    try:
        path.write_bytes(data)
        return [succeeds(reader) for reader in readers]
    finally:
        path.unlink() if before is None else path.write_bytes(before)


@pytest.mark.parametrize("preset", [tiny, progan_robohash])
@given(changes=CHANGES, edits=st.none() | EDITS)
@example(changes=[(0, "set", DEEP)], edits=None)
@fuzz(100)
def test_options_of_a_run(run_dir, preset, changes, edits):
    data = json_bytes(changed(as_dict(preset()), changes))
    data = data if edits is None else edited(data, edits)
    read_with(
        run_dir / "config.json",
        data,
        partial(parse, [str(run_dir / "config.json")]),
        partial(open_run, replace(preset(), resume=str(run_dir)), None),
        partial(read_run, run_dir),
        partial(find_target, MetricOptions(network=str(run_dir))),
    )


FILES = {
    "run.json": lambda path: json.loads(path.read_text()),
    "stats.jsonl": lambda path: row(3),
    "metric-fid50k_full.jsonl": lambda path: json.loads(path.read_text().splitlines()[0]),
    "log.txt": lambda path: path.read_text(),
}


def new_result():
    return Result(
        metric="fid50k_full", version=1, snapshot="network-snapshot-000002.safetensors", kimg=2, value=1.0,
        values={"fid50k_full": 1.0}, facts={"weights": "published", "num_fakes": 10}, seconds=1.0,
    )  # fmt: skip


def results_of(run_dir):
    """Read and use the results of a run as scoring and exporting do."""
    read_results(run_dir / "metric-fid50k_full.jsonl")
    keep(run_dir, new_result())
    for one in read_results(run_dir / "metric-fid50k_full.jsonl"):
        one.lines(with_conditions=True)


@pytest.mark.parametrize("name", FILES)
@given(changes=CHANGES, edits=st.none() | EDITS)
@example(changes=[(0, "set", DEEP)], edits=None)
@example(changes=[(0, "set", 10**400)], edits=None)
@fuzz(60)
def test_files_of_a_run(run_dir, name, changes, edits):
    path = run_dir / name
    line = json_bytes(changed(FILES[name](path), changes)) + b"\n"
    data = path.read_bytes() + line if name.endswith("l") else line
    data = data if edits is None else edited(data, edits)
    read_with(
        path,
        data,
        partial(read_run, run_dir),
        partial(results_of, run_dir),
    )


@given(CHANGES, CHANGES)
@fuzz(4)
def test_pages_of_a_run(run_dir, facts_changes, row_changes):
    facts = json_bytes(changed(FILES["run.json"](run_dir / "run.json"), facts_changes))
    rows = b"".join(json_bytes(one) + b"\n" for one in (row(1), changed(row(2), row_changes)))
    options = ReportOptions(runs=(str(run_dir),), output=run_dir.parent / "x.html", overwrite=True)
    read_with(run_dir / "run.json", facts, partial(write_report, options))
    read_with(run_dir / "stats.jsonl", rows, partial(write_report, options), RunWatch(run_dir).look)


@pytest.mark.parametrize("name", ["config.json", *FILES])
@pytest.mark.parametrize("data", [NESTED, b"{}", b"[]", b"1", b"9" * 5000, b"\xff\xfe", b"\n\n"])
def test_files_of_a_run_that_are_something_else(run_dir, name, data):
    readers = (read_run, results_of, lambda path: find_target(MetricOptions(network=str(path))))
    read_with(run_dir / name, data, *(partial(reader, run_dir) for reader in readers))
    cfg = replace(tiny(), resume=str(run_dir))
    read_with(run_dir / name, data, partial(parse, [str(run_dir / "config.json")]), partial(open_run, cfg, None))


@given(VALUES, VALUES, VALUES)
@fuzz(60)
def test_results_of_any_values(run_dir, first, second, third):
    lines = [
        {"metric": "fid5k", "snapshot": "network-snapshot-000001.safetensors", "kimg": 1, "value": first,
         "results": {"fid5k": second}, "weights": "published", "seed": third},
        {"metric": first, "snapshot": second, "kimg": third, "value": 1.0, "results": first, "seconds": second},
        {"metric": "fid5k", "snapshot": "../../x", "value": 1.0, "kimg": 1, "num_fakes": first, "weights": third},
    ]  # fmt: skip
    data = b"".join(json_bytes(line) + b"\n" for line in lines)
    read_with(run_dir / "metric-fid5k.jsonl", data, partial(results_of, run_dir), partial(read_run, run_dir))


@pytest.mark.parametrize("size", ["0x0", "0x4", "99999999999999999999x4", "64x64", "٣x٣"])
def test_sheets_of_impossible_sizes(run_dir, size):
    folder = run_dir / size
    folder.mkdir()
    picture = (run_dir / "8x8" / "fakes000001.png").read_bytes()
    (folder / "fakes000001.png").write_bytes(picture)
    try:
        succeeds(lambda: find_sheets(run_dir).cells(-1, "fakes000001.png"))
        succeeds(RunWatch(run_dir).look)
    finally:
        (folder / "fakes000001.png").unlink()
        folder.rmdir()


@given(EDITS)
@fuzz(40)
def test_sheets_with_changed_bytes(run_dir, edits):
    path = run_dir / "8x8" / "fakes000001.png"
    data = edited(path.read_bytes(), edits, 64)
    read_with(path, data, lambda: find_sheets(run_dir).cells(-1, "fakes000001.png"))


# Logs of the original systems.

TICKS = "tick 1     kimg 140.3    lod 7.00 minibatch 16 time 1d 15m 04s sec/tick 840.2 sec/kimg 5.99 gpumem 4.1\n" * 2
NUMBERS = st.sampled_from(["1", "1.2.3", ".", "..", "9" * 400, "1e999", "nan", "-1", "٣", ""])


@given(
    st.sampled_from(["0\t1.5\t2.5\n1000\t0.5\tnan\n", TICKS]), st.lists(st.tuples(st.integers(0, 99), NUMBERS)), EDITS
)
@fuzz(100)
def test_old_logs(run_dir, text, numbers, edits):
    # Put other numbers in place of words.
    words = text.split(" ") if " " in text else text.split("\t")
    for place, number in numbers:
        words[place % len(words)] = number
    data = (" " if " " in text else "\t").join(words).encode()
    path = run_dir.parent / "old.log"
    path.write_bytes(data if numbers else edited(data, edits))
    succeeds(partial(read_old_run, path))


@given(EDITS)
@fuzz(40)
def test_events_of_tensorboard(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("events")
    (folder / "log.txt").write_text(TICKS)
    with SummaryWriter(str(folder)) as events:
        for nimg in (140300, 280600):
            events.add_scalar("Loss/scores/real", nimg / 1e5, global_step=nimg)
            events.add_scalar("Metrics/fid50k", 12.5, global_step=nimg)
    [path] = folder.glob("events.out*")
    path.write_bytes(edited(path.read_bytes(), edits))
    succeeds(partial(read_old_run, folder))


# Answers of servers.


class Server(socketserver.ThreadingTCPServer):
    """Answers every request with `answer` and closes the connection."""

    daemon_threads = allow_reuse_address = True
    answer = b""


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline(2**16).strip():
            pass
        self.wfile.write(self.server.answer)


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Handler) as served, pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloads, "WAITS", ())
        patch.setattr(downloads, "TIMEOUT", 5.0)
        patch.setattr(downloads, "DRIVE", f"http://127.0.0.1:{served.server_address[1]}/drive")
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


HEADERS = st.sampled_from([
    "Content-Length: 5", "Content-Length: -1", "Content-Length: 9999999999999999999999", "Content-Length: x",
    "Transfer-Encoding: chunked", "Content-Type: text/html; charset=\x01", "Content-Type: ; ;", "Location: http://[",
    "Location: file:///etc/passwd", "Location: http://127.0.0.1:x/", "Location: \xff", "Location: ftp://127.0.0.1/x",
    "Content-Disposition: attachment; filename*=x'y'%ff%00", "Content-Disposition: attachment; filename*0*=utf-16''%ff",
    "Content-Disposition: attachment; filename=\"\x1b[2J\"", "X: " + "y" * 70_000, "no colon", "Content-Encoding: gzip",
])  # fmt: skip
PAGE = (
    '<html><head><title>\x1b[2J&#0;&#x110000;</title><form id="download-form" action="http://[">'
    '<input type="hidden" name="id" value="1"></form><![x'
)


@given(
    st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 302 Found", "HTTP/1.1 999 ", "HTTP/9", "HTTP/1.1 200", ""]),
    st.lists(HEADERS, max_size=4),
    st.sampled_from(["", "hello", "5\r\nhello\r\n0\r\n\r\n", "zz\r\n", "ffffffffffffffff\r\nx", PAGE]),
    st.none() | EDITS,
    st.booleans(),
)
@fuzz(150)
def test_answers_of_servers(tmp_path_factory, server, status, headers, body, edits, drive):
    answer = "\r\n".join([status, *headers, "", body]).encode("latin-1", "replace")
    server.answer = answer if edits is None else edited(answer, edits, 200)
    url = f"http://127.0.0.1:{server.server_address[1]}/x"
    folder = tmp_path_factory.mktemp("cache")
    ok = succeeds(partial(fetch, "https://drive.google.com/file/d/0123456789/view" if drive else url, folder / "file"))
    assert [path.name for path in folder.iterdir()] == ["file"] * ok


URLS = st.sampled_from([
    "http://[", "https://[::1", "http://127.0.0.1:99999/x", "http://127.0.0.1:x/", "http://", "https:///x", "http://é/",
    "http://127.0.0.1:1/é", "http://127.0.0.1:1/a b", "http://127.0.0.1:1/\r\nx", "http://" + "a" * 70 + ".x/",
    "http://127.0.0.1:1/" + "x" * 300, "http://127.0.0.1:1/..", "http://127.0.0.1:1/%00", "http://\x00/",
    "http://a@b:c@/",
    "https://drive.google.com/file/d//view", "https://drive.google.com:x/file/d/0123456789/view", "http://127.0.0.1:1/#",
])  # fmt: skip


@given(URLS, st.none() | EDITS)
@fuzz(80)
def test_addresses(server, tmp_path_factory, url, edits):
    url = url if edits is None else edited(url.encode(), edits).decode("utf-8", "surrogateescape")
    if is_url(url) and ("127.0.0.1" in url or edits is None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("cache")))
            assert not succeeds(partial(fetch, url))
