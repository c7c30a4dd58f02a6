"""The connection to a Dask cluster: its client, one task on a worker, and a worker's scorer."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from serfiq_widgets._version import __version__
from serfiq_widgets.errors import (
    BadSetting,
    ClusterUnavailable,
    PackageMissing,
    SerfiqError,
    one_line,
)
from serfiq_widgets.models import cards
from serfiq_widgets.scoring.contract import ScorerOptions
from serfiq_widgets.scoring.scorer import Scorer

REACH_S = 10  # to find the scheduler and a first worker
LOAD_S = 300  # for a worker to load a network
NETWORKS = 4  # kept open by a worker


def connect(address: str) -> Any:
    """Connect to a Dask scheduler.

    Parameters
    ----------
    address : str
        ``tcp://host:8786`` or ``tls://...``.

    Returns
    -------
    distributed.Client

    Raises
    ------
    ClusterUnavailable
        No scheduler answers at this address.
    PackageMissing
        distributed is not installed.
    """
    distributed = import_distributed()
    try:
        return distributed.Client(address, timeout=REACH_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterUnavailable(
            f"No Dask scheduler answers at '{address}' ({one_line(error) or 'no answer'}). Start "
            "one (dask scheduler) with workers (dask worker ADDRESS), or check the address."
        ) from error


def import_distributed() -> Any:
    """Import distributed, or raise PackageMissing, whose text says how to install it."""
    try:
        import distributed
    except ImportError as error:
        raise PackageMissing(
            f"A cluster needs Dask ({error}): pip install 'serfiq_widgets[dask]'"
        ) from error
    return distributed


def ask(client: Any, task: Any, *arguments: Any, patience: float = LOAD_S) -> Any:
    """Run a task on one worker; return its result, or raise its error.

    Raises
    ------
    ClusterUnavailable
        There is no worker, none answered in time, or the worker cannot run the task.
    """
    with translated("the first task"):
        try:
            client.wait_for_workers(1, timeout=REACH_S)
        except TimeoutError as error:
            raise ClusterUnavailable(
                "The cluster has no worker. Start one: dask worker ADDRESS"
            ) from error
        future = client.submit(task, *arguments, pure=False)
        try:
            return future.result(timeout=patience)
        except TimeoutError as error:
            future.cancel()
            raise ClusterUnavailable(
                f"No worker of the cluster answered within {patience:g} seconds."
            ) from error


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn exceptions of the cluster into ClusterUnavailable; let a SerfiqError pass."""
    try:
        yield
    except SerfiqError:
        raise
    except Exception as error:
        kind = type(error).__name__
        if kind == "KilledWorker":
            text = f"Several workers died, one after the other, of {what}. See their logs."
        elif "Cancelled" in kind or "CommClosed" in kind:
            text = "The connection to the cluster's scheduler is lost. Run the same command again."
        elif isinstance(error, ImportError | AttributeError | RuntimeError):
            text = (
                f"The workers cannot score ({one_line(error)}). Install the same serfiq_widgets "
                f"and Dask on all of them: here is {__version__}."
            )
        else:
            text = f"A worker failed at {what} ({kind}: {one_line(error)})."
        raise ClusterUnavailable(text) from error


def pack(options: ScorerOptions) -> bytes:
    """Return a scorer's options as bytes that are valid on another machine.

    Raises
    ------
    BadSetting
        The network is a module in memory.
    """
    model, card = options.model, options.card
    if not isinstance(model, str | Path):
        raise BadSetting("On a cluster a network is a name or a file: export the module first.")
    if str(model) not in cards.cards():
        model = str(Path(model).absolute())
    if isinstance(card, str | Path):
        card = str(Path(card).absolute())
    return pickle.dumps(replace(options, model=str(model), card=card))


# The functions below run on the workers.

_loading = Lock()


def cached_scorer(packed: bytes) -> tuple[Scorer, Lock]:
    """Return a worker's scorer, opened once, and the lock that its threads share."""
    with _loading:
        return _open(packed)


@lru_cache(NETWORKS)
def _open(packed: bytes) -> tuple[Scorer, Lock]:
    return Scorer(**vars(pickle.loads(packed))), Lock()  # noqa: S301  # a task's own argument
