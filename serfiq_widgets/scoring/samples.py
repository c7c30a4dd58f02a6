"""The sample photos by name, for examples."""

from __future__ import annotations

from pathlib import Path

from serfiq_widgets.resources import sample_images


def samples() -> dict[str, Path]:
    """Return the paths of the sample photos by name, for examples; each original comes first.

    >>> samples()["collins"].name
    'collins.jpg'
    """
    return {path.stem: path for path in sample_images()}
