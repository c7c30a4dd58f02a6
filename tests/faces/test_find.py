"""Reading, detecting and aligning: every kind of input gives the right pixels."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serfiq_widgets import find_face, read_image
from serfiq_widgets.faces.alignment import TEMPLATE, align, similarity
from serfiq_widgets.faces.find import detect
from serfiq_widgets.resources import folder, sample_images

COLLINS = folder("sample_images") / "collins.jpg"


def picture(width=64, height=48):
    """A smooth coloured picture, so that lossy formats stay near it."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, 128 + 0 * x], axis=2).astype(np.uint8)


def encode(pixels, form="PNG", mode=None, **settings):
    content = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(content, form, **settings)
    return content.getvalue()


def test_png_and_lossless_webp_are_exact():
    np.testing.assert_array_equal(read_image(encode(picture())), picture())
    lossless = encode(picture(), "WEBP", lossless=True)
    np.testing.assert_array_equal(read_image(lossless), picture())


@pytest.mark.parametrize("settings", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpeg_is_near(settings):
    read = read_image(encode(picture(), "JPEG", subsampling=0, **settings)).astype(int)
    assert np.abs(read - picture()).max() <= 8


def test_sources_are_equal(tmp_path):
    content = encode(picture())
    file = tmp_path / "x.png"
    file.write_bytes(content)
    with file.open("rb") as opened:
        sources = [file, str(file), content, bytearray(content), memoryview(content), opened]
        sources += [io.BytesIO(content), Image.open(io.BytesIO(content)), picture()]
        for source in sources:
            np.testing.assert_array_equal(read_image(source), picture())


def test_a_wrong_suffix_does_not_matter(tmp_path):
    file = tmp_path / "really_a_png.jpg"
    file.write_bytes(encode(picture()))
    np.testing.assert_array_equal(read_image(file), picture())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    stored = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90,
    }
    read = read_image(encode(stored, exif=exif.tobytes()))
    np.testing.assert_array_equal(read, turns[orientation](stored))


def test_modes():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(read_image(encode(grey)), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(grey), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(grey[..., None]), np.repeat(grey[..., None], 3, 2))
    flat = np.full((32, 32, 3), (10, 200, 30), np.uint8)
    content = io.BytesIO()
    Image.fromarray(flat).quantize(4).save(content, "PNG")
    np.testing.assert_array_equal(read_image(content.getvalue()), flat)
    two = np.indices((32, 32)).sum(0) % 2 * 255
    bits = read_image(encode(two.astype(np.uint8), mode="1"))
    np.testing.assert_array_equal(bits[..., 0], two)


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    for read in (read_image(encode(wide)), read_image(wide)):
        assert np.abs(read[..., 0].astype(float) - wide / 257.0).max() <= 1
    colour = np.repeat(wide[..., None], 3, 2)
    assert np.abs(read_image(colour).astype(float) - colour / 257.0).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_on_white(mode):
    clear = np.zeros((32, 32, 4 if mode == "RGBA" else 2), np.uint8)
    clear[:16, :, -1] = 255
    content = io.BytesIO()
    Image.fromarray(clear, mode).save(content, "PNG")
    read = read_image(content.getvalue())
    assert (read[:16] == 0).all()
    assert (read[16:] == 255).all()


def test_palette_with_transparency():
    image = Image.new("P", (32, 32), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    content = io.BytesIO()
    image.save(content, "PNG", transparency=0)
    assert (read_image(content.getvalue()) == 255).all()


def test_cmyk():
    content = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(content, "JPEG", quality=95)
    # black is absent from Pillow's conversion, so the way back is exact but for JPEG's own loss
    assert np.abs(read_image(content.getvalue()).astype(int) - picture()).max() <= 12


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_animated_files_use_their_first_frame(form):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime")]
    content = io.BytesIO()
    frames[0].save(content, form, save_all=True, append_images=frames[1:], duration=50)
    assert np.abs(read_image(content.getvalue()).astype(int) - (255, 0, 0)).max() <= 8


numbers = st.floats(-3, 3)


@given(st.floats(0.1, 10), numbers, st.floats(-500, 500), st.floats(-500, 500))
def test_similarity_is_recovered(scale, angle, dx, dy):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[c, -s, dx], [s, c, dy]])
    moved = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(similarity(TEMPLATE, moved), matrix, atol=1e-6 * (1 + scale))


def test_a_face_on_the_template_stays_as_it_is():
    pixels = picture(112, 112)
    np.testing.assert_array_equal(align(pixels, TEMPLATE), pixels)


