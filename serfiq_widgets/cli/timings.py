"""Timings on this machine: medians of interleaved rounds, so that drift affects all equally.

Every model is timed on every engine and batch in a separate process, which gives a separate peak of
memory. All times are milliseconds per image.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice, product
from pathlib import Path
from time import perf_counter
from typing import Any

from serfiq_widgets import robustness
from serfiq_widgets.engines import runtimes
from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.faces.alignment import AlignedFace, align
from serfiq_widgets.faces.find import detect, find_face
from serfiq_widgets.images.read import read_image
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.results import QualityResult
from serfiq_widgets.scoring.scorer import Scorer

WARM_UP = 2  # rounds that are not counted
MIN_ROUNDS = 3
BATCHES = (1, 16)

Job = Callable[[], object]


def measure_all(
    models: Iterable[str | Path],
    engines: Sequence[str] = ("auto",),
    device: str = "auto",
    batches: Sequence[int] = BATCHES,
    precisions: Sequence[str] = ("auto",),
    **settings: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the record of `measure` for all combinations of these, each in its own process.

    Parameters
    ----------
    models, engines : sequence of str
        Names or paths, and engines; "all" stands for every engine that works here, with this
        network and precision.
    device : str
        Where they run.
    batches : sequence of int
        Numbers of faces per batch of the trunk.
    precisions : sequence of str
        As in `Scorer`.
    settings
        As in `measure`.

    Raises
    ------
    UnknownModel, CorruptModel, EngineUnavailable, BadSetting
        As in `Scorer`.
    """
    every = "all" in engines
    if every:
        engines = [one.name for one in runtimes() if not one.problem]
    fresh = multiprocessing.get_context("spawn")
    refused: list[str] = []
    measured = 0
    for model, batch, precision, engine in product(models, batches, precisions, engines):
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            wanted = {"batch": batch, "precision": precision, **settings}
            try:
                yield process.submit(measure, model, engine, device, **wanted).result()
            except EngineUnavailable as error:
                if not every:
                    raise
                refused.append(str(error))
            else:
                measured += 1
    if refused and not measured:
        raise EngineUnavailable("\n".join(dict.fromkeys(refused)))


def measure(
    model: str | Path = "mini",
    engine: str = "auto",
    device: str = "auto",
    *,
    precision: str = "auto",
    passes: int = 100,
    batch: int = 1,
    rounds: int = 60,
    seconds: float = 10.0,
) -> dict[str, Any]:
    """Time embedding, score, controlled score of few passes, and the reference method.

    Parameters
    ----------
    model, engine, device, precision
        As in `Scorer`.
    passes : int
        Dropout passes T of the score.
    batch : int
        Number of faces per batch of the trunk.
    rounds : int
        Interleaved rounds at most.
    seconds : float
        Approximate total time of the quick jobs, and the time limit of the reference method, which
        then stops. The latter is timed with one face, as it processes faces one by one.

    Returns
    -------
    dict
        ``embedding_ms`` is trunk and head once, without dropout: the minimum. ``score_ms`` is a
        score of T passes with its interval, plain and controlled; ``controlled_ms`` one of as few
        passes as `Scorer.best_scores` makes.
        ``reference_ms`` is the reference method, T copies through the whole network, on the same
        engine. ``peak_mb`` is the peak memory of this process before the reference method, in
        megabytes, or None if the system does not report it. The stages of a photo (``decode_ms`` to
        ``spread_ms``) follow, and ``slider_ms``, one move of the slider at 200 passes without the
        browser, or None if the widgets are not installed.
    """
    scorer = Scorer(model, engine, device, precision=precision)
    photo = sample_images()[0]
    one = find_face(photo)
    stages = _photo_stages(photo, rounds, seconds / 10)
    slider = _slider(one, scorer.options.model, scorer.engine.name, rounds)
    faces = list(islice(cycle(_faces()), batch))
    jobs: dict[str, Job] = {
        "embedding": lambda: scorer.embed(faces),
        "score": lambda: scorer.score_batch(faces, passes),
        "controlled": lambda: scorer.best_scores(faces),
    }
    for job in WARM_UP * list(jobs.values()):
        job()
    peak = _peak_megabytes()
    jobs["reference"] = lambda: reference_way(scorer, one, passes)
    times = _interleaved(jobs, rounds, seconds)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name in ("embedding", "score", "controlled"):
        medians[name] /= batch
    return {
        "model": scorer.card.name,
        "engine": scorer.engine.name,
        "device": scorer.engine.device,
        "precision": scorer.engine.precision,
        "passes": passes,
        "batch": batch,
        **{f"{name}_ms": milliseconds for name, milliseconds in medians.items()},
        "images_per_s": 1e3 / medians["score"],
        "peak_mb": peak,
        "score_to_embedding": medians["score"] / medians["embedding"],
        "controlled_to_embedding": medians["controlled"] / medians["embedding"],
        "reference_to_score": medians["reference"] / medians["score"],
        "rounds": len(times["score"]),
        **stages,
        **_result_stages(scorer, faces, passes),
        "slider_ms": slider,
    }


