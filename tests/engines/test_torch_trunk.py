"""The trunk in torch: cut into pieces, traced as one graph, compiled in the background."""

import logging
import shutil
import threading
import time

import numpy as np
import pytest
from onnx_files import HEADS, SIDE, network_file
from parity import FP32, length, opened, random_faces

from serfiq_widgets import Scorer
from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.engines import Normalisation

pytest.importorskip("torch", reason="torch, which this engine runs in, is not here")

import torch

from serfiq_widgets.engines import torch_trunk
from serfiq_widgets.engines.torch_trunk import COMPILE_AFTER, pieces

WANTED = Normalisation(size=(SIDE, SIDE))
needs_a_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch compiles for the CPU with g++, which is not here"
)


@pytest.fixture
def small(tmp_path):
    """A few layers, before anything is compiled."""
    return opened(load_network(network_file(tmp_path, HEADS["Gemm"])), normalisation=WANTED)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (2, [4]), (4, [4]), (5, [8]), (8, [8]), (9, [8, 1]), (19, [8, 8, 4])],
)
def test_pieces_have_few_sizes(count, sizes):
    faces = np.arange(1, count + 1, dtype=np.uint8).reshape(-1, 1, 1, 1)
    found = list(pieces(faces, (1, 4, 8)))
    assert [len(piece) for piece, _ in found] == sizes
    np.testing.assert_array_equal(np.concatenate([p[:n] for p, n in found]), faces)
    assert not any(piece[n:].any() for piece, n in found)
    assert [len(piece) for piece, _ in pieces(faces, ())] == [count]


def test_pieces_do_not_change_the_features(small):
    faces = random_faces(11, SIDE)
    whole = small.trunk(faces)
    small._trunk.sizes = (1, 4)
    np.testing.assert_allclose(small.trunk(faces), whole, rtol=1e-5, atol=1e-5)


def check_trace(ours, faces):
    """One graph of operators whose weights are inputs, with the engine's features."""
    with torch.no_grad():
        pixels = torch.from_numpy(faces)
        graph, weights = ours._trunk.traced(pixels, ours.normalisation)
        found = graph(pixels, *weights).numpy()
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    assert len(inputs) == 1 + len(weights)
    assert all(buffer.numel() <= 8 for buffer in graph.buffers())  # shapes, not weights
    wanted = ours.trunk(faces)
    assert (length(found - wanted) <= FP32 * length(wanted)).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_trunk_is_traced_as_one_graph(tmp_path, head):
    network = load_network(network_file(tmp_path, HEADS[head]))
    check_trace(opened(network, normalisation=WANTED), random_faces(2, SIDE))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bundled_trunk_is_traced_as_one_graph(scorer, precision):
    settings = {"normalisation": scorer.card.normalisation, "precision": precision}
    check_trace(opened(scorer.network, **settings), random_faces(2))


@needs_a_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch about itself
def test_a_repeated_size_is_compiled_in_the_background(small, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    small._trunk.compiles, small._trunk.sizes = True, (1, 4)
    faces = random_faces(7, SIDE)
    before = small.trunk(faces)
    for _ in range(COMPILE_AFTER):
        small.trunk(faces)
        small.trunk(faces[:1])
    small._trunk.wait()
    after = small.trunk(faces)
    runners = {shape[0]: runner for (shape, _), runner in small._trunk._runners.items()}
    assert runners[1].compiling is None  # a single face
    assert "compiled" in runners[4].run.__qualname__
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    assert any(tmp_path.iterdir())


def test_without_a_compiler_all_goes_on(small, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(type(small._trunk), "compiled", fails)
    small._trunk.compiles, small._trunk.sizes = True, (4,)
    faces = random_faces(4, SIDE)
    with caplog.at_level(logging.INFO, torch_trunk.__name__):
        found = [small.trunk(faces) for _ in range(COMPILE_AFTER)]
        small._trunk.wait()
        found.append(small.trunk(faces))
    assert "stays uncompiled: no compiler" in caplog.text
    assert all((one == found[0]).all() for one in found)


@pytest.mark.parametrize(("value", "compiles"), [(None, False), ("0", False), ("1", True)])
def test_the_cpu_compiles_on_request_only(monkeypatch, value, compiles):
    monkeypatch.delenv("SERFIQ_TORCH_COMPILE", raising=False)
    if value:
        monkeypatch.setenv("SERFIQ_TORCH_COMPILE", value)
    assert Scorer(engine="torch", device="cpu").engine._trunk.compiles is compiles


class _Reuses:
    """What a captured graph does to its caller: faces and features are always the same buffers."""

    def __init__(self, run, faces):
        self._run, self._faces = run, faces.clone()
        self._features = run(self._faces).clone()

    def __call__(self, faces):
        self._faces.copy_(torch.from_numpy(faces))
        self._features.copy_(self._run(self._faces))
        return self._features


def test_captured_graphs_serve_until_the_trunk_is_compiled(small, monkeypatch):
    monkeypatch.setattr(torch_trunk, "_Captured", _Reuses)
    monkeypatch.setattr(torch_trunk._Runner, "_repeated", lambda runner: runner.uses > 1)
    monkeypatch.setattr(
        type(small._trunk), "compiled", lambda trunk, _, wanted: lambda x: 2 * trunk.run(x, wanted)
    )
    faces = random_faces(11, SIDE)
    whole = small.trunk(faces)
    small._trunk.sizes = (1, 4)
    for _ in range(2):  # pieces of 4, 4 and 4: the second is captured, the third overwrites it
        np.testing.assert_allclose(small.trunk(faces), whole, rtol=1e-5, atol=1e-5)
    (runner,) = [one for (shape, _), one in small._trunk._runners.items() if shape[0] == 4]
    plain = runner.captured
    assert isinstance(plain, _Reuses)
    small._trunk.compiles, runner.uses = True, COMPILE_AFTER - 1
    small.trunk(faces[:4])
    small._trunk.wait()
    np.testing.assert_allclose(small.trunk(faces), 2 * whole, rtol=1e-5, atol=1e-5)
    assert runner.captured is not plain


def test_a_trunk_that_cannot_be_captured_runs_directly(small, monkeypatch):
    def refuses(*_):
        raise RuntimeError("an operator waits for the GPU")

    monkeypatch.setattr(torch_trunk, "_Captured", refuses)
    monkeypatch.setattr(torch_trunk._Runner, "_repeated", lambda _: True)
    small._trunk.sizes = (4,)
    faces = random_faces(4, SIDE)
    first, second = small.trunk(faces), small.trunk(faces)
    np.testing.assert_array_equal(first, second)
    assert not any(runner.may_capture for runner in small._trunk._runners.values())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # SystemExit
def test_a_compiler_is_stopped_at_exit():
    def work():
        while True:
            time.sleep(0.01)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    torch_trunk._stop(thread)
    assert not thread.is_alive()