def test_landmarks_land_on_the_template():
    photo = np.zeros((600, 500, 3), np.uint8)
    marks = TEMPLATE * 2.5 + (100, 150)
    for x, y in np.round(marks).astype(int):
        photo[y - 4 : y + 5, x - 4 : x + 5] = 255
    face = align(photo, np.round(marks)).astype(float).mean(axis=2)
    for x, y in TEMPLATE:
        near = face[int(y) - 5 : int(y) + 7, int(x) - 5 : int(x) + 7]
        rows, columns = np.indices(near.shape)
        centre = np.array([(columns * near).sum(), (rows * near).sum()]) / near.sum()
        found = np.add(centre, (int(x) - 5, int(y) - 5))
        assert np.abs(found - (x, y)).max() < 0.5


def test_big_photos_are_averaged_not_sampled():
    """A fine checkerboard is grey from afar: sampling it would leave black and white noise."""
    board = (np.indices((1120, 1120)).sum(0) % 2 * 255).astype(np.uint8)
    face = align(np.repeat(board[..., None], 3, 2), TEMPLATE * 10)
    assert np.abs(face[5:-5, 5:-5].astype(int) - 127).max() <= 2


def test_the_face_is_found_where_it_is():
    face = find_face(COLLINS)
    assert face.n_faces == 1
    left, top, right, bottom = face.box
    assert left < 165 < right
    assert top < 115 < bottom
    inside = (face.landmarks > (left, top)) & (face.landmarks < (right, bottom))
    assert inside.all()
    assert face.pixels.shape == (112, 112, 3)
    assert face.name == "collins.jpg"


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_the_same_face_at_another_size(scale):
    small = Image.open(COLLINS)
    size = [round(side * scale) for side in small.size]
    other = find_face(small.resize(size, Image.Resampling.LANCZOS))
    reference = find_face(COLLINS)
    # the detector's grid has cells of 4 pixels: within one cell of the coarser of the two photos
    assert np.abs(other.landmarks / scale - reference.landmarks).max() < max(4, 4 / scale)


@pytest.mark.slow
def test_detection_does_not_depend_on_what_was_seen_before():
    before = find_face(COLLINS).landmarks
    for path in sample_images():
        find_face(path)
    np.testing.assert_array_equal(find_face(COLLINS).landmarks, before)


def crowd(rows, columns):
    tile = Image.open(COLLINS).crop((85, 0, 265, 230))
    wall = Image.new("RGB", (columns * 180, rows * 230))
    for row in range(rows):
        for column in range(columns):
            wall.paste(tile, (column * 180, row * 230))
    return np.asarray(wall)


def test_of_twelve_faces_a_central_one_is_taken():
    face = find_face(crowd(3, 4))
    assert face.n_faces == 12
    middle = np.array([(face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2])
    assert np.abs(middle - (360, 345)).max() < 130


def test_which_chooses_another():
    photo = crowd(1, 2)
    first, second = (find_face(photo, which=n) for n in (0, 1))
    assert abs(first.box[0] - second.box[0]) > 100


@pytest.mark.slow
def test_every_sample_has_one_face():
    for path in sample_images():
        assert find_face(path).n_faces == 1, path.name


@pytest.mark.slow
def test_whole_photos_of_lfw_are_found(shared, tmp_path):
    import zipfile

    with zipfile.ZipFile(shared / "data" / "lfw250-sample.zip") as archive:
        archive.extractall(tmp_path)
    photos = sorted(tmp_path.rglob("*.jpg"))
    assert len(photos) == 300
    assert sum(bool(detect(read_image(photo))) for photo in photos[::3]) == 100


@pytest.mark.slow
@pytest.mark.parametrize("share", [1, 0.75])
def test_small_faces_beside_a_large_one_are_counted(share):
    """In a photo of a camera: one in front, two of a hundredth of its width behind."""
    width, height = round(2400 * share), round(1800 * share)
    photo = Image.new("RGB", (width, height), (120, 130, 140))
    large, small = (Image.open(COLLINS.with_name(f"{name}.jpg")) for name in ("hopper", "collins"))
    photo.paste(large.resize((height * 2 // 3, height * 2 // 3)), (width // 4, height // 4))
    little = small.resize((width // 24, width // 20))
    for x in (50, width - width // 24 - 50):
        photo.paste(little, (x, 50))
    alone = find_face(photo.crop((width // 5, height // 5, width * 4 // 5, height)))
    face = find_face(photo)
    assert face.n_faces == 3
    assert alone.n_faces == 1
    assert face.which == 0
    assert face.box[2] - face.box[0] > 5 * (face.boxes[1][2] - face.boxes[1][0])


@pytest.mark.parametrize(
    "name", ["collins", "collins_blur", "collins_tiny", "hopper", "hopper_bar"]
)
def test_one_face_is_not_counted_twice(name):
    """At both sizes at which faces are looked for."""
    photo = Image.open(COLLINS.with_name(f"{name}.jpg")).convert("RGB")
    assert find_face(photo.resize((photo.width * 4, photo.height * 4))).n_faces == 1
