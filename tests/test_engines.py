"""Engine parity, and the reference's own algorithm in its own framework."""

import numpy as np
import onnxruntime as ort
import pytest

from serfiq_widgets import Scorer
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.engines import open_engine, runtimes
from serfiq_widgets.errors import EngineUnavailable


def as_input(faces):
    return np.stack([face.pixels for face in faces]).transpose(0, 3, 1, 2).astype(np.float32)


def load(mx, checkpoint):
    """A checkpoint through mxnet's own loaders."""
    symbol = mx.sym.load(str(checkpoint))
    params = mx.nd.load(str(checkpoint.with_name("model-0000.params")))
    arg = {k[4:]: v for k, v in params.items() if k.startswith("arg:")}
    aux = {k[4:]: v for k, v in params.items() if k.startswith("aux:")}
    return symbol, arg, aux


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
def test_scores_agree_between_engines(mx, model, y1, lfw_faces):
    path = y1 if model == "y1" else model
    ours, theirs = (Scorer(path, engine=name) for name in ("onnxruntime", "mxnet"))
    for face in lfw_faces[:10]:
        one, other = ours.score(face), theirs.score(face)
        assert one.raw == pytest.approx(other.raw, abs=1e-5)
        assert one.limit == pytest.approx(other.limit, abs=1e-5)
        np.testing.assert_allclose(one.running[1:], other.running[1:], atol=1e-5)


def stochastic(mx, symbol):
    """Build the reference's graph: dropout that is always on, before pre_fc1."""
    internals = symbol.get_internals()
    features = mx.sym.Flatten(internals["conv_6dw7_7_batchnorm_output"])
    dropped = mx.sym.Dropout(features, p=0.4, mode="always", name="dropout0")
    weight, bias = (mx.sym.var(f"pre_fc1_{name}") for name in ("weight", "bias"))
    layer = mx.sym.FullyConnected(dropped, weight, bias, num_hidden=128, name="pre_fc1")
    names = ("gamma", "beta", "moving_mean", "moving_var")
    values = [mx.sym.var(f"fc1_{name}") for name in names]
    return mx.sym.BatchNorm(layer, *values, fix_gamma=False, eps=2e-5, name="fc1")


def test_the_references_algorithm_gives_the_same_mean_score(mx, y1, lfw_faces):
    """T copies through the whole network in mxnet, dropout drawn by mxnet, against ours."""
    passes, seeds = 100, 20
    symbol, arg, aux = load(mx, y1)
    graph = next(n for n in json_nodes(y1) if n["name"] == "fc1")
    assert graph["op"] == "BatchNorm"
    reference = stochastic(mx, symbol)
    inputs = {**arg, "data": mx.nd.zeros((passes, 3, 112, 112))}
    bound = reference.bind(mx.cpu(), inputs, aux_states=aux)
    scorer = Scorer(y1, engine="onnxruntime")
    differences, errors = [], []
    for face in lfw_faces[:20]:
        data = mx.nd.array(np.repeat(as_input([face]), passes, axis=0))
        theirs = []
        for seed in range(seeds):
            mx.random.seed(seed)
            # the trunk is the same for all copies and seeds; the draw is what differs
            output = bound.forward(is_train=False, data=data)[0]
            embeddings = rb.normalise(mx.nd.Flatten(output).asnumpy())
            theirs.append(score_of(embeddings))
        features = scorer.features([face])[0]
        ours = [
            score_of(scorer.engine.passes(features, rb.draw_masks(passes, 512, 0.4, seed)))
            for seed in range(seeds)
        ]
        differences.append(np.mean(ours) - np.mean(theirs))
        errors.append(np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / seeds))
    mean = np.mean(differences)
    assert abs(mean) <= 3 * np.sqrt(np.mean(np.square(errors)) / len(differences))
    # and face by face, with room for twenty looks: Student's 38 degrees, Bonferroni
    assert (np.abs(differences) <= 4.5 * np.array(errors)).all()


def score_of(embeddings):
    mean = rb.running_mean_distance(rb.pairwise_distances(embeddings))[-1]
    return float(rb.raw_score(mean))


def json_nodes(path):
    import json

    return json.loads(path.read_text())["nodes"]


def test_the_mxnet_engine_refuses_onnx_files(mx, tmp_path, y1):
    model = to_onnx(y1.read_bytes(), read_params(y1.with_name("model-0000.params")))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(EngineUnavailable, match="onnxruntime"):
        Scorer(tmp_path / "x.onnx", engine="mxnet")


def test_auto_takes_onnxruntime_on_a_machine_without_a_gpu(scorer):
    engine = open_engine(scorer.network, 0.4)
    assert engine.device == "cuda" or (engine.name, engine.device) == ("onnxruntime", "cpu")


def test_without_onnxruntime_auto_takes_mxnet(mx, monkeypatch, scorer):
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
