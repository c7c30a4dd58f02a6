"""Engine parity, and the reference's own algorithm in its own framework."""

import sys
from importlib.util import find_spec

import numpy as np
import onnxruntime as ort
import pytest
from reference import compare, compare_controlled, load

from serfiq_widgets import Scorer
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.engines import open_engine, runtimes
from serfiq_widgets.errors import BadSetting, EngineUnavailable


def as_input(faces):
    return np.stack([face.pixels for face in faces]).transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.slow
def test_embeddings_agree_three_ways(mx, y1, y1_scorer, lfw_faces):
    """mxnet's own run, mxnet engine, onnxruntime engine, and the whole converted graph."""
    faces = lfw_faces[:20]
    data = as_input(faces)
    symbol, arg, aux = load(mx, y1)
    bound = symbol.bind(mx.cpu(), {**arg, "data": mx.nd.array(data)}, aux_states=aux)
    native = rb.normalise(mx.nd.Flatten(bound.forward(is_train=False)[0]).asnumpy())
    converted = to_onnx(y1.read_bytes(), read_params(y1.with_name("model-0000.params")))
    session = ort.InferenceSession(converted.SerializeToString())
    whole = rb.normalise(session.run(None, {"data": data})[0])
    ours = y1_scorer.embed(faces)
    theirs = Scorer(y1, engine="mxnet").embed(faces)
    for embeddings in (whole, ours, theirs):
        np.testing.assert_allclose(embeddings, native, atol=1e-4)


@pytest.mark.parametrize("model", ["mini", "y1"])
@pytest.mark.usefixtures("mx")
def test_scores_agree_between_engines(model, y1, lfw_faces):
    path = y1 if model == "y1" else model
    ours, theirs = (Scorer(path, engine=name) for name in ("onnxruntime", "mxnet"))
    for face in lfw_faces[:10]:
        one, other = ours.score(face), theirs.score(face)
        assert one.raw == pytest.approx(other.raw, abs=1e-5)
        assert one.limit == pytest.approx(other.limit, abs=1e-5)
        np.testing.assert_allclose(one.running[1:], other.running[1:], atol=1e-5)


@pytest.mark.slow
def test_the_references_algorithm_gives_the_same_mean_score(y1, lfw_faces):
    """T copies through the whole network in mxnet, dropout drawn by mxnet, against ours.

    Two faces, three seeds; benchmarks/reference_parity.py does the same for twenty and twenty.
    """
    compared = [
        compare(y1, face, range(3 * n, 3 * n + 3), whole=True)
        for n, face in enumerate(lfw_faces[:2])
    ]
    for difference, error in compared:
        # Student's t with 4 degrees of freedom, both sides, one in a thousand
        assert abs(difference) <= 8.6 * error


@pytest.mark.slow
def test_the_references_head_gives_the_same_mean_score(y1, lfw_faces):
    """The same with the trunk run once: mxnet's own Dropout and head, 20 faces, 20 seeds."""
    compared = [
        compare(y1, face, range(20 * n, 20 * n + 20), whole=False)
        for n, face in enumerate(lfw_faces[:20])
    ]
    differences, errors = np.transpose(compared)
    assert abs(differences.mean()) <= 3 * np.sqrt((errors**2).sum()) / len(compared)
    # and face by face, with room for twenty looks: Student's t, 38 degrees, Bonferroni
    assert (np.abs(differences) <= 4.5 * errors).all()


@pytest.mark.slow
def test_five_controlled_passes_give_the_references_mean_of_two_thousand(y1, lfw_faces):
    """mxnet's own Dropout and head, 20 seeds of 100 passes, against five controlled passes."""
    compared = [
        compare_controlled(y1, face, range(500 + 20 * n, 520 + 20 * n), whole=False)
        for n, face in enumerate(lfw_faces[:20])
    ]
    differences, errors = np.transpose(compared)
    assert (np.abs(differences) <= 4.5 * errors).all()  # as above, with room for twenty looks
    # the masks of the five are the same for all faces, so their errors do not average out
    assert abs(differences.mean()) <= 3 * np.hypot(errors.mean(), errors.mean() / 20**0.5)


@pytest.mark.usefixtures("mx")
def test_the_mxnet_engine_refuses_onnx_files(tmp_path, y1):
    model = to_onnx(y1.read_bytes(), read_params(y1.with_name("model-0000.params")))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineUnavailable, match="onnxruntime"):
        Scorer(tmp_path / "x.onnx", engine="mxnet")


def test_auto_takes_the_fastest_on_a_machine_without_a_gpu(scorer):
    engine = open_engine(scorer.network, 0.4)
    if engine.device == "cpu":
        assert engine.name in ("onnxruntime", "openvino")
        if find_spec("openvino") is None:
            assert engine.name == "onnxruntime"


def test_the_environment_names_an_engine(monkeypatch, scorer):
    monkeypatch.setenv("SERFIQ_ENGINE", "bogus")
    assert open_engine(scorer.network, 0.4, engine="onnxruntime").name == "onnxruntime"
    with pytest.raises(BadSetting, match="no engine 'bogus'"):
        open_engine(scorer.network, 0.4)
    monkeypatch.setenv("SERFIQ_ENGINE", "onnxruntime")
    assert open_engine(scorer.network, 0.4).name == "onnxruntime"


@pytest.mark.usefixtures("mx")
def test_without_onnxruntime_auto_takes_mxnet(monkeypatch, scorer):
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    engine = open_engine(scorer.network, 0.4)
    assert engine.name == "mxnet"


def test_with_no_runtime_at_all_the_error_says_what_to_install(monkeypatch, scorer):
    for name in ("onnxruntime", "openvino", "mxnet", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        EngineUnavailable,
        match=r"(?s)pip install onnxruntime.*\[openvino\].*mxnet(==1\.9\.1| is retired)",
    ):
        open_engine(scorer.network, 0.4)
    assert all(one.problem for one in runtimes())
