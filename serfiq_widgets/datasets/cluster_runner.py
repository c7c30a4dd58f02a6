"""Scoring on a Dask cluster: workers receive chunks of paths and return rows in order.

The workers read the files themselves, by the same paths as here (a shared file system), so no image
passes through this machine or the scheduler. A worker process loads a network once and keeps it. If
a worker ends, its chunk goes to another one. Scores equal those of a local run within 1e-6: float32
is rounded differently on another processor or in a batch of another size.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import Any

from serfiq_widgets._version import __version__
from serfiq_widgets.datasets.rows import ImageFile, ScoreRow
from serfiq_widgets.datasets.score_files import row_chunks, settings_of
from serfiq_widgets.errors import (
    BadSetting,
    ClusterUnavailable,
    plain_text,
)
from serfiq_widgets.images.read import is_address
from serfiq_widgets.models import cards
from serfiq_widgets.scoring.cluster import ask, cached_scorer, import_distributed, pack, translated
from serfiq_widgets.scoring.contract import ScorerOptions
from serfiq_widgets.scoring.results import Passes, check_passes_or_auto

POLL_S, LONELY_S = 5, 60  # interval of checks, and timeout without any worker
AHEAD = 2  # pending chunks per thread of the workers
GONE = "No such file"


def _for_elsewhere(path: ImageFile) -> ImageFile:
    """Return a local path as an absolute path for the workers; other sources unchanged."""
    if not isinstance(path, str | Path) or not str(path) or is_address(path):
        return path
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100  # text


class ClusterRunner:
    """Scores on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
        A client from `connect`, or another one.
    options : dict
        As in `Scorer`. A network is a name, or a file with the same path on the workers.
    passes, aligned
        As in `score_files`.

    Attributes
    ----------
    settings : dict
        Common settings of all rows (`settings_of`) from the first worker; others must agree.
    card : Card
        The network's card.

    Raises
    ------
    ClusterUnavailable
        There is no worker, or the workers have another version of serfiq_widgets, or none.
    SerfiqError
        As in `Scorer`, raised on the worker.
    """

    def __init__(
        self, client: Any, options: dict[str, Any], passes: Passes = 100, *, aligned: bool = False
    ) -> None:
        import_distributed()
        self._client = client
        self._passes, self._aligned = check_passes_or_auto(passes), aligned
        self._packed = pack(ScorerOptions(**options))
        self.settings: dict[str, Any]
        self.settings, self.card = ask(client, describe, self._packed, self._passes, aligned)
        if self.settings["version"] != __version__:
            raise ClusterUnavailable(
                f"The workers have serfiq_widgets {self.settings['version']}, this machine has "
                f"{__version__}. Install the same version everywhere."
            )

    def score(self, chunks: Iterable[list[ImageFile]]) -> Iterator[list[ScoreRow]]:
        """Yield the rows of each chunk, in order; the number of pending chunks is bounded.

        Raises
        ------
        ClusterUnavailable
            All workers have ended, a chunk crashed several, or a worker does not find the files.
        BadSetting
            A worker has other settings than the first one.
        """
        waiting: deque[tuple[list[ImageFile], Any]] = deque()
        try:
            with translated("the next chunk"):
                for chunk in chunks:
                    waiting.append((chunk, self._submit(chunk)))
                    if len(waiting) > AHEAD * sum(self._client.nthreads().values()):
                        yield self._rows(*waiting.popleft())
                while waiting:
                    yield self._rows(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.release()  # cancels chunks that have not started

    def _submit(self, chunk: list[ImageFile]) -> Any:
        paths = [_for_elsewhere(path) for path in chunk]
        work = (self._packed, self.settings, paths, self._passes, self._aligned)
        return self._client.submit(_score, *work, pure=False)

    def _rows(self, chunk: list[ImageFile], future: Any) -> list[ScoreRow]:
        rows = []
        for path, row in zip(chunk, self._result(chunk, future), strict=True):
            if row.sha256 is None and GONE in (row.error or "") and Path(str(path)).exists():
                raise ClusterUnavailable(
                    f"A worker does not find '{path}', which exists here. Put the images where all "
                    "workers find them by the same path."
                )
            rows.append(replace(row, path=plain_text(path)))
        return rows

    def _result(self, chunk: list[ImageFile], future: Any) -> list[ScoreRow]:
        """Wait for the rows of a chunk while there are workers."""
        distributed = import_distributed()
        seen = monotonic()
        with translated(f"the images '{chunk[0]}' to '{chunk[-1]}'"):
            while True:
                try:
                    with self._client.as_current():
                        distributed.wait([future], timeout=POLL_S)
                except TimeoutError:
                    pass
                else:
                    rows: list[ScoreRow] = future.result()
                    return rows
                if self._client.nthreads():
                    seen = monotonic()
                elif monotonic() - seen > LONELY_S:
                    raise ClusterUnavailable(
                        "All workers of the cluster have ended. Written rows are kept: start "
                        "workers, and the same command continues."
                    )


# The following functions run on the workers.


def describe(packed: bytes, passes: Passes, aligned: bool) -> tuple[dict[str, Any], cards.Card]:
    """Return the common settings of rows (`settings_of`), and the network's card."""
    scorer, _ = cached_scorer(packed)
    return settings_of(scorer, passes, aligned=aligned), scorer.card


def _score(
    packed: bytes, settings: dict[str, Any], paths: list[str], passes: Passes, aligned: bool
) -> list[ScoreRow]:
    scorer, turn = cached_scorer(packed)
    own = settings_of(scorer, passes, aligned=aligned)
    for name, value in settings.items():
        if own.get(name) != value:
            raise BadSetting(
                f"The workers differ: {name} is {own.get(name)} on {gethostname()}, {value} on "
                "another. Name the engine and the device, and install the same on all of them."
            )
    (rows,) = row_chunks(scorer, [paths], passes, aligned=aligned, turn=turn)
    return rows
