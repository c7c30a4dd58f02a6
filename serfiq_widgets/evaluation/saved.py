"""Tables in small files: only numbers, without names, faces and embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.archives import UNSOUND, pack_arrays, unpack_arrays
from serfiq_widgets.atomic import write_bytes
from serfiq_widgets.errors import BadTable, one_line
from serfiq_widgets.evaluation.comparisons import Comparisons, genuine_pairs
from serfiq_widgets.evaluation.table import BASELINES, Table

QUALITY = "quality "
STEPS = 2**16 - 1


def save(path: Path, table: Table, tail: int = 60_000) -> None:
    """Save a table without the names of its images and without the impostors' images.

    Scores are stored in steps of 1/65535 of their range, so FNMR may change by the comparisons
    within one step; histograms and counts are exact. Random and oracle qualities are not stored:
    `Table.with_baselines` computes them.

    Parameters
    ----------
    path : Path
        A ``.npz`` file.
    table : Table
    tail : int
        How many of the highest impostor scores to keep: beyond this share of the impostor
        comparisons, thresholds are bin edges.

    Raises
    ------
    BadTable
        The file cannot be written.
    """
    compared = table.comparisons
    number = np.uint16 if compared.images <= STEPS else np.uint32
    arrays: dict[str, NDArray[Any]] = {
        "people": compared.people.astype(number),
        "genuine": _stepped(compared.genuine, compared.edges),
        "impostors": np.array(compared.impostors),
        "tail": _stepped(compared.tail[:tail], compared.edges),
        "edges": compared.edges,
        "genuine_bins": compared.genuine_bins,
        "impostor_bins": compared.impostor_bins,
    }
    pairs = (compared.first, compared.second)
    if not all(map(np.array_equal, pairs, genuine_pairs(compared.people))):
        arrays |= {"first": pairs[0].astype(number), "second": pairs[1].astype(number)}
    for name, values in table.qualities.items():
        if name not in BASELINES:
            arrays[QUALITY + name] = np.asarray(values, np.float32)
    write_bytes(path, pack_arrays(arrays, table.about))


def load(path: Path) -> Table:
    """Load a saved table.

    Raises
    ------
    BadTable
        The file is missing or is not such a table.
    """
    try:
        arrays, about = unpack_arrays(path)
        people = arrays["people"].astype(np.int32)
        if "first" in arrays:
            first, second = (arrays[end].astype(np.int32) for end in ("first", "second"))
        else:
            first, second = genuine_pairs(people)
        compared = Comparisons(
            people=people,
            first=first,
            second=second,
            genuine=_score(arrays["genuine"], arrays["edges"]),
            impostors=int(arrays["impostors"]),
            tail=_score(arrays["tail"], arrays["edges"]),
            tail_first=None,
            tail_second=None,
            edges=arrays["edges"],
            genuine_bins=arrays["genuine_bins"],
            impostor_bins=arrays["impostor_bins"],
        )
    except UNSOUND as error:
        raise BadTable(
            f"'{path.name}' is no saved evaluation ({one_line(error)}). Make one: serfiq evaluate "
            "FOLDER --save FILE.npz"
        ) from error
    qualities = {
        name.removeprefix(QUALITY): values
        for name, values in arrays.items()
        if name.startswith(QUALITY)
    }
    return Table(compared, qualities, (), about)


def _stepped(scores: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.uint16]:
    places = (scores - edges[0]) / (edges[-1] - edges[0])
    steps: NDArray[np.uint16] = np.rint(STEPS * np.clip(places, 0, 1)).astype(np.uint16)
    return steps


def _score(steps: NDArray[np.uint16], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = np.asarray(
        edges[0] + steps * ((edges[-1] - edges[0]) / STEPS), np.float32
    )
    return scores
