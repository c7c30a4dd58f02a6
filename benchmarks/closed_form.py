"""Where the closed form can be trusted: its error over kinds of faces and dropout rates.

    python benchmarks/closed_form.py FACES [MODEL] [--faces 6] [--out docs/closed_form.png]

FACES is a folder of aligned faces. The truth is the controlled score of 5,000 passes. Prints the
mean of the absolute errors, and the largest, in % of the raw score, of the closed form with four
moments and of the expansion with two; draws the means into a picture (needs Chromium).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import Degradation, Scorer, robustness
from serfiq_widgets import control_variates as cv
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.images.files import find_images
from serfiq_widgets.images.read import read_image

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
RUNS, PASSES = 10, 500  # together the truth
TILE = 28
COLOURS = {"clean": "#0072B2", "rotated 90°": "#D55E00", "noisy": "#009E73", "tiled": "#CC79A7"}
SIZE = (860, 400)
TICKS = [rate for rate in RATES if rate != 0.8]  # noqa: PLR2004  # too close to the next
LAYOUT = {"width": SIZE[0], "height": SIZE[1], "margin": {"t": 16, "r": 16, "b": 56, "l": 72}}


def tiled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut a face into 4 by 4 tiles and shuffle them, always in the same way."""
    tiles = pixels.reshape(4, TILE, 4, TILE, 3).swapaxes(1, 2).reshape(16, TILE, TILE, 3)
    order = np.random.default_rng(0).permutation(16)
    return tiles[order].reshape(4, 4, TILE, TILE, 3).swapaxes(1, 2).reshape(pixels.shape)


def kinds(faces: list[NDArray[np.uint8]]) -> dict[str, list[NDArray[np.uint8]]]:
    """Return the faces as they are and in three ways that are far from training data."""
    return {
        "clean": faces,
        "rotated 90°": [Degradation(rotation=90).apply(face) for face in faces],
        "noisy": [Degradation(noise=100).apply(face) for face in faces],
        "tiled": [tiled(face) for face in faces],
    }


def errors(
    scorer: Scorer, features: NDArray[np.float32], rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the errors (N,) of the closed form and of the expansion, in % of the raw score."""
    head = scorer.network.head
    known = cv.moments(features, head.weight, head.bias, rate)
    truth = np.empty(len(features))
    for i, row in enumerate(features):
        masks = robustness.draw_masks(RUNS * PASSES, head.n_features, rate, seed=i)
        passes = head(row, masks, 1.0 - rate).reshape(RUNS, PASSES, -1)
        every = cv.Moments(*(np.repeat(part[i], RUNS) for part in vars(known).values()))
        truth[i] = robustness.raw_score(cv.estimate(passes, every).mean.mean())
    closed = robustness.raw_score(known.distances)
    two = robustness.raw_score(robustness.limit_distances(features, head.weight, head.bias, rate))
    return 100 * (closed / truth - 1), 100 * (two / truth - 1)


def draw(means: dict[str, tuple[list[float], list[float]]], out: Path) -> None:
    """Draw the mean errors over the rates: the closed form solid, the expansion dotted."""
    import plotly.graph_objects as go
    from playwright.sync_api import sync_playwright

    figure = go.Figure(layout={"template": "plotly_white", **LAYOUT})
    for kind, pair in means.items():
        for values, dash, words in zip(pair, ("solid", "dot"), ("", ", two moments"), strict=True):
            line = {"color": COLOURS[kind], "dash": dash}
            figure.add_scatter(x=RATES, y=values, name=f"{kind}{words}", line=line)
    figure.update_xaxes(type="log", title="dropout rate p", tickvals=TICKS, tickangle=0)
    figure.update_yaxes(
        type="log", dtick=1, exponentformat="none", title="mean error, % of the raw score"
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "figure.html"
        figure.write_html(page, include_plotlyjs=True, config={"displayModeBar": False})
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        tab = browser.new_page(viewport={"width": SIZE[0] + 16, "height": SIZE[1] + 16})
        tab.goto(page.as_uri())
        tab.locator(".main-svg").first.wait_for()
        tab.locator(".plotly-graph-div").screenshot(path=out)
        browser.close()


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--faces", type=int, default=6)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    scorer = Scorer(given.model)
    images = find_images([given.folder])
    chosen = images[:: max(1, len(images) // given.faces)][: given.faces]
    means: dict[str, tuple[list[float], list[float]]] = {}
    for kind, faces in kinds([read_image(path) for path in chosen]).items():
        features = scorer.features([AlignedFace(face, kind) for face in faces])
        means[kind] = [], []
        for rate in RATES:
            found = errors(scorer, features, rate)
            cells = (f"{np.abs(one).mean():.4f} ({np.abs(one).max():.4f})" for one in found)
            print(f"| {kind} | {rate:g} | {' | '.join(cells)} |", flush=True)
            for values, one in zip(means[kind], found, strict=True):
                values.append(float(np.abs(one).mean()))
    if given.out is not None:
        draw(means, given.out)


if __name__ == "__main__":
    main()
