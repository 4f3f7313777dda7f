"""dataset_tool.py on real files."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.runs import script
from training.data.tfrecord import TFRecordDataset


def tool(*args, check=True):
    return script("dataset_tool.py", *args, check=check)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def picture(seed, size=(16, 16), mode="RGB"):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Six 16x16 PNGs in two sub-folders."""
    for i in range(6):
        path = tmp_path / "in" / ("cats" if i % 2 else "birds") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    return tmp_path / "in"


def test_robohash_is_the_same_for_any_number_of_workers_and_differs_by_seed(tmp_path):
    args = ["--resolution", 32, "--num-images", 12, "--sets", 2, 4]
    for name, extra in (("a/x", ["--workers", 1]), ("b/x", ["--workers", 3]), ("c/x", ["--seed", 1])):
        tool("create_robohash", tmp_path / name, *args, *extra)
    assert files(tmp_path / "a/x") == files(tmp_path / "b/x")
    assert files(tmp_path / "a/x")["x-r05.tfrecords"] != files(tmp_path / "c/x")["x-r05.tfrecords"]
    data = TFRecordDataset(tmp_path / "a/x")
    assert (len(data), data.spec.resolution, data.spec.c_dim) == (12, 32, 5)
    assert set(data.labels.argmax(1)) == {1, 3}
    images = np.stack([data[i][0] for i in range(12)])
    assert (images[:, :, 0, -1] > 240).mean() > 0.8, "on white"
    assert len({x.tobytes() for x in images}) == 12


@pytest.mark.parametrize(
    "args", [["--resolution", 48], ["--num-images", 0], ["--sets", 6], ["--sets", 1, 1], ["--seed", -1]]
)
def test_robohash_bad_options(tmp_path, args):
    out = tool("create_robohash", tmp_path / "x", *args, check=False)
    assert out.returncode == 2 and out.stderr.count("\n") == 1 and "expected" in out.stderr
    assert not list(tmp_path.iterdir())


def test_images_in_the_originals_order(folder, tmp_path):
    tool("create_from_images", tmp_path / "out", folder)
    tool("create_from_images", tmp_path / "plain", folder, "--shuffle", 0)
    paths = sorted(folder.rglob("*.png"))
    order = np.arange(6)
    np.random.RandomState(123).shuffle(order)
    shuffled, plain = TFRecordDataset(tmp_path / "out"), TFRecordDataset(tmp_path / "plain")
    for i in range(6):
        np.testing.assert_array_equal(plain[i][0], np.asarray(Image.open(paths[i])).transpose(2, 0, 1))
        np.testing.assert_array_equal(shuffled[i][0], plain[order[i]][0])
    assert plain.spec.c_dim == 0


def test_labels_from_folders_and_json(folder, tmp_path):
    tool("create_from_images", tmp_path / "a", folder, "--labels", "folders", "--shuffle", 0)
    np.testing.assert_array_equal(TFRecordDataset(tmp_path / "a").labels, np.eye(2)[[0, 0, 0, 1, 1, 1]])
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.png"))]
    for values, expected in (
        ([2, 0, 1, 2, 0, 1], np.eye(3)[[2, 0, 1, 2, 0, 1]]),
        ([[i / 4, 1] for i in range(6)], [[i / 4, 1] for i in range(6)]),
    ):
        (folder / "dataset.json").write_text(json.dumps({"labels": list(zip(names, values, strict=True))}))
        out = tmp_path / f"json{len(expected[0])}"
        tool("create_from_images", out, folder, "--shuffle", 0)
        np.testing.assert_allclose(TFRecordDataset(out).labels, expected)
    tool("create_from_images", tmp_path / "none", folder, "--labels", "none")
    assert TFRecordDataset(tmp_path / "none").spec.c_dim == 0


def test_resize_crops_the_centre(tmp_path):
    (tmp_path / "in").mkdir()
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 255  # the centre square is white
    Image.fromarray(wide).save(tmp_path / "in" / "a.png")
    tool("create_from_images", tmp_path / "out", tmp_path / "in", "--resize", 4)
    data = TFRecordDataset(tmp_path / "out")
    assert data.spec.resolution == 16 and data[0][0].min() == 255


