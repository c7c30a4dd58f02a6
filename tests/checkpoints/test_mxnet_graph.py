"""The converter on whole graphs: those of the shared detector, and those that it must refuse."""

import json

import numpy as np
import onnxruntime as ort
import pytest
from checkpoint_files import single_node, small_graph, write_checkpoint

from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.errors import CorruptModel

DETECTORS = {"det1": (3, 12, 12), "det2": (3, 24, 24), "det3": (3, 48, 48), "det4": (15, 24, 24)}


@pytest.mark.parametrize("name", DETECTORS)
def test_the_reference_detector_converts(mx, shared, name):
    folder = shared / "models" / "mtcnn"
    symbol = mx.sym.load(str(folder / f"{name}-symbol.json"))
    params = read_params(folder / f"{name}-0001.params")
    data = np.random.default_rng(0).uniform(-1, 1, (2, *DETECTORS[name])).astype("f4")
    bound = {k[4:]: mx.nd.array(v) for k, v in params.items() if k.startswith("arg:")}
    bound["data"] = mx.nd.array(data)
    missing = set(symbol.list_arguments()) - set(bound)
    bound |= {name: mx.nd.zeros((2,)) for name in missing}
    theirs = [o.asnumpy() for o in symbol.bind(mx.cpu(), bound).forward(is_train=False)]
    raw = (folder / f"{name}-symbol.json").read_bytes()
    model = to_onnx(raw, params, DETECTORS[name], name).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    for ours, other in zip(session.run(None, {"data": data}), theirs, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-4)


def broken(change):
    symbol, params = small_graph()
    graph = json.loads(symbol)
    change(graph, params)
    return graph, params


def cut(graph, count, parts):
    """Add nodes that each cut the flattened input into parts."""
    graph["nodes"].append({"op": "Flatten", "name": "flat", "inputs": [[0, 0, 0]]})
    source = [len(graph["nodes"]) - 1, 0, 0]
    for i in range(count):
        node = {"op": "SliceChannel", "name": f"more{i}", "attrs": {"num_outputs": parts}}
        graph["nodes"].append(node | {"inputs": [source]})


