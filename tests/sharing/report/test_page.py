"""The page: it fetches nothing, and nothing of a run becomes code."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest

from generation.run_sheets import find_sheets
from sharing.report.page import render
from sharing.report.pictures import look_at
from sharing.report.plots import plots_of
from sharing.report.records import read_run
from tests.sharing.report.written_runs import red_of, row, write_metric, write_run, write_sheets

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&"


class Page(HTMLParser):
    """Elements of a page and the text in them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.setdefault(len(self.elements) - 1, data)

    def scripts(self):
        return [(a, self.texts[i]) for i, (tag, a) in enumerate(self.elements) if tag == "script"]

    def data(self, name):
        return json.loads(next(text for attributes, text in self.scripts() if attributes.get("id") == name))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def visible(self):
        tags = [tag for tag, _ in self.elements]
        return " ".join(text for i, text in self.texts.items() if tags[i] not in ("script", "style"))


def page_of(*run_dirs, most_bytes=10**7):
    records = [read_run(run_dir) for run_dir in run_dirs]
    pictures = [look_at(find_sheets(path), most_bytes) if (path / "4x4").exists() else None for path in run_dirs]
    labels = [str(i) for i in range(len(run_dirs))]
    changes = [run.stability if run else {} for run in pictures]
    text = render(records, labels, pictures, plots_of(records, labels, changes))
    return text, Page(text)


@pytest.fixture
def run(tmp_path):
    run_dir = write_run(tmp_path / "00003-msg-stylegan-set-1gpu")
    write_sheets(run_dir, range(4))
    write_metric(run_dir, "swd", {1: 50.0, 3: 23.45})
    return run_dir


def test_the_summary_says_how_far_a_run_came(run):
    _, page = page_of(run)
    text = page.visible()
    for part in ("00003-msg-stylegan-set-1gpu", "finished", "3 of 3 kimg", "1m 00s", "50 img/s", "0.333", "23.45"):
        assert part in text, part
    assert "1 x CPU, fp32" in text and "G.fmap_max" in text


def test_the_sheets_and_the_film_are_in_the_page(run):
    _, page = page_of(run)
    (sheets,) = page.data("sheets")
    assert sheets["kimg"] == [0, 1, 2, 3]
    for kimg, levels in zip(sheets["kimg"], sheets["images"], strict=True):
        for uri in levels:
            assert red_of(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))) == 10 * kimg
    (video,) = page.of("video")
    assert base64.b64decode(video["src"].removeprefix("data:video/mp4;base64,"))[4:8] == b"ftyp"
    assert page.of("input")[0]["max"] == "3" and len(page.of("button")) == 2


def test_every_figure_has_its_place_and_plotly_is_there_once(run):
    text, page = page_of(run)
    places = [attributes["id"] for attributes in page.of("div") if attributes.get("class") == "plot"]
    assert places == [f"plot-{i}" for i in range(len(page.data("figures")))] and len(places) == 9
    assert text.count("* plotly.js v") == 1


def test_the_page_fetches_nothing(run):
    _, page = page_of(run)
    for tag, attributes in page.elements:
        for name in ("src", "href", "poster", "data", "action", "srcset"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert not page.of("link") and not page.of("base") and not page.of("iframe")
    (style,) = [page.texts[i] for i, (tag, _) in enumerate(page.elements) if tag == "style"]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "http" not in policy and "script-src 'unsafe" not in policy


def test_only_the_two_scripts_of_the_page_may_run(run):
    _, page = page_of(run)
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    run_scripts = [text for attributes, text in page.scripts() if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run_scripts]
    assert hashes == allowed and len(hashes) == 2


def test_names_options_and_figures_of_a_run_are_never_code(tmp_path):
    name = EVIL.replace("/", "")  # a file name
    run_dir = write_run(tmp_path / f"00001-{name}", data=EVIL, **{EVIL: EVIL})
    write_metric(run_dir, "swd", {1: 5.0})
    (run_dir / "metric-swd.jsonl").rename(run_dir / f"metric-{name}.jsonl")
    (run_dir / "log.txt").write_text(f"data      {EVIL}\n")
    (run_dir / "run.json").write_text(json.dumps({EVIL: EVIL}))
    (run_dir / "stats.jsonl").write_text(json.dumps(row(1, **{f"Loss/{EVIL}": 1.0})) + "\n")

    _, clean = page_of(write_run(tmp_path / "00000-clean"))
    for run_dirs in ([run_dir], [run_dir, tmp_path / "00000-clean"]):
        _, page = page_of(*run_dirs)
        assert len(page.scripts()) == len(clean.scripts()) == 4
        assert not page.of("img") and EVIL in page.visible()
        assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)


def test_several_runs(run, tmp_path):
    other = write_run(tmp_path / "00004-msg-stylegan-set-1gpu", kimg=2, total=8, batch=16, G={"fmap_max": 128})
    write_sheets(other, range(2))
    bare = write_run(tmp_path / "00005-without-sheets", batch=16)
    text, page = page_of(run, other, bare)

    # Each with sheets has a viewer, of which one is shown.
    viewers = [a for a in page.of("div") if (a.get("id") or "").startswith("viewer-")]
    assert [(a["id"], "hidden" in a) for a in viewers] == [("viewer-0", False), ("viewer-1", True)]
    assert [a["value"] for a in page.of("option")] == ["0", "1"]
    assert [len(sheets["kimg"]) for sheets in page.data("sheets")] == [4, 2, 0]

    # The first table has the options that differ.
    table = text[text.index('<section id="options">') : text.index("<details>")]
    assert re.findall(r"<tr><th>([^<]+)</th>", table) == ["total_kimg", "batch", "G.fmap_max"]
    assert "<td>8</td><td>16</td><td>16</td>" in table
    assert "stopped before its end" in page.visible() and "2 of 8 kimg" in page.visible()


def test_what_is_left_out_is_said(run):
    _, page = page_of(run, most_bytes=1)
    assert "The page has 1 of the 4 sheets" in page.visible() and not page.of("video")
    assert "--max-mb" in page.visible()
