"""Small pictures of the page."""

import base64
import io
import re

import numpy as np
from PIL import Image

from sharing.demo.small_pictures import strip, thumbnail


def test_thumbnails_keep_what_pictures_show():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2) * 80
    assert (thumbnail(image)[:, ::64, ::64] == image).all() and thumbnail(image).shape == (1, 128, 128)
    large = image.repeat(300, 1).repeat(300, 2)  # 600x600
    small = thumbnail(large)
    assert small.shape == (1, 150, 150) and (small[:, ::75, ::75] == image).all()


def test_a_strip_holds_the_pixels_and_marks_the_chosen_one():
    images = [np.full((3, size, size), size, np.uint8) for size in (4, 8)]
    html = strip(images, ["4x4", "8x8"], chosen=1)
    figures = html.split("<figure")[1:]
    assert [figure.startswith(' class="chosen"') for figure in figures] == [False, True]
    for image, figure in zip(images, figures, strict=True):
        data = base64.b64decode(re.search('base64,([^"]+)', figure)[1])
        with Image.open(io.BytesIO(data)) as im:
            assert (np.asarray(im).transpose(2, 0, 1) == image).all()
    assert strip([], []) == ""
