"""Scoring on a Dask cluster of two worker processes: the rows of a local run, whatever dies."""

import os
import signal
import socket
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from serfiq_widgets.cli.main import main
from serfiq_widgets.datasets import cluster_runner
from serfiq_widgets.datasets.cluster_runner import ClusterRunner
from serfiq_widgets.datasets.score_table import LocalRunner
from serfiq_widgets.errors import BadSetting, ClusterUnavailable, UnknownModel
from serfiq_widgets.images.files import find_images
from serfiq_widgets.scoring import cluster as cluster_client
from serfiq_widgets.scoring.cluster import connect

distributed = pytest.importorskip("distributed")
OPTIONS = {"engine": "onnxruntime"}


@pytest.fixture(scope="module")
def workers():
    """A cluster of two processes."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as started:
        yield started


@pytest.fixture
def client(workers):
    with connect(workers.scheduler_address) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def chunks(sample_faces, tmp_path_factory):
    """Sixty-four aligned faces in chunks of eight, one of them broken."""
    folder = tmp_path_factory.mktemp("crops")
    for i in range(64):
        face = Image.fromarray(sample_faces[i % len(sample_faces)])
        face.save(folder / f"{i:02}.png", compress_level=0)
    (folder / "13.png").write_bytes(b"no image")
    paths = [str(path) for path in find_images([folder])]
    return [paths[i : i + 8] for i in range(0, 64, 8)]


NUMBERS = (
    *("raw", "low", "high", "limit", "scaled"),
    *("controlled", "controlled_low", "controlled_high"),
)


def exact(chunks):
    """What must be equal: everything but times and the numbers, whose last bits may differ.

    The margin, in quality points, is a hundred times the width of the controlled interval.
    """
    unlike = dict.fromkeys(("ms", "margin", *NUMBERS))
    return [replace(row, **unlike) for rows in chunks for row in rows]


def numbers(chunks):
    """The scores of each row, NaN where there is none."""
    rows = [row for rows in chunks for row in rows]
    return np.array([[getattr(row, name) for name in NUMBERS] for row in rows], dtype=float)


@pytest.mark.slow
def test_serfiq_score_takes_a_scheduler(client, chunks, tmp_path):
    folder, out = os.path.dirname(chunks[0][0]), tmp_path / "s.csv"  # noqa: PTH120
    address = client.scheduler.address
    arguments = ["score", folder, "--aligned", "--engine", "onnxruntime", "--out", str(out)]
    result = CliRunner().invoke(main, [*arguments, "--scheduler", address])
    assert result.exit_code == 1, result.output
    assert "64 rows written" in result.output
    assert "13.png' is not an image" in out.read_text()


def test_errors_of_the_workers_are_those_of_here(client):
    with pytest.raises(UnknownModel, match="nobody"):
        ClusterRunner(client, {"model": "nobody"})
    with pytest.raises(BadSetting, match="export"):
        ClusterRunner(client, {"model": object()})


def test_workers_that_do_not_fit_are_named(client, chunks, monkeypatch):
    runner = ClusterRunner(client, OPTIONS, 5, aligned=True)
    runner.settings["device"] = "cuda:7"
    with pytest.raises(BadSetting, match="device is cpu on"):
        list(runner.score(chunks))
    monkeypatch.setattr(cluster_runner, "__version__", "0.0.0")
    with pytest.raises(ClusterUnavailable, match=r"this machine has 0\.0\.0"):
        ClusterRunner(client, OPTIONS)


@pytest.mark.slow
def test_a_worker_dies_and_nothing_is_lost_or_twice(client, scorer, chunks):
    runner = ClusterRunner(client, OPTIONS, 20, aligned=True)
    local = LocalRunner(scorer, 20, aligned=True)
    assert runner.settings == local.settings
    stream = runner.score(chunks)
    rows = [next(stream)]
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
    rows += stream
    expected = list(local.score(chunks))
    assert exact(rows) == exact(expected)
    np.testing.assert_allclose(numbers(rows), numbers(expected), rtol=0, atol=1e-5)


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr(cluster_client, "REACH_S", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    result = CliRunner().invoke(main, ["score", "x.jpg", "--scheduler", f"tcp://127.0.0.1:{port}"])
    assert result.exit_code == 2
    assert "No Dask scheduler answers" in result.output
    assert "Traceback" not in result.output
    with pytest.raises(ClusterUnavailable, match="No Dask scheduler"):
        connect("nonsense://")


def test_a_cluster_that_lost_its_workers_says_so(monkeypatch, chunks):
    monkeypatch.setattr(cluster_client, "REACH_S", 1)
    for name, seconds in (("POLL_S", 0.1), ("LONELY_S", 0.3)):
        monkeypatch.setattr(cluster_runner, name, seconds)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as lonely,
        connect(lonely.scheduler_address) as client,
    ):
        runner = ClusterRunner(client, OPTIONS, 5, aligned=True)
        client.retire_workers(list(client.scheduler_info()["workers"]))
        with pytest.raises(ClusterUnavailable, match="have ended"):
            list(runner.score(chunks))
        with pytest.raises(ClusterUnavailable, match="no worker"):
            ClusterRunner(client, OPTIONS)
