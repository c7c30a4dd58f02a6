"""How long things take here: medians of interleaved rounds, so that drift hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from serfiq_widgets.faces import AlignedFace, find_face
from serfiq_widgets.resources import sample_images
from serfiq_widgets.results import QualityResult
from serfiq_widgets.scorer import Scorer

WARM_UP = 3  # rounds that are not counted


def measure(
    model: str | Path = "mini",
    engine: str = "auto",
    device: str = "auto",
    passes: int = 100,
    rounds: int = 60,
) -> dict[str, Any]:
    """Time an embedding, a score, an exact limit and a slider move on one face, batch 1.

    Returns
    -------
    dict
        Milliseconds (``*_ms``, medians) and the ratios to the plain embedding, which is trunk and
        head once, without dropout. ``slider_ms`` is one move at 200 passes without the browser;
        it is None where the widgets are not installed.
    """
    scorer = Scorer(model, engine, device)
    face = find_face(sample_images()[0])
    jobs: dict[str, Callable[[], object]] = {
        "embedding": lambda: scorer.embed([face]),
        "score": lambda: scorer.score(face, passes),
        "limit": lambda: scorer.limit(face),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(WARM_UP + rounds):
        for name, job in jobs.items():
            start = perf_counter()
            job()
            if turn >= WARM_UP:
                times[name].append(1e3 * (perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in times.items()}
    stages = scorer.score(face, passes).timings
    return {
        "model": scorer.card.name,
        "engine": scorer.engine.name,
        "device": scorer.engine.device,
        "passes": passes,
        "batch": 1,
        "rounds": rounds,
        **{f"{name}_ms": value for name, value in medians.items()},
        "score_to_embedding": medians["score"] / medians["embedding"],
        "limit_to_embedding": medians["limit"] / medians["embedding"],
        **{f"stage_{name}_ms": value for name, value in stages.items() if name != "face"},
        "slider_ms": _slider(scorer, face, rounds),
    }


def _slider(scorer: Scorer, face: AlignedFace, rounds: int) -> float | None:
    """Median milliseconds of the kernel's work for one move of the Explorer's slider near T=200."""
    try:
        from serfiq_widgets.explorer import Explorer
    except ImportError:
        return None
    explorer = Explorer(face, model=scorer.options["model"], engine=scorer.engine.name)
    result: QualityResult | None = explorer.result
    if result is None:
        return None
    times = []
    for turn in range(rounds):
        start = perf_counter()
        explorer.passes = 199 + turn % 2
        times.append(1e3 * (perf_counter() - start))
    return float(np.median(times))
