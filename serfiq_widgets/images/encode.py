"""Images encoded as text for a web page."""

from __future__ import annotations

import base64
import io

from PIL import Image


def data_url(picture: Image.Image) -> str:
    """Return an image as a data URL: PNG if it is transparent, else JPEG."""
    content = io.BytesIO()
    kind = "PNG" if picture.mode == "RGBA" else "JPEG"
    picture.save(content, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