def test_kinds_of_images(tmp_path):
    """What each mode becomes: 16 bit, palette with transparency, alpha, CMYK, gray, EXIF rotation, animation."""
    source = tmp_path / "in"
    source.mkdir()
    wide = np.full((16, 16), 257 * 100, np.uint16)
    Image.fromarray(wide).save(source / "0_16bit.png")
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    clear.save(source / "1_alpha.png")
    clear.quantize(4).save(source / "2_palette.png")
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(source / "3_cmyk.jpg", quality=100)
    turned = Image.new("RGB", (16, 16))
    turned.paste((0, 255, 0), (0, 0, 16, 8))  # upper half green
    exif = Image.Exif()
    exif[0x112] = 3  # rotate by 180 degrees
    turned.save(source / "4_exif.png", exif=exif)
    Image.new("RGB", (16, 16), "blue").save(
        source / "5_animation.gif", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]
    )
    tool("create_from_images", tmp_path / "out", source, "--channels", 3, "--shuffle", 0)
    data = TFRecordDataset(tmp_path / "out")
    pixels = [tuple(int(v) for v in data[i][0][:, 0, 0]) for i in range(6)]
    assert pixels[0] == (100, 100, 100) and pixels[1] == pixels[2] == (255, 255, 255)
    assert pixels[3][0] > 200 and max(pixels[3][1:]) < 60
    assert pixels[4] == (0, 0, 0) and pixels[5] == (0, 0, 255)
    tool("create_from_images", tmp_path / "gray", source, "--channels", 1)
    assert TFRecordDataset(tmp_path / "gray").spec.channels == 1


def test_corrupt_files_are_skipped_counted_and_listed(folder, tmp_path):
    good = (folder / "cats" / "1.png").read_bytes()
    for name, content in (("cut.png", good[:200]), ("empty.jpg", b""), ("text.png", b"hello"), ("no.webp", good[8:])):
        (folder / "cats" / name).write_bytes(content)
    out = tool("create_from_images", tmp_path / "out", folder)
    assert len(TFRecordDataset(tmp_path / "out")) == 6
    assert f"skipped 4 of 10, listed in {tmp_path / 'out' / 'skipped.txt'}:" in out.stderr
    assert all(f"cats/{n}: not a readable image" in out.stderr for n in ("cut.png", "empty.jpg", "text.png", "no.webp"))
    listed = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    assert len(listed) == 4 == json.loads((tmp_path / "out" / "dataset.json").read_text())["skipped"]
    assert all(line.strip() in out.stderr for line in listed)
    strict = tool("create_from_images", tmp_path / "strict", folder, "--strict", check=False)
    assert strict.returncode == 2 and "not a readable image" in strict.stderr and not (tmp_path / "strict").exists()


def _odd(folder):
    picture(0, (15, 15)).save(folder / "z.png")


def _larger(folder):
    picture(0, (32, 32)).save(folder / "z.png")


def _wide(folder):
    picture(0, (32, 16)).save(folder / "z.png")


def _clear(folder):
    for p in folder.rglob("*.png"):
        p.unlink()


def _json(text):
    return lambda folder: (folder / "dataset.json").write_text(text)


def _every(label):
    def change(folder):
        names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.png"))]
        (folder / "dataset.json").write_text(json.dumps({"labels": [[n, label] for n in names]}))

    return change


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (_odd, [], "z.png: found 15x15, expected even edges of at least 6 pixels, e.g. 16x16; or add"),
        (_larger, [], "z.png: 3x32x32, expected 3x16x16"),
        (_wide, [], "z.png: 3x32x16, expected 3x16x16 as in"),
        (_clear, [], "no image in it"),
        (lambda f: None, ["--resize", 2], "--resize 2: expected"),
        (_larger, ["--labels", "folders"], "not in a sub-folder"),
        (_json('{"labels": [["a.png", 1]]}'), [], "no label for 6 of 6 images, the first is birds/0.png"),
        (_json("{"), [], "dataset.json: not readable"),
        (_json("[" * 100_000), [], "dataset.json: not readable"),
        (_every(1000000000), [], "class 1000000000, expected 0 to 65535"),
        (_every([float("nan")]), [], "label of birds/0.png is [nan], expected"),
        (_every("twelve"), [], "label of birds/0.png is 'twelve', expected"),
        (_every([]), [], "label of birds/0.png is [], expected"),
        (lambda f: None, ["--workers", -1], "--workers -1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, tmp_path, change, args, message):
    change(folder)
    out = tool("create_from_images", tmp_path / "out", folder, "--shuffle", 0, *args, check=False)
    assert out.returncode == 2, out.stderr
    errors = [line for line in out.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in out.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"in"}


def test_missing_folder_and_existing_target(folder, tmp_path):
    assert "no such file or folder" in tool("create_from_images", tmp_path / "out", tmp_path / "x", check=False).stderr
    tool("create_from_images", tmp_path / "out", folder)
    before = files(tmp_path / "out")
    out = tool("create_from_images", tmp_path / "out", folder, check=False)
    assert out.returncode == 2 and "exists already" in out.stderr and files(tmp_path / "out") == before
