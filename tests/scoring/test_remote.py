"""The dashboard's road to a cluster: no network in the kernel, a bounded queue, kind words."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from serfiq_widgets import heatmap
from serfiq_widgets.errors import ClusterUnavailable
from serfiq_widgets.resources import folder
from serfiq_widgets.scoring import remote as service
from serfiq_widgets.scoring.remote import BUSY, SILENT, RemoteScorer, connected
from serfiq_widgets.widgets.state import ExplorerState

distributed = pytest.importorskip("distributed")
COLLINS, MASK = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "collins_mask"))


@pytest.fixture(scope="module")
def address():
    """A cluster of one process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as started:
        yield started.scheduler_address
        for client, _ in service._connections.values():
            client.close()
        service._connections.clear()


@pytest.fixture
def remote(address):
    return RemoteScorer(address, engine="onnxruntime")


def close(one, other, size=1.0):
    """Equal up to 1e-6 of the values' size, which is what float32 gives in other processes."""
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * size)


def test_answers_are_those_of_a_scorer_of_ones_own(remote, scorer):
    here, there = scorer.score(COLLINS, 20), remote.score(COLLINS, 20)
    close(there.raw, here.raw)
    close(there.limit, here.limit)
    assert abs(there.quality - here.quality) <= 1  # rounded from numbers that differ
    assert (there.face.name, there.face.box) == (here.face.name, here.face.box)
    face = here.face
    close(remote.limit(face), scorer.limit(face))
    close(remote.score_batch([face], 20).raw, scorer.score_batch([face], 20).raw)
    features = scorer.features([face])
    close(remote.features([face]), features, np.linalg.norm(features))
    close(remote.embed([face]), scorer.embed([face]))
    assert remote.masks(5).tolist() == scorer.masks(5).tolist()
    close(remote.reseeded_scores(face, 10, 3), scorer.reseeded_scores(face, 10, 3))
    close(heatmap(remote, face, 4), heatmap(scorer, face, 4))
    first, bad = remote.score_many([COLLINS, b"no image"], 20)
    close(first.raw, here.raw)
    assert "not an image" in str(bad)
    assert (remote.card, remote.rate, remote.seed) == (scorer.card, scorer.rate, scorer.seed)


KERNEL = f"""
import json, sys
from serfiq_widgets import Explorer
explorer = Explorer({str(COLLINS)!r}, engine="onnxruntime")
first = explorer.quality
explorer.state.configure(seed=3)
explorer.image = {str(MASK)!r}
explorer.ruin = explorer.ruin.replace(blur=2.0)
heavy = [name for name in ("onnxruntime", "mxnet", "torch", "pandas") if name in sys.modules]
state = explorer.state
print(json.dumps([first, state.clean.quality, explorer.quality, state.message, heavy]))
"""


@pytest.mark.slow
def test_a_kernel_holds_no_network(address):
    pytest.importorskip("ipywidgets")
    environment = {**os.environ, service.SCHEDULER: address}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KERNEL],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, ruined, message, heavy = json.loads(done.stdout)
    assert first > second > ruined
    assert message == ""
    assert heavy == []


def test_a_full_queue_is_said_and_the_next_try_works(address, remote, monkeypatch):
    monkeypatch.setattr(service, "TURN_S", 0.1)
    state = ExplorerState(remote)
    state.image = COLLINS
    before = state.result
    _, queue = connected(address)
    for _ in range(service.PLACES):
        assert queue.acquire(timeout=1)
    state.image = MASK
    assert state.message == BUSY
    assert state.result is before
    for _ in range(service.PLACES):
        queue.release()
    state.image = COLLINS
    state.image = MASK
    assert state.message == ""
    assert state.result is not before


def test_an_answer_that_does_not_come_is_not_awaited_for_long(address, remote, monkeypatch, caplog):
    monkeypatch.setattr(service, "ANSWER_S", 0.2)
    client, queue = connected(address)
    blocking = client.submit(time.sleep, 1, pure=False)
    state = ExplorerState(remote)
    state.image = COLLINS
    assert state.message == SILENT
    assert "within 0.2 seconds" in caplog.text
    assert queue.get_value() == 0
    blocking.result()


def test_without_a_scheduler_the_scorer_is_here(monkeypatch):
    monkeypatch.delenv(service.SCHEDULER, raising=False)
    assert not isinstance(service.open_scorer(engine="onnxruntime"), RemoteScorer)


def test_a_service_that_went_away_is_said(monkeypatch):
    monkeypatch.setattr("serfiq_widgets.scoring.cluster.REACH_S", 1)
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=":0", silence_logs=50
    ) as cluster:
        remote = RemoteScorer(cluster.scheduler_address, engine="onnxruntime")
        state = ExplorerState(remote)
    state.image = COLLINS
    assert state.message == SILENT
    with pytest.raises(ClusterUnavailable, match="No Dask scheduler answers"):
        RemoteScorer(cluster.scheduler_address)
