"""Films: what was written is what another reader sees, whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.video import open_video, save_video


def frames(n=12, size=(48, 64), channels=3):
    """A bright square that moves to the right over a dark ground."""
    film = np.full((n, channels, *size), 32, np.uint8)
    for i, frame in enumerate(film):
        frame[:, 8:24, 2 * i : 2 * i + 16] = 220
    return film


def decode(path):
    import av

    with av.open(str(path)) as film:
        return film.streams.video[0].average_rate, [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("size, channels", [((48, 64), 3), ((33, 47), 1)])
def test_a_film_shows_the_frames_it_was_given(tmp_path, suffix, size, channels):
    path = tmp_path / f"walk{suffix}"
    given = frames(size=size, channels=channels)
    with open_video(path, fps=12) as add:
        for frame in given:
            add(frame)
    rate, decoded = decode(path)
    assert rate == 12 and len(decoded) == 12
    for frame, shown in zip(given, decoded, strict=True):
        expected = np.broadcast_to(frame.transpose(1, 2, 0), (*size, 3)).astype(float)
        assert np.abs(shown[: size[0], : size[1]] - expected).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_gif_has_all_frames_and_their_time(tmp_path):
    path = tmp_path / "walk.gif"
    with open_video(path, fps=20) as add:
        for frame in frames():
            add(frame)
    with Image.open(path) as im:
        assert im.n_frames == 12 and im.info["duration"] == 50 and im.info["loop"] == 0
        im.seek(5)
        assert np.abs(np.asarray(im.convert("RGB")).astype(float) - frames()[5].transpose(1, 2, 0)).mean() < 2


def test_a_path_without_suffix_is_a_folder_of_pictures(tmp_path):
    with open_video(tmp_path / "frames") as add:
        for frame in frames(3):
            add(frame)
    names = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert names == ["frame00000.png", "frame00001.png", "frame00002.png"]
    with Image.open(tmp_path / "frames" / names[2]) as im:
        assert np.array_equal(np.asarray(im).transpose(2, 0, 1), frames(3)[2])


@pytest.mark.parametrize("name", ["walk.mp4", "walk.gif", "frames"])
def test_an_interrupted_film_leaves_nothing(tmp_path, name):
    with pytest.raises(KeyboardInterrupt), open_video(tmp_path / name) as add:
        add(frames(1)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_container_is_refused_before_anything_is_written(tmp_path):
    with (
        pytest.raises(UserError, match=r"walk.avi: unknown kind of film .avi, expected one of .mp4, .webm, .gif"),
        open_video(tmp_path / "new" / "walk.avi"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_that_are_there_already_become_a_film_in_one_call(tmp_path):
    save_video((np.full((3, 8, 8), 60 * k, np.uint8) for k in range(4)), tmp_path / "film.gif", fps=10)
    with Image.open(tmp_path / "film.gif") as im:
        assert im.n_frames == 4 and im.info["duration"] == 100


def test_a_film_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        save_video([], tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


def test_delays_of_a_gif_add_up_to_its_length(tmp_path):
    save_video((np.full((3, 8, 8), 20 * k, np.uint8) for k in range(8)), tmp_path / "film.gif", fps=8)
    delays = []
    with Image.open(tmp_path / "film.gif") as im:
        for k in range(8):
            im.seek(k)
            delays.append(im.info["duration"])
    assert sum(delays) == 1000 and set(delays) == {120, 130}
