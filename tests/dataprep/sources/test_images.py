import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from dataprep.build import Output
from dataprep.rules import Rules
from dataprep.sources.images import ImageFiles, create_from_images, open_files
from dnnlib.errors import UserError
from tests.dataprep.sources.samples import check_images, image, png
from tests.runs import script
from training.data.archives import FolderFiles
from training.data.dataset import open_dataset


def test_a_zip_gives_what_its_folder_does(tmp_path):
    folder = tmp_path / "in"
    names = ["all/cats/b.png", "all/cats/deep/c.png", "all/a-dogs/d.png", "all/cats.png/e.png"]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(i))
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for name in names[::-1]:
            z.write(folder / name, name)
    for source in ("in", "in.zip"):
        out = tmp_path / f"out-{source}" / "x"
        create_from_images(out, tmp_path / source, shuffle=0, labels="folders")
        check_images(out, [2, 3, 0, 1], np.eye(3)[[0, 2, 1, 1]])  # the folder around everything is no class


def test_zip_members_that_lead_out_are_left_out_and_listed(tmp_path):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as z:
        for i, name in enumerate(["../0.png", "1.png", "/2.png", "C:\\3.png", "a/../../4.png", "5.png"]):
            z.writestr(name, png(i))
        link = zipfile.ZipInfo("6.png")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
        z.writestr("7.png", png(7), zipfile.ZIP_LZMA)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as z:
        raw[z.getinfo("5.png").header_offset + 60] ^= 255
    path.write_bytes(raw)
    out = script("dataset_tool.py", "create_from_images", tmp_path / "out", path)
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert listed.count("\n") == 6 and "skipped 6 of 8" in out.stderr and len(open_dataset(tmp_path / "out")) == 2
    for reason in (
        "../0.png: leads out",
        "/2.png: an absolute",
        "6.png: a link",
        "5.png: damaged",
    ):
        assert reason in listed
    assert "5.png: damaged" in listed
    assert not (tmp_path.parent / "0.png").exists()
    strict = script("dataset_tool.py", "create_from_images", tmp_path / "s", path, "--strict", check=False)
    assert strict.returncode == 2 and "leads out of the archive" in strict.stderr and not (tmp_path / "s").exists()
    assert len(open_dataset(path)) == 3  # directly, the damaged one is reported when it is read