BROKEN = {
    "unknown operator": (lambda g, p: g["nodes"][1].update(op="Bogus"), "Bogus"),
    "unknown activation": (lambda g, p: g["nodes"][1]["attrs"].update(act_type="x"), "middle"),
    "missing parameter": (lambda g, p: p.pop("arg:fc_weight"), "fc_weight"),
    "integer weights": (
        lambda g, p: p.update({"arg:fc_weight": p["arg:fc_weight"].astype("i4")}),
        "fc_weight",
    ),
    "weights with NaN": (
        lambda g, p: p.update({"arg:fc_bias": np.full(4, np.nan, "f4")}),
        "fc_bias",
    ),
    "weights of a wrong shape": (
        lambda g, p: p.update({"arg:fc_weight": np.ones((4, 7), "f4")}),
        "net-symbol",
    ),
    "wrong num_hidden": (lambda g, p: g["nodes"][4]["attrs"].update(num_hidden="9"), "fc"),
    "input from the future": (lambda g, p: g["nodes"][1].update(inputs=[[9, 0, 0]]), "middle"),
    "input from itself": (lambda g, p: g["nodes"][1].update(inputs=[[1, 0, 0]]), "middle"),
    "no inputs": (lambda g, p: g["nodes"][1].update(inputs=[]), "middle"),
    "head out of range": (lambda g, p: g.update(heads=[[99, 0, 0]]), "head"),
    "no heads": (lambda g, p: g.update(heads=[]), "net-symbol"),
    "no nodes": (lambda g, p: g.update(nodes=[]), "net-symbol"),
    "nodes of text": (lambda g, p: g.update(nodes="text"), "net-symbol"),
    "too many nodes": (
        lambda g, p: g["nodes"].extend(g["nodes"][:1] * 20_000),
        "net-symbol",
    ),
    "a node without a name": (lambda g, p: g["nodes"][1].update(name=""), "net-symbol"),
    "a name that is no text": (lambda g, p: g["nodes"][1].update(name="\ud800"), "net-symbol"),
    "a name with an escape": (lambda g, p: g["nodes"][1].update(name="\x1b[2J"), "net-symbol"),
    "two nodes of one name": (lambda g, p: g["nodes"][4].update(name="middle"), "middle"),
    "a node called like a weight": (lambda g, p: g["nodes"][1].update(name="fc_weight"), "fc"),
    "a head at infinity": (lambda g, p: g.update(heads=[[float("inf"), 0, 0]]), "head"),
    "a head that is a weight": (lambda g, p: g.update(heads=[[2, 0, 0]]), "head"),
    "a head that is no list": (lambda g, p: g.update(heads=[7]), "head"),
    "settings that are text": (lambda g, p: g["nodes"][1].update(attrs="text"), "middle"),
    "settings that are a number": (lambda g, p: g["nodes"][1].update(attrs=7), "middle"),
    "weights too large for float32": (
        lambda g, p: p.update({"arg:fc_bias": np.full(4, 1e300)}),
        "fc_bias",
    ),
    "a negative variance": (
        lambda g, p: p.update({"aux:bn_moving_var": np.full(4, -1, "f4")}),
        "bn",
    ),
    "a bias of another size": (lambda g, p: p.update({"arg:fc_bias": np.ones(9, "f4")}), "fc"),
    "a head that overflows": (
        lambda g, p: p.update(
            {"arg:bn_gamma": np.full(4, 3e38, "f4"), "aux:bn_moving_var": np.zeros(4, "f4")}
        ),
        "not finite",
    ),
    "parts without end": (
        lambda g, p: cut(g, 4, 37632),
        "more",
    ),
    "tensors without end": (
        lambda g, p: cut(g, 300, 588),
        "more than 131072 tensors",
    ),
    "settings with code": (
        lambda g, p: g["nodes"][4]["attrs"].update(num_hidden="__import__('os').getpid()"),
        "fc",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_graphs_are_refused_by_name(tmp_path, case):
    change, named = BROKEN[case]
    with pytest.raises(CorruptModel, match=named):
        load_network(write_checkpoint(tmp_path, *broken(change)))


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", "{}", "[" * 100_000, '{"nodes": 3, "heads": 4}', "\0\1\2"]
)
def test_text_that_is_no_symbol(tmp_path, text):
    with pytest.raises(CorruptModel, match="net-symbol"):
        load_network(write_checkpoint(tmp_path, text, small_graph()[1]))


def test_the_small_graph_itself_is_sound(tmp_path):
    network = load_network(write_checkpoint(tmp_path, *small_graph()))
    assert (network.n_dimensions, network.n_features) == (4, 3 * 112 * 112)


FULL = {"kernel": (3, 1), "pad": (2, 0), "stride": (9, 1), "pooling_convention": "full"}
REFUSED = {
    "layout": ("Convolution", {"layout": "NHWC", "kernel": (1, 1), "num_filter": 1}, {}),
    "weights of another size": (
        "Convolution",
        {"kernel": (1, 1), "num_filter": 8},
        {"weight": np.ones((8, 3, 1, 1), "f4"), "bias": np.ones(8, "f4")},
    ),
    "axis": (
        "BatchNorm",
        {"axis": 3},
        {key: np.ones(6, "f4") for key in ("gamma", "beta", "moving_mean", "moving_var")},
    ),
    **{kind: ("LeakyReLU", {"act_type": kind}, {}) for kind in ("selu", "gelu", "rrelu")},
    "slopes of another size": ("LeakyReLU", {"act_type": "prelu"}, {"gamma": np.ones(6, "f4")}),
    "mish": ("Activation", {"act_type": "mish"}, {}),
    "pool_type": ("Pooling", {"kernel": (2, 2), "pool_type": "lp"}, {}),
    "pooling_convention": ("Pooling", {"kernel": (2, 2), "pooling_convention": "same"}, {}),
    "pad": ("Pooling", {"kernel": (1, 2), "pad": (1, 1)}, {}),
    "padding": ("Pooling", FULL, {}),
    "a window larger than the map": ("Pooling", {"kernel": (9, 9)}, {}),
    "differ": ("elemwise_add", {}, {"weight": np.ones((1, 4, 1, 1), "f4")}),
    "inputs differ": ("add_n", {"num_args": 2}, {"weight": np.ones((1, 4, 1, 1), "f4")}),
    "flatten": (
        "FullyConnected",
        {"num_hidden": 2, "flatten": False, "no_bias": True},
        {"weight": np.ones((2, 6), "f4")},
    ),
    "axes": ("Dropout", {"axes": "(2, 3)"}, {}),
    "reverse": ("Reshape", {"shape": (0, -1), "reverse": True}, {}),
    "-1 after -4": ("Reshape", {"shape": (0, -4, 2, 2, -1)}, {}),
    "cannot become": ("Reshape", {"shape": (0, 7, -1)}, {}),
    "mixes the images": ("Reshape", {"shape": (-3, 0, 0)}, {}),
    "a batch of one": ("Reshape", {"shape": (1, -1)}, {}),
    "the batch last": ("transpose", {}, {}),
    "a batch cut": ("slice_axis", {"axis": 0, "begin": 0, "end": 1}, {}),
    "reflects": ("Pad", {"mode": "reflect", "pad_width": (0, 0, 0, 0, 5, 0, 0, 0)}, {}),
    "pad_width": ("Pad", {"mode": "edge", "pad_width": (0, 0, 0, 0, -1, 0, 0, 0)}, {}),
    "step": ("slice", {"begin": (None, 3), "end": (None, 0), "step": (None, -1)}, {}),
    "nothing is left": ("slice_axis", {"axis": 2, "begin": 3, "end": 3}, {}),
    "num_outputs": ("SliceChannel", {"num_outputs": 3}, {}),
    "scale_height": ("_contrib_BilinearResize2D", {"scale_height": 2.0}, {}),
    "mode": ("_contrib_BilinearResize2D", {"mode": "like", "height": 2, "width": 2}, {}),
    "a side of 1": (
        "_contrib_BilinearResize2D",
        {"height": 1, "width": 1, "align_corners": False},
        {},
    ),
    "over several axes": ("SoftmaxOutput", {}, {}),
    "use_length": ("softmax", {"use_length": True}, {}),
    "a_min": ("clip", {"a_min": 1, "a_max": -1}, {}),
    "scalar": ("_mul_scalar", {"scalar": "1e39"}, {}),
    "no number": ("_mul_scalar", {"scalar": "inf"}, {}),
    "code": ("_mul_scalar", {"scalar": "__import__('os').getpid()"}, {}),
    "a long setting": ("_mul_scalar", {"scalar": "-" * 5000 + "1"}, {}),
    "huge": ("_contrib_BilinearResize2D", {"height": 10**6, "width": 10**6}, {}),
    "huge padding": ("Pad", {"mode": "edge", "pad_width": (0,) * 6 + (2**63 - 1,) * 2}, {}),
    "huge kernel": ("Convolution", {"kernel": (2**31, 2**31), "num_filter": 2**31}, {}),
    "huge cut": ("slice", {"begin": (None, 2**70), "end": (None, 2**71)}, {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_onnx_cannot_say_is_refused_by_name(case):
    op, attrs, weights = REFUSED[case]
    text = single_node(op, attrs, ["data", *weights])
    params = {f"arg:{name}": value for name, value in weights.items()}
    with pytest.raises(CorruptModel, match="'net', node 'node': ") as refused:
        to_onnx(text, params, (4, 5, 6), "net")
    assert len(str(refused.value)) < 200


def test_settings_may_stand_under_each_of_mxnets_names(tmp_path):
    graph, params = broken(lambda g, p: None)
    layer = graph["nodes"][4]
    del layer["attrs"]
    layer |= {"param": {"num_hidden": "9", "no_bias": "False"}, "attr": {"num_hidden": 4}}
    assert load_network(write_checkpoint(tmp_path, graph, params)).n_dimensions == 4


def test_a_very_deep_graph_is_no_trouble(tmp_path):
    graph, params = broken(lambda g, p: None)
    head = graph["heads"][0]
    for i in range(15_000):
        graph["nodes"].append({"op": "identity", "name": f"more{i}", "inputs": [head]})
        head = [len(graph["nodes"]) - 1, 0, 0]
    graph["heads"] = [head]
    assert load_network(write_checkpoint(tmp_path, graph, params)).n_dimensions == 4
