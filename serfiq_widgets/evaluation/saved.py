"""Tables in files: numbers alone, no name, no face and no embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadTable, one_line
from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.table import Table

QUALITY = "quality "


def save(path: Path, table: Table, tail: int = 30_000) -> None:
    """Save a table without the names of its images, and without who the impostors were.

    Parameters
    ----------
    path : Path
        A ``.npz`` file.
    table : Table
    tail : int
        How many of the highest impostor scores to keep: thresholds are exact up to this share of
        the impostor comparisons, and beyond to a bin of the histogram.

    Raises
    ------
    BadTable
        The file cannot be written.
    """
    compared = table.comparisons
    number = np.uint16 if compared.images <= np.iinfo(np.uint16).max else np.uint32
    arrays: dict[str, NDArray[Any]] = {
        "people": compared.people.astype(number),
        "first": compared.first.astype(number),
        "second": compared.second.astype(number),
        "genuine": compared.genuine,
        "impostors": np.array(compared.impostors),
        "tail": compared.tail[:tail],
        "edges": compared.edges,
        "genuine_bins": compared.genuine_bins,
        "impostor_bins": compared.impostor_bins,
        "about": np.array(json.dumps(table.about)),
        **{QUALITY + name: np.asarray(q, np.float32) for name, q in table.qualities.items()},
    }
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise BadTable(f"'{path.name}' cannot be written: {one_line(error)}") from error


def load(path: Path) -> Table:
    """Load a saved table.

    Raises
    ------
    BadTable
        The file is missing or is no such table.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        compared = Comparisons(
            people=arrays["people"].astype(np.int32),
            first=arrays["first"].astype(np.int32),
            second=arrays["second"].astype(np.int32),
            impostors=int(arrays["impostors"]),
            tail_first=None,
            tail_second=None,
            **{
                name: arrays[name]
                for name in ("genuine", "tail", "edges", "genuine_bins", "impostor_bins")
            },
        )
        qualities = {
            name.removeprefix(QUALITY): values
            for name, values in arrays.items()
            if name.startswith(QUALITY)
        }
        about = json.loads(str(arrays["about"]))
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise BadTable(
            f"'{path.name}' is no saved evaluation ({one_line(error)}). Make one: serfiq evaluate "
            "FOLDER --save FILE.npz"
        ) from error
    return Table(compared, qualities, (), about)
