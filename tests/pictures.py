"""Encoded pictures."""

import io

import numpy as np
from PIL import Image, ImageCms


def encoded(im, form="PNG", **options):
    """The file that Pillow makes of an image."""
    buffer = io.BytesIO()
    im.save(buffer, format=form, **options)
    return buffer.getvalue()


def noise(w, h, c=3, seed=0):
    """Random pixels, gray if c is 1."""
    x = np.random.default_rng(seed).integers(0, 256, (h, w, c), dtype=np.uint8)
    return Image.fromarray(x[..., 0] if c == 1 else x)


def swapped_profile():
    """A valid RGB profile whose red and blue are exchanged: made from Pillow's sRGB by exchanging two tags."""
    raw = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    raw = raw.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    return raw.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
