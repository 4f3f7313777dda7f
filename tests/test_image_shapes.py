"""Images that are no RGB squares of 2^k pixels go through everything, from conversion to export."""

import io
import zipfile

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw

from pretrained import load_network
from tests.runs import assert_same_run, run_dirs, script, train
from training.data.dataset import open_dataset

SHORT = ["tiny", "--batch", "8", "--micro-batch", "4", "--tick-kimg", "0.064", "--seed", "3"]


def sprites(folder):
    """PNGs of 64x96 pixels with transparency, as Pillow writes them."""
    rng = np.random.default_rng(0)
    for i in range(24):
        im = Image.new("RGBA", (64, 96))
        colour = (*rng.integers(0, 255, 3).tolist(), 255 if i % 2 else 128)
        ImageDraw.Draw(im).ellipse((10, int(rng.integers(5, 30)), 54, 90), fill=colour)
        im.save(folder / f"{i:02d}.png")


def icons(folder):
    """Gray PNGs of 40x40 pixels."""
    rng = np.random.default_rng(0)
    for i in range(24):
        im = Image.new("L", (40, 40), int(rng.integers(0, 80)))
        ImageDraw.Draw(im).ellipse((8, 8, int(rng.integers(20, 36)), 32), fill=200)
        im.save(folder / f"{i:02d}.png")


CASES = {
    "rgba": (sprites, ["--alpha", "keep"], "RGBA", (64, 96), ["4x6", "8x12", "16x24", "32x48", "64x96"]),
    "gray": (icons, [], "L", (40, 40), ["5x5", "10x10", "20x20", "40x40"]),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """(folder, dataset, run dir of an uninterrupted run, what is expected of it)."""
    make, options, *expected = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "in").mkdir()
    make(folder / "in")
    script("dataset_tool.py", "create_from_images", folder / "set.zip", folder / "in", "--shuffle", 0, *options)
    height = str(expected[1][1])
    train(
        *SHORT, "--data", folder / "set.zip", "--resolution", height, "--total-kimg", 0.19, "--result-dir", folder / "r"
    )
    return folder, folder / "set.zip", run_dirs(folder / "r")[0], expected


def test_every_form_holds_the_pixels_of_the_files(case):
    folder, dataset, _, (mode, size, levels) = case
    script("dataset_tool.py", "convert", dataset, folder / "records")
    script("dataset_tool.py", "convert", folder / "records", folder / "again", "--to", "folder")
    for path in (dataset, folder / "records", folder / "again"):
        opened = open_dataset(path)
        for i, file in enumerate(sorted((folder / "in").iterdir())):
            with Image.open(file) as im:
                assert (im.mode, im.size) == (mode, size)
                expected = np.asarray(im).reshape(*size[::-1], -1).transpose(2, 0, 1)
            np.testing.assert_array_equal(opened[i][0], expected)
    out = script("dataset_tool.py", "inspect", folder / "records").stdout
    assert f"resolutions {' '.join(levels)}\n" in out and f"channels    {len(mode)}\n" in out


def test_a_run_leaves_sheets_of_every_level_and_goes_on_exactly(case, tmp_path):
    _, dataset, run, (_, size, levels) = case
    assert {path.parent.name for path in run.rglob("fakes*.png")} == set(levels)
    args = [*SHORT, "--data", dataset, "--resolution", size[1], "--total-kimg", 0.19]
    first = train(*args, "--result-dir", tmp_path, "--network-snapshot-ticks", 1)
    (stopped,) = run_dirs(tmp_path)
    earlier = min(stopped.glob("checkpoint-*.pt"))
    train(*args, "--result-dir", tmp_path / "again", "--resume", earlier, "--network-snapshot-ticks", 1)
    assert "finished" in first.stdout
    again = run_dirs(tmp_path / "again")[0]
    for name in ("network-snapshot-000000.192.safetensors", f"{levels[-1]}/fakes000000.192.png"):
        assert (run / name).read_bytes() == (stopped / name).read_bytes() == (again / name).read_bytes()
    assert_same_run(run, stopped)


def test_two_processes_are_one(case, tmp_path):
    _, dataset, run, (_, size, _) = case
    args = [*SHORT, "--data", dataset, "--resolution", size[1], "--total-kimg", 0.19, "--gpus", 2]
    train(*args, "--result-dir", tmp_path)
    assert_same_run(run, run_dirs(tmp_path)[0])