def reference_way(scorer: Scorer, face: AlignedFace, passes: int) -> float:
    """Score one aligned face as the reference does: T copies in the whole network.

    Returns
    -------
    float
        The raw score: the same as `Scorer.score` with the same masks, for T times the work.
    """
    features = scorer.features([face] * passes)
    embeddings = scorer.network.head(features, scorer.masks(passes), 1.0 - scorer.rate)
    return robustness.score_of(robustness.normalise(embeddings))


def _faces() -> list[AlignedFace]:
    return [find_face(path) for path in sample_images() if "_" not in path.stem]


def _photo_stages(photo: Path, rounds: int, seconds: float) -> dict[str, float]:
    """Return the medians of the stages before the network, on one whole photo."""
    pixels = read_image(photo)
    (found, *_) = detect(pixels)
    jobs: dict[str, Job] = {
        "decode": lambda: read_image(photo),
        "detect": lambda: detect(pixels),
        "align": lambda: align(pixels, found.landmarks),
    }
    times = _interleaved(jobs, rounds, seconds)
    return {f"{name}_ms": statistics.median(taken) for name, taken in times.items()}


def _result_stages(scorer: Scorer, faces: list[AlignedFace], passes: int) -> dict[str, float]:
    """Return median milliseconds per face of the network's and the head's stages."""
    stages = ("trunk", "passes", "spread")
    runs = [
        [one.timings[stage] for stage in stages]
        for _ in range(MIN_ROUNDS)
        for one in scorer.score_many(faces, passes)
        if isinstance(one, QualityResult)
    ]
    medians = map(statistics.median, zip(*runs, strict=True))
    return {f"{stage}_ms": taken for stage, taken in zip(stages, medians, strict=True)}


def _interleaved(jobs: dict[str, Job], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Run all jobs in turns, and return their milliseconds.

    A job stops after its time limit while the others go on; the quick jobs end the loop.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds):
        spent = [sum(taken) / 1e3 for taken in times.values()]
        if turn >= MIN_ROUNDS and min(spent) > seconds / len(jobs):
            break
        for (name, job), used in zip(jobs.items(), spent, strict=True):
            if turn and used > seconds:
                continue
            begun = perf_counter()
            job()
            times[name].append(1e3 * (perf_counter() - begun))
    return times


def _peak_megabytes() -> float | None:
    """Return the peak memory of this process; None on Windows, which does not report it."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _slider(face: AlignedFace, model: str | Path, engine: str, rounds: int) -> float | None:
    """Return median milliseconds of the kernel for one move of the slider near T=200."""
    try:
        from serfiq_widgets.widgets.explorer import Explorer
    except ImportError:
        return None
    explorer = Explorer(face, model=model, engine=engine)
    times = []
    for turn in range(rounds):
        start = perf_counter()
        explorer.passes = 199 + turn % 2
        times.append(1e3 * (perf_counter() - start))
    return statistics.median(times)
