"""The example of a network in a script and in a web page, with nothing of this project."""

import functools
import http.server
import math
import shutil
import subprocess
import sys
import threading

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from generation.sampling import Sampler, SamplingOptions
from tests.browser import open_browser
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT

EXAMPLE = ROOT / "examples" / "onnx"
STYLEGAN = GOLDEN / "c2_network-final.pkl"
PROGAN = GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example in a folder of its own, with two networks beside it."""
    folder = tmp_path_factory.mktemp("example")
    for name in ("sample.py", "index.html"):
        shutil.copy(EXAMPLE / name, folder)
    (folder / "node_modules").symlink_to(EXAMPLE / "node_modules")
    for network, name, more in ((STYLEGAN, "G.onnx", ["--noise", "input"]), (PROGAN, "progan.onnx", [])):
        command = [sys.executable, "export.py", "onnx", "--network", network, "--output", folder / name, *more]
        subprocess.run(command, cwd=ROOT, env=ENV, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def sample(folder, *args):
    # -I keeps the folder of this project, and everything that it has installed in place, out of the search path.
    command = [sys.executable, "-I", "sample.py", *map(str, args)]
    return subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, timeout=100)


def test_the_script_draws_the_images_of_the_seeds(folder):
    out = sample(folder, "progan.onnx", "--seeds", 3, 4, "--psi", 1, "--output", "out.png")
    assert out.stdout == "out.png: 2 images of 32x32 pixels\n", out.stderr
    sampler = Sampler(SamplingOptions(network=str(PROGAN), trunc=1.0))
    expected = np.concatenate([s.images[-1] for s in sampler.draw(sampler.latents([3, 4]))], axis=2)
    with Image.open(folder / "out.png") as im:
        assert np.abs(np.asarray(im).transpose(2, 0, 1).astype(int) - expected).max() <= 1

    # A class, and noise as inputs.
    assert "1 images of 32x32" in sample(folder, "G.onnx", "--seeds", 0, "--class", 1).stdout
    text = (folder / "sample.py").read_text()
    assert {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))} == {
        *("argparse", "numpy", "onnxruntime", "PIL"),
    }


def normals(seed, count):
    """The page's random numbers: mulberry32 in 32-bit arithmetic, and the Box-Muller transform."""
    state, mask = seed, 2**32 - 1

    def uniform():
        nonlocal state
        state = (state + 0x6D2B79F5) & mask
        t = state
        t = ((t ^ (t >> 15)) * (t | 1)) & mask
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & mask)) & mask
        return ((t ^ (t >> 14)) & mask) / 2**32

    values = []
    for _ in range(count):
        radius = math.sqrt(-2 * math.log(1 - uniform()))
        values.append(radius * math.cos(2 * math.pi * uniform()))
    return np.array(values, np.float32)


def pixels(page, index=-1):
    """The pixels of a canvas, uint8 [3,r,r]."""
    code = """i => { const c = [...document.querySelectorAll('canvas')].at(i);
        return [c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]] }"""
    size, data = page.evaluate(code, index)
    return np.array(data, np.uint8).reshape(size, size, 4)[..., :3].transpose(2, 0, 1)


def expected(path, seed, psi, label):
    """What onnxruntime makes of the page's inputs."""
    G = onnxruntime.InferenceSession(path)
    shapes = {entry.name: entry.shape for entry in G.get_inputs()}
    inputs = {"z": normals(seed, shapes["z"][1])[None], "psi": np.array(psi, np.float32)}
    if "c" in shapes:
        inputs["c"] = np.eye(shapes["c"][1], dtype=np.float32)[[label]]
    for name, shape in shapes.items():
        if name.startswith("noise"):
            inputs[name] = normals(seed + 1 + int(name[5:]), shape[2] * shape[3]).reshape(1, *shape[1:])
    return [((image[0] + 1) * 127.5).round().clip(0, 255).astype(np.uint8) for image in G.run(None, inputs)]


def drawn(page, action):
    """Do something that draws, and wait until the images have been replaced."""
    page.evaluate("document.querySelector('#images').firstChild.dataset.old = 1")
    action()
    page.wait_for_function("!document.querySelector('#images').firstChild.dataset.old", timeout=60000)


def test_the_page_draws_what_onnxruntime_does(folder, address):
    with open_browser() as browser:
        page = browser.new_page()
        page.on("pageerror", lambda e: pytest.fail(f"a script of the page failed: {e}"))
        page.goto(address)
        page.wait_for_selector("canvas", timeout=60000)
        assert page.locator("figcaption").all_inner_texts() == ["4x4", "8x8", "16x16", "32x32"]

        drawn(page, lambda: page.locator("#seed").fill("12"))
        drawn(page, lambda: page.locator("#class").select_option("1"))
        drawn(page, lambda: page.locator("#psi").fill("0.5"))
        for index, image in enumerate(expected(folder / "G.onnx", 12, 0.5, 1)):
            assert np.abs(pixels(page, index).astype(int) - image).max() <= 1

        # A network of the visitor's own, which has no classes; and a file that is none.
        drawn(page, lambda: page.locator("#file").set_input_files(folder / "progan.onnx"))
        assert not page.locator("#class").is_visible()
        image = expected(folder / "progan.onnx", 12, 0.5, 0)[-1]
        assert np.abs(pixels(page).astype(int) - image).max() <= 1
        page.locator("#file").set_input_files(folder / "sample.py")
        page.get_by_text("Error: ").wait_for(timeout=60000)
        page.screenshot(path=folder / "page.png")


def test_the_page_says_how_to_get_a_network(folder, address):
    with open_browser() as browser:
        page = browser.new_page()
        page.route("**/G.onnx", lambda route: route.fulfill(status=404))
        page.goto(address)
        page.get_by_text("No G.onnx beside this page").wait_for(timeout=60000)
