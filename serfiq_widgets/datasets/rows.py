"""ScoreRow, one row of a table of scores, and the table's schema."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

ImageFile = str | Path | BinaryIO
"""An image by its path, or as an open file."""


@dataclass(frozen=True)
class ScoreRow:
    """One row of a score table; if there is an ``error``, the numbers are None.

    Attributes
    ----------
    path : str
        The image, as named or found.
    quality : int
        Quality component value, 0..100; None if the network is not calibrated.
    margin : float
        Half the 95 % interval of the quality, in quality points.
    raw, low, high : float
        The score of the authors' code and its 95 % interval (None for two passes).
    controlled, controlled_low, controlled_high : float
        The score with control variates and its 95 % interval, from which the quality is computed;
        None if the head is not affine: then the quality is computed from ``raw``.
    limit : float
        The closed form of the raw score of infinitely many passes; None if the head is not affine.
    scaled : float
        Logistic stretch of that score to 0..1; None if the network is not calibrated.
    faces : int
        Number of faces in the photo; the largest central one was scored.
    box, detector : str
        Left, top, right and bottom of the face in photo pixels, and the detector; None for aligned
        faces.
    passes, seed : int
        Dropout passes T, and the seed of their masks.
    model, model_sha256 : str
        The network, and the hash of its weights.
    calibrated : bool
        Whether the network has its own alpha and r; else there is no quality. In every row.
    sha256 : str
        Hash of the image's file, if it could be read.
    engine, device, precision : str
        Engine, device and precision of the computation.
    ms : float
        Milliseconds of work on this image; several images are processed at a time.
    error : str
        What was wrong and what to try; None if all went well.
    """

    path: str
    quality: int | None = None
    margin: float | None = None
    raw: float | None = None
    low: float | None = None
    high: float | None = None
    controlled: float | None = None
    controlled_low: float | None = None
    controlled_high: float | None = None
    limit: float | None = None
    scaled: float | None = None
    faces: int | None = None
    box: str | None = None
    detector: str | None = None
    passes: int | None = None
    seed: int | None = None
    model: str | None = None
    model_sha256: str | None = None
    calibrated: bool | None = None
    sha256: str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    ms: float | None = None
    error: str | None = None


def score_schema() -> Any:
    """Return the Arrow schema of `ScoreRow`."""
    import pyarrow as pa

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema(
        [(field.name, kinds[str(field.type).partition(" ")[0]]) for field in fields(ScoreRow)]
    )
