"""A photo of a face with marks that are found wherever a copy of it lies."""

import numpy as np
from hostile_images import photo, saved, tiff

MARK = b"marked by 6f1c2e9a7d"
EDGE = 24


def marked(seed=1):
    """A PNG file, and the marks by name: its metadata, its file's bytes and its pixels."""
    pixels = np.array(photo(480, 600))
    noise = np.random.default_rng(seed).integers(0, 256, (EDGE, 480, 3), dtype=np.uint8)
    pixels[:EDGE] = noise
    data = b"Exif\0\0" + tiff((0x010E, 2, len(MARK), 26), more=MARK)
    from PIL import Image

    content = saved(Image.fromarray(pixels), "PNG", exif=data)
    middle = len(content) // 2
    marks = {
        "metadata": MARK,
        "file": content[middle : middle + 48],
        "pixels": noise[EDGE // 2, 200:216].tobytes(),
    }
    assert all(mark in content or name == "pixels" for name, mark in marks.items())
    return content, marks
