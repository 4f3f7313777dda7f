"""The page, used by visitors with a real browser."""

import io
import json
import re
import time

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import TimeoutError

from generation.latent_files import read_latents
from generation.sampling import Sampler, SamplingOptions
from tests.browser import open_browser
from tests.generation.commands import generate
from tests.golden_data import GOLDEN
from tests.pretrained.snapshot_fixtures import SPEC, networks  # noqa: F401 - a fixture
from tests.sharing.demo.served import demo
from tests.sharing.report.written_runs import row, write_run, write_sheets
from training.run.snapshot import save_snapshot

PROGAN = GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth"
STYLEGAN = GOLDEN / "c2_network-final.pkl"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address():
    with demo() as served:
        yield served


@pytest.fixture
def visit(browser, address):
    page = open_page(browser, address)
    yield page
    page.close()


def open_page(browser, address):
    """A new visitor, who waits for the first picture; errors of scripts fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.on("pageerror", lambda e: pytest.fail(f"a script of the page failed: {e}"))
    page.goto(address)
    page.wait_for_selector("#picture img", timeout=60000)
    return page


def source(page):
    return page.locator("#picture img").get_attribute("src")


def shown(page):
    """The large picture, uint8 [C,r,r]."""
    data = page.request.get(source(page)).body()
    with Image.open(io.BytesIO(data)) as im:
        return np.asarray(im.convert("RGB")).transpose(2, 0, 1)


def changes(page, action):
    """Do something and wait until the picture is another one."""
    before = source(page)
    action()
    try:
        page.wait_for_function(
            "old => document.querySelector('#picture img')?.getAttribute('src') !== old", arg=before, timeout=60000
        )
    except TimeoutError as e:
        raise AssertionError(f"the same picture, on a page that says {page.locator('body').inner_text()!r}") from e
    page.wait_for_function("document.querySelector('#picture img')?.complete")


def shows(page, expected):
    """Wait until the picture is the expected one but for rounding."""
    deadline = time.monotonic() + 60
    while not close_to(shown(page), expected):
        assert time.monotonic() < deadline, "another picture"
        page.wait_for_timeout(100)


def picture_of(seed, **options):
    """The images of a seed, smallest first."""
    sampler = Sampler(SamplingOptions(**options))
    return next(sampler.draw([sampler.latent(seed)])).images


def slide(page, name, value):
    page.locator(f"#{name} input[type=range]").fill(str(value))


def type_seed(page, name, seed):
    page.locator(f"#{name} input").fill(str(seed))
    page.locator(f"#{name} input").press("Tab")


def choose(page, name, option):
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def unfold(page, title):
    page.get_by_role("button", name=title).click()
    page.wait_for_timeout(1000)  # what has unfolded listens a moment after it can be seen


def upload(page, button, path):
    with page.expect_file_chooser() as chooser:
        page.locator(button).click()
    chooser.value.set_files(path)


def download(page, button, folder):
    with page.expect_download() as started:
        page.locator(button).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def message(page):
    """The text of the newest message on the page."""
    toast = page.locator(".toast-body, [data-testid=toast-body]").last
    toast.wait_for(timeout=30000)
    return toast.inner_text()


def close_to(found, expected):
    """Whether images are the same but for rounding: batches of other sizes are computed in another order."""
    return found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 2


def test_the_picture_is_the_one_of_the_seed_and_follows_every_choice(visit):
    expected = picture_of(0)
    shows(visit, expected[-1])

    # Every level is there, and the slider chooses.
    titles = visit.locator("#levels figcaption").all_inner_texts()
    assert titles == ["4x4", "8x8", "16x16", "32x32", "64x64"]
    slide(visit, "level", 2)
    shows(visit, expected[2])
    assert visit.locator("#levels .chosen").inner_text() == "16x16"
    slide(visit, "level", 4)

    # Another seed, class and truncation.
    type_seed(visit, "seed", 7)
    slide(visit, "psi", 1)
    choose(visit, "class", "3")
    shows(visit, picture_of(7, class_idx=3, trunc=1.0)[-1])
    changes(visit, lambda: visit.locator("#another").click())


def test_two_seeds_are_mixed_and_moved_along_directions(visit):
    unfold(visit, "Mix with a second seed")
    changes(visit, lambda: visit.locator("#mix-on input").check())
    assert visit.locator("#sources figcaption").all_inner_texts() == ["the first", "the second"]

    # All layers of the second seed give its picture, in the class of the first.
    slide(visit, "mix-last", 9)
    changes(visit, lambda: type_seed(visit, "second", 5))
    sampler = Sampler(SamplingOptions())
    second = sampler.latent(5)._replace(c=sampler.latent(0).c)
    mixed = next(sampler.draw([second])).images[-1]
    shows(visit, mixed)

    unfold(visit, "Move along directions")
    changes(visit, lambda: slide(visit, "direction-0", 4))
    assert not close_to(shown(visit), mixed)
    changes(visit, lambda: choose(visit, "method", "GANSpace"))
    assert not close_to(shown(visit), mixed)
    visit.locator("#reset").click()
    shows(visit, mixed)


def test_image_and_latents_are_downloaded_and_latents_uploaded(visit, tmp_path):
    type_seed(visit, "seed", 3)
    shows(visit, picture_of(3)[-1])
    picture = shown(visit)
    image = download(visit, "#image-file", tmp_path)
    latents = download(visit, "#latents-file", tmp_path)
    assert (image.name, latents.name) == ("seed0003.png", "seed0003.npz")
    with Image.open(image) as im:
        assert (np.asarray(im).transpose(2, 0, 1) == picture).all()

    # Every command takes the file, and so does the page.
    generate("images", "--latents", latents, "--outdir", tmp_path / "out")
    with Image.open(tmp_path / "out" / "seed0003.png") as im:
        assert close_to(np.asarray(im).transpose(2, 0, 1), picture)
    assert read_latents(latents).names.tolist() == ["seed0003"]

    # A smaller level has its size in the name.
    slide(visit, "level", 1)
    shows(visit, picture_of(3)[1])
    assert download(visit, "#image-file", tmp_path).name == "seed0003-8x8.png"
    slide(visit, "level", 4)

    type_seed(visit, "seed", 4)
    shows(visit, picture_of(4)[-1])
    unfold(visit, "Start from a file of latents")
    upload(visit, "#upload-file", latents)
    shows(visit, picture)
    assert visit.locator("#source input").input_value() == "0: seed0003"


def test_a_walk_is_played_and_downloaded(visit, tmp_path):
    for seed in (1, 2, 3):
        changes(visit, lambda seed=seed: type_seed(visit, "seed", seed))
        visit.locator("#keep").click()
        visit.get_by_text(f"Keep for a walk ({seed})").wait_for()

    visit.get_by_role("tab", name="Walk").click()
    assert visit.locator("#kept img").count() == 3
    visit.locator("#drop-last").click()
    visit.wait_for_function("document.querySelectorAll('#kept img').length == 2")
    slide(visit, "seconds", 0.5)
    visit.locator("#play").click()

    # The browser plays it.
    visit.wait_for_function(
        "(() => { const v = document.querySelector('#film video'); return v && v.currentTime > 0.2 && !v.error })()",
        timeout=60000,
    )
    film = download(visit, "#film a[download]", tmp_path)
    with av.open(str(film)) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    assert len(frames) == 30 and frames[0].shape == (256, 256, 3)
    assert np.abs(frames[0].astype(int) - frames[15]).mean() > 5  # halfway, the second seed


def test_wrong_input_is_answered_in_the_page(visit, tmp_path):
    type_seed(visit, "seed", 5_000_000_000)
    assert "Seed 5000000000: expected 0 to 4294967295" in message(visit)

    # Files that are none, or of another network, by their names only.
    (tmp_path / "broken.npz").write_text("nothing")
    unfold(visit, "Start from a file of latents")
    upload(visit, "#upload-file", tmp_path / "broken.npz")
    visit.get_by_text(re.compile(r"^broken.npz: File is not a zip file")).wait_for()
    generate("images", "--network", STYLEGAN, "--seeds", "0", "--output", tmp_path / "other.zip")
    upload(visit, "#upload-file", tmp_path / "other.zip")
    visit.get_by_text(re.compile(r"^other.zip: latents of another network")).wait_for()

    visit.get_by_role("tab", name="Walk").click()
    visit.locator("#play").click()
    visit.get_by_text("A walk passes through 2 to 16 pictures, and 0 are kept.").wait_for()


def test_visitors_do_not_see_each_other(browser, address):
    first, second = open_page(browser, address), open_page(browser, address)
    type_seed(first, "seed", 11)
    type_seed(second, "seed", 12)
    shows(first, picture_of(11)[-1])
    shows(second, picture_of(12)[-1])
    for page in (first, second, first):
        page.locator("#keep").click()
    first.get_by_text("Keep for a walk (2)").wait_for()
    second.get_by_text("Keep for a walk (1)").wait_for()

    # Both at once.
    slide(first, "psi", 1)
    slide(second, "psi", 0.3)
    shows(first, picture_of(11, trunc=1.0)[-1])
    shows(second, picture_of(12, trunc=0.3)[-1])
    first.close()
    second.close()


def test_the_page_fetches_nothing_from_elsewhere_and_fits_a_phone(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(address)
    page.wait_for_selector("#picture img", timeout=60000)
    page.get_by_role("tab", name="Walk").click()
    page.locator("#play").wait_for()
    assert urls and all(url.startswith((address, "data:", "blob:")) for url in urls)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_a_run_is_followed(browser, networks, tmp_path):  # noqa: F811
    _, nets = networks
    run_dir = write_run(tmp_path / "00000-run", kimg=1)
    write_sheets(run_dir, range(1, 2))
    first, second = run_dir / "network-snapshot-000001.safetensors", run_dir / "network-snapshot-000002.safetensors"
    save_snapshot(first, {"G_ema": nets["G_ema"]}, SPEC, 1000)

    with demo("--run", run_dir) as address:
        page = open_page(browser, address)
        page.get_by_role("heading", name="network-snapshot-000001.safetensors").wait_for()
        page.get_by_role("tab", name="Training run").click()
        page.wait_for_function("document.querySelectorAll('#sheets img').length == 1")
        page.get_by_text("00000-run: stopped before its end, 1 of 3 kimg").wait_for()
        page.wait_for_selector("#losses .js-plotly-plot")

        # The run goes on, and the page with it.
        write_sheets(run_dir, range(2, 3))
        with open(run_dir / "stats.jsonl", "a") as stats:
            stats.write(json.dumps(row(2)) + "\n")
        save_snapshot(second, {"G_ema": nets["G"]}, SPEC, 2000)
        page.wait_for_function("document.querySelectorAll('#sheets img').length == 2", timeout=60000)
        page.get_by_role("heading", name="network-snapshot-000002.safetensors").wait_for(timeout=60000)
        page.get_by_role("tab", name="Picture").click()
        shows(page, picture_of(0, network=str(second))[-1])


def test_noise_and_directions_of_a_file(browser, tmp_path):
    generate("directions", "--network", STYLEGAN, "--output", tmp_path / "d.png", "--save", tmp_path / "d.npz")
    with demo("--network", STYLEGAN, "--directions", tmp_path / "d.npz") as address:
        page = open_page(browser, address)
        for mode in ("random", "none", "const"):
            page.locator("#noise").get_by_label(mode).check()
            shows(page, picture_of(0, network=str(STYLEGAN), noise_mode=mode)[-1])

        # The file of the command line, and one that a visitor uploads.
        unfold(page, "Move along directions")
        changes(page, lambda: slide(page, "direction-1", 3))
        moved = shown(page)
        changes(page, lambda: choose(page, "method", "GANSpace"))
        upload(page, "#directions-file", tmp_path / "d.npz")
        shows(page, moved)
        assert page.locator("#method input").input_value() == "a file"


def test_a_network_without_classes_and_styles_offers_neither(browser):
    with demo("--network", PROGAN) as address:
        page = open_page(browser, address)
        assert page.locator("#class").count() == 0 or not page.locator("#class").is_visible()
        assert not page.get_by_role("button", name="Mix with a second seed").is_visible()
        shows(page, picture_of(0, network=str(PROGAN))[-1])


def test_a_password_is_asked_for(browser):
    with demo("--share-password", "sésame") as address:
        page = browser.new_page()
        page.goto(address)
        for password in ("wrong", "sésame"):
            assert page.locator("#picture").count() == 0
            page.locator("input").nth(0).fill("anybody")
            page.locator("input[type=password]").fill(password)
            page.get_by_role("button", name="Login").click()
            page.wait_for_timeout(1000)
        page.wait_for_selector("#picture img", timeout=60000)
