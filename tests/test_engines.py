"""Engine parity, and the reference's own algorithm in its own framework."""

import numpy as np
import onnxruntime as ort
import pytest
from reference import compare, load

from serfiq_widgets import Scorer
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.engines import open_engine, runtimes
from serfiq_widgets.errors import EngineUnavailable


def as_input(faces):
    return np.stack([face.pixels for face in faces]).transpose(0, 3, 1, 2).astype(np.float32)


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


@pytest.mark.usefixtures("mx")
def test_the_mxnet_engine_refuses_onnx_files(tmp_path, y1):
    model = to_onnx(y1.read_bytes(), read_params(y1.with_name("model-0000.params")))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineUnavailable, match="onnxruntime"):
        Scorer(tmp_path / "x.onnx", engine="mxnet")


def test_auto_takes_onnxruntime_on_a_machine_without_a_gpu(scorer):
    engine = open_engine(scorer.network, 0.4)
    assert engine.device == "cuda" or (engine.name, engine.device) == ("onnxruntime", "cpu")


@pytest.mark.usefixtures("mx")
def test_without_onnxruntime_auto_takes_mxnet(monkeypatch, scorer):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = open_engine(scorer.network, 0.4)
    assert engine.name == "mxnet"


def test_with_no_runtime_at_all_the_error_says_what_to_install(monkeypatch, scorer):
    import sys

    for name in ("onnxruntime", "mxnet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineUnavailable, match=r"(?s)pip install onnxruntime.*mxnet==1\.9\.1"):
        open_engine(scorer.network, 0.4)
    assert all(one.problem for one in runtimes())


def test_the_references_network_splits_at_its_dropout(shared, tmp_path):
    """LResNet100E-IR with seeded random weights of a sensible scale."""
    from checkpoint_files import write_checkpoint

    from serfiq_widgets.checkpoints import load_network

    text = (shared / "models" / "lresnet100e-ir" / "model-symbol.json").read_text()
    path = write_checkpoint(tmp_path, text, random_weights(text), name="r100")
    network = load_network(path)
    assert (network.rate, network.n_features, network.n_dimensions) == (0.4, 25088, 512)
    assert network.site == "bn1"


def random_weights(text):
    """Weights for every variable, shaped by the graph as a plain walk finds it."""
    import json

    rng = np.random.default_rng(0)
    nodes = json.loads(text)["nodes"]
    channels, params = {0: 3}, {}
    for index, node in enumerate(nodes):
        sources = [source[0] for source in node["inputs"]]
        settings = node.get("attrs", node.get("attr", node.get("param", {})))
        if node["op"] == "null":
            continue
        width = channels[sources[0]]
        names = [nodes[source]["name"] for source in sources[1:]]
        if node["op"] == "Convolution":
            kernel = eval_pair(settings["kernel"])
            made = int(settings["num_filter"])
            shape = (made, width, *kernel)
            scale = np.sqrt(1 / (width * kernel[0] * kernel[1]))
            params[f"arg:{names[0]}"] = (rng.normal(size=shape) * scale).astype("f4")
            width = made
        elif node["op"] == "BatchNorm":
            values = (np.ones, np.zeros, np.zeros, np.ones)
            for name, value, kind in zip(names, values, ("arg", "arg", "aux", "aux"), strict=True):
                params[f"{kind}:{name}"] = value(width, "f4")
        elif node["op"] == "LeakyReLU":
            params[f"arg:{names[0]}"] = np.full(width, 0.25, "f4")
        elif node["op"] == "FullyConnected":
            made = int(settings["num_hidden"])
            shape = (made, width * 49)
            params[f"arg:{names[0]}"] = (rng.normal(size=shape) / 158).astype("f4")
            params[f"arg:{names[1]}"] = np.zeros(made, "f4")
            width = made
        channels[index] = width
    return params


def eval_pair(text):
    return tuple(int(part) for part in text.strip("()").split(","))
