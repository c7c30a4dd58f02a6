"""How the detectors differ: faces found, time, landmarks, and what that does to scores.

Usage: detectors.py PHOTOS.zip [MODEL]. The zip holds photos of one main face each. Prints a line
for every detector whose files are here (`serfiq doctor` lists them). Distances are those of the
five landmarks from CenterFace's, averaged over the five: in pixels of the aligned face, and as a
share of the distance between the eyes. Scores are closed forms of the same photos.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.stats import spearmanr

from serfiq_widgets import Scorer, robustness
from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.faces.alignment import TEMPLATE, AlignedFace, align, similarity
from serfiq_widgets.faces.detectors import DETECTORS, Detection, open_detector
from serfiq_widgets.faces.find import detect
from serfiq_widgets.images.files import find_images
from serfiq_widgets.images.read import read_image

BATCH = 50
MOVED = 5  # quality component values
COLUMNS = (
    ("detector", "{:>12}"),
    ("found", "{:>7.1%}"),
    ("ms", "{:>7.1f}"),
    ("px median", "{:>10.2f}"),
    ("px 95 %", "{:>8.2f}"),
    ("eyes median", "{:>12.1%}"),
    ("eyes 95 %", "{:>10.1%}"),
    ("Spearman", "{:>9.3f}"),
    ("raw diff", "{:>+9.4f}"),
    ("raw |diff|", "{:>11.4f}"),
    (f"quality > {MOVED} off", "{:>16.1%}"),
)


def same_face(found: list[Detection], wanted: Detection) -> Detection | None:
    """Return the face whose landmarks are nearest, unless it is another one."""
    eyes = np.linalg.norm(np.subtract(*wanted.landmarks[:2]))
    near = [(distances(one, wanted).mean(), n) for n, one in enumerate(found)]
    distance, number = min(near, default=(np.inf, 0))
    return found[number] if distance < eyes else None


def distances(one: Detection, other: Detection) -> np.ndarray:
    """Return the distance of each landmark, in photo pixels."""
    return np.linalg.norm(one.landmarks - other.landmarks, axis=1)


def best(scorer: Scorer, faces: list[AlignedFace]) -> np.ndarray:
    """Return raw scores without the chance of masks."""
    parts = [scorer.best_scores(faces[n : n + BATCH]) for n in range(0, len(faces), BATCH)]
    return np.concatenate(parts)


def quality(scorer: Scorer, raw: np.ndarray) -> np.ndarray:
    """Return quality component values before rounding."""
    return 100 * robustness.scaled_score(raw, scorer.card.alpha, scorer.card.r)


def compare(
    name: str, photos: list[np.ndarray], reference: list[Detection | None], scorer: Scorer
) -> list[float | str]:
    """Return one line of the table."""
    open_detector(name)
    start = perf_counter()
    found = [detect(photo, name) for photo in photos]
    milliseconds = 1e3 * (perf_counter() - start) / len(photos)
    pairs = [
        (photo, same_face(ours, wanted), wanted)
        for photo, ours, wanted in zip(photos, found, reference, strict=True)
        if wanted is not None
    ]
    both = [(photo, ours, wanted) for photo, ours, wanted in pairs if ours is not None]
    off = np.array([distances(ours, wanted).mean() for _, ours, wanted in both])
    eyes = np.array([np.linalg.norm(np.subtract(*wanted.landmarks[:2])) for *_, wanted in both])
    scale = [np.hypot(*similarity(wanted.landmarks, TEMPLATE)[:, 0]) for *_, wanted in both]
    ours, theirs = (
        best(scorer, [AlignedFace(align(row[0], row[k].landmarks), name) for row in both])
        for k in (1, 2)
    )
    moved = np.abs(quality(scorer, ours) - quality(scorer, theirs)) > MOVED
    return [
        name,
        len(both) / len(photos),
        milliseconds,
        *np.percentile(off * scale, [50, 95]),
        *np.percentile(off / eyes, [50, 95]),
        spearmanr(ours, theirs).statistic,
        (ours - theirs).mean(),
        np.abs(ours - theirs).mean(),
        moved.mean(),
    ]


def main() -> None:
    """Print the table."""
    scorer = Scorer(sys.argv[2] if len(sys.argv) > 2 else "mini")  # noqa: PLR2004  # optional
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(sys.argv[1]) as archive:
            archive.extractall(folder)
        photos = [read_image(path) for path in find_images([Path(folder)])]
    reference = [next(iter(detect(photo)), None) for photo in photos]
    widths = [len(form.format("" if n == 0 else 0)) for n, (_, form) in enumerate(COLUMNS)]
    print(f"{len(photos)} photos, scores of {scorer.card.name}")
    print("".join(f"{title:>{w}}" for (title, _), w in zip(COLUMNS, widths, strict=True)))
    for name in DETECTORS:
        try:
            row = compare(name, photos, reference, scorer)
        except EngineUnavailable as error:
            print(f"{name:>12}  not here: {error}")
        else:
            print("".join(form.format(v) for v, (_, form) in zip(row, COLUMNS, strict=True)))


if __name__ == "__main__":
    main()