def test_samples_have_the_channels_and_sheets_a_checkerboard(case, tmp_path):
    _, _, run, (mode, size, levels) = case
    script("generate.py", "images", "--network", run, "--seeds", "0-1", "--outdir", tmp_path)
    script("generate.py", "images", "--network", run, "--seeds", "0-1", "--outdir", tmp_path, "--format", "npy")
    script("generate.py", "multiscale", "--network", run, "--seeds", "0-1", "--output", tmp_path / "levels.png")
    with Image.open(tmp_path / "seed0001.png") as im:
        assert (im.mode, im.size) == (mode, size)
        pixels = np.asarray(im).reshape(*size[::-1], -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "seed0001.npy"), pixels)

    with Image.open(tmp_path / "levels.png") as im:
        assert im.size == (size[0] * len(levels), 2 * size[1]) and im.mode == mode.removesuffix("A")
        shown = np.asarray(im)[size[1] :, -size[0] :].reshape(*size[::-1], -1).transpose(2, 0, 1)
    if mode == "RGBA":
        y, x = np.mgrid[: size[1], : size[0]]
        board = np.where((y // 8 + x // 8) % 2, 204, 255)
        alpha = pixels[3:] / 255
        pixels = np.rint(pixels[:3] * alpha + board * (1 - alpha))
    np.testing.assert_array_equal(shown, pixels)


def test_films_scores_report_and_projection(case, tmp_path):
    folder, dataset, run, (_, size, _) = case
    script("generate.py", "timelapse", run, "--output", tmp_path / "t.mp4")
    script("generate.py", "interpolate", "--network", run, "--frames", 4, "--output", tmp_path / "i.mp4")
    out = script(
        "run_metrics.py",
        "--network",
        run,
        "--data",
        dataset,
        "--metrics",
        "swd16,msssim16,fid16,ppl2_wend16",
        "--random-detectors",
    ).stdout
    assert all(f"{name}" in out for name in ("swd", "msssim", "fid16", "ppl2"))
    script("report.py", run, "--output", tmp_path / "report.html")
    assert f"{size[0]}x{size[1]}" in (tmp_path / "report.html").read_text()
    script(
        "generate.py", "project", folder / "in" / "03.png", "--network", run, "--steps", 2, "--outdir", tmp_path / "p"
    )
    assert (tmp_path / "p" / "compare.png").exists()


def test_exported_networks_have_the_shape(case, tmp_path):
    _, _, run, (mode, size, levels) = case
    G = load_network(min(run.glob("network-snapshot-*"))).generator()
    out = script("export.py", "program", "--network", run, "--output", tmp_path / "G.pt2").stdout
    assert f"-> image{levels[0].split('x')[1]}, " in out
    script("export.py", "onnx", "--network", run, "--output", tmp_path / "G.onnx", check=False)
    session = onnxruntime.InferenceSession(tmp_path / "G.onnx")
    assert session.get_outputs()[-1].shape[1:] == [len(mode), size[1], size[0]] == list(G.spec.shape)


def test_networks_of_both_systems_learn_from_any_shape(case, tmp_path):
    _, dataset, _, (_, size, levels) = case
    out = train(
        "progan-robohash", "--data", dataset, "--resolution", size[1], "--total-kimg", 0.02, "--batch", 4,
        "--result-dir", tmp_path, "--G.z-dim", 16, "--D.features", 16, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert len(list(run_dirs(tmp_path)[0].glob(f"{levels[0]}/fakes*.png"))) == 2


def test_more_channels_than_pictures_have(tmp_path):
    """Five bands as .npy, in any form; sheets show three that are chosen."""
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 256, (6, 5, 16, 24), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for i, image in enumerate(bands):
        np.save(tmp_path / "in" / f"{i}.npy", image if i % 2 else image.transpose(1, 2, 0))
    script("dataset_tool.py", "create_from_images", tmp_path / "set", tmp_path / "in", "--shuffle", 0)
    script("dataset_tool.py", "convert", tmp_path / "set", tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        np.testing.assert_array_equal(np.load(io.BytesIO(archive.read("00000/img00000003.npy"))), bands[3])
    for path in (tmp_path / "set", tmp_path / "set.zip"):
        np.testing.assert_array_equal(np.stack([open_dataset(path)[i][0] for i in range(6)]), bands)

    train(
        *SHORT, "--data", tmp_path / "set.zip", "--resolution", 16, "--total-kimg", 0.016, 
        "--result-dir", tmp_path / "r", "--sheet-channels", 4, 2, 0, "--sheet-size", "3x2",
    )  # fmt: skip
    (run,) = run_dirs(tmp_path / "r")
    with Image.open(run / "reals.png") as im:
        assert im.size == (72, 32) and im.mode == "RGB"
        first = np.asarray(im)[:16, :24].transpose(2, 0, 1)
    assert any(np.array_equal(first, image[[4, 2, 0]]) for image in bands)

    script("generate.py", "images", "--network", run, "--seeds", 0, "--outdir", tmp_path / "o", "--format", "npy")
    script("generate.py", "images", "--network", run, "--seeds", 0, "--outdir", tmp_path / "o", "--channels", "4,2,0")
    sample = np.load(tmp_path / "o" / "seed0000.npy")
    with Image.open(tmp_path / "o" / "seed0000.png") as im:
        np.testing.assert_array_equal(np.asarray(im).transpose(2, 0, 1), sample[[4, 2, 0]])
    bad = script("generate.py", "images", "--network", run, "--channels", "0,1,5", check=False)
    assert bad.returncode == 2 and "--channels 0,1,5: expected numbers from 0 to 4" in bad.stderr