def test_odd_things_in_a_folder(tmp_path):
    """Pipes do not block, links to nothing and to folders are listed, links to files are followed."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "1.png").write_bytes(png(1))
    os.mkfifo(folder / "0.png")
    (folder / "1.png").symlink_to(tmp_path / "1.png")
    (folder / "2.png").symlink_to(tmp_path / "nothing")
    (folder / "3.png").symlink_to(tmp_path)
    (folder / "\udcff4.png").write_bytes(png(4))  # a name that is no UTF-8
    (folder / "5.tif").write_bytes(b"")
    script("dataset_tool.py", "create_from_images", tmp_path / "out", folder, "--shuffle", 0)
    check_images(tmp_path / "out", [1, 4])
    listed = (tmp_path / "out" / "skipped.txt").read_text()
    assert (
        listed.count("neither a file nor a folder, or a link to none") == 3 and "5.tif: not a readable image" in listed
    )


def test_nothing_but_other_files(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt", "c.mp4"):
        (tmp_path / "in" / name).write_text("x")
    with pytest.raises(UserError, match=r"no image in it but 2 \.txt, 1 \.mp4"):
        ImageFiles(open_files(tmp_path / "in"), "auto")


def test_a_bomb_is_skipped(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(0))
    Image.new("1", (20000, 20000)).save(tmp_path / "in" / "b.png")
    create_from_images(tmp_path / "out", tmp_path / "in")
    check_images(tmp_path / "out", [0])
    assert "decompression bomb" in (tmp_path / "out" / "skipped.txt").read_text()


def test_files_are_in_the_order_of_their_names(tmp_path):
    for name in ("b/1.png", "b-1.png", "a.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(0))
    assert FolderFiles(tmp_path).names == ["a.png", "b-1.png", "b.png", "b/1.png"]
    create_from_images(tmp_path / "out", tmp_path, picture=Rules(resize=3), output=Output(workers=1))


def test_a_link_in_a_circle_loses_nothing_else(tmp_path):
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"{i}.png").write_bytes(png(i))
    (folder / "b").symlink_to("b")
    create_from_images(tmp_path / "out", tmp_path / "in", shuffle=0)
    check_images(tmp_path / "out", range(5))
    assert "sub/b: neither a file" in (tmp_path / "out" / "skipped.txt").read_text()


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_labels_inside_the_folder_that_holds_everything(form, tmp_path):
    """As archives are when their folder was packed; the same when it is read for training."""
    folder = tmp_path / "in"
    (folder / "faces").mkdir(parents=True)
    for i in range(3):
        (folder / "faces" / f"{i}.png").write_bytes(png(i))
    (folder / "faces" / "dataset.json").write_text('{"labels": [["0.png", 1], ["1.png", 0], ["2.png", 1]]}')
    path = folder
    if form == "zip":
        path = tmp_path / "in.zip"
        with zipfile.ZipFile(path, "w") as z:
            for file in sorted((folder / "faces").iterdir()):
                z.write(file, f"faces/{file.name}")
    create_from_images(tmp_path / "out", path, shuffle=0)
    check_images(tmp_path / "out", [0, 1, 2], np.eye(2)[[1, 0, 1]])
    assert (np.asarray(open_dataset(path).labels) == np.eye(2)[[1, 0, 1]]).all()


def test_labels_that_are_not_read_are_pointed_out(tmp_path):
    folder = tmp_path / "in"
    for name in ("cats/0.png", "dogs/1.png"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(png(int(name[5])))
    (folder / "metadata.jsonl").write_text("{}\n")
    out = script("dataset_tool.py", "create_from_images", tmp_path / "out", folder)
    assert "no labels: the images are in 2 folders, which --labels folders makes classes of" in out.stderr
    assert "no labels: metadata.jsonl is not read, write them as dataset.json" in out.stderr
    out = script("dataset_tool.py", "create_from_images", tmp_path / "classes", folder, "--labels", "folders")
    assert "no labels" not in out.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tar.gz", "expected the command create_from_webdataset"),
        ("a.parquet", "expected the command create_from_hf"),
        ("a.h5", "expected the command create_from_hdf5"),
        ("https://example.org/a.zip", "a URL, expected a folder or zip"),
        ("a.txt", "not a whole zip archive"),
    ],
)
def test_files_for_other_commands(tmp_path, name, message):
    if "//" not in name:
        name = tmp_path / name
        name.write_bytes(b"x")
    out = script(
        "dataset_tool.py",
        "create_from_images",
        tmp_path / "out",
        name,
        check=False,
    )
    assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1


@pytest.mark.parametrize("more", [[], ["--uncompressed"]])
def test_a_name_that_ends_in_zip_becomes_a_zip(tmp_path, more):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png(i))
    Image.new("RGB", (16, 16), "red").save(folder / "3.png")
    script("dataset_tool.py", "create_from_images", tmp_path / "out.zip", folder, "--shuffle", 0, *more)
    dataset = open_dataset(tmp_path / "out.zip")
    assert all((dataset[i][0] == image(i).transpose(2, 0, 1)).all() for i in range(3))
    with zipfile.ZipFile(tmp_path / "out.zip") as z:
        size = z.getinfo("00000/img00000003.png").file_size
    assert (size > 16 * 16 * 3) == bool(more)

    # Any command writes any form; what contradicts itself is refused.
    script(
        "dataset_tool.py", "create_robohash", tmp_path / "r", "--to", "folder", "--num-images", 2, "--resolution", 32
    )
    assert len(list((tmp_path / "r").glob("*.png"))) == 2
    script("dataset_tool.py", "extract", tmp_path / "r", tmp_path / "r.zip")
    assert len(open_dataset(tmp_path / "r.zip")) == 2
    for args, message in (
        (["x.zip", folder, "--to", "folder"], "x.zip: --to folder: expected a name that does not end in .zip"),
        (["x", folder, "--uncompressed"], "--uncompressed: TFRecords are never compressed"),
        (["x.zip", folder, "--shard-mb", 5], "expected none for a zip"),
    ):
        out = script("dataset_tool.py", "create_from_images", *args, check=False)
        assert out.returncode == 2 and message in out.stderr
