"""A face that moves, for Chromium's fake camera."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

SAMPLE = Path(__file__).parents[1] / "sample_images" / "collins.jpg"


def flags(folder: Path) -> list[str]:
    """Write the film into a folder: JPEGs one after the other; return Chromium's flags for it."""
    path = folder / "face.mjpeg"
    with Image.open(SAMPLE) as photo, path.open("wb") as file:
        face = photo.convert("RGB").resize((384, 480))
        for step in range(30):
            frame = Image.new("RGB", (640, 480), (90, 110, 130))
            frame.paste(face, (100 + 2 * step, 0))
            frame.save(file, "JPEG", quality=85)
    return ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={path}"]
