"""The cut: for every head that ONNX exporters write, trunk and head are the whole network."""

import numpy as np
import onnxruntime
import pytest
from onnx_files import DROP, FEATURES, FLAT, GEMM, HEADS, MAPS, RNG, SIDE, network_file

from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.errors import CorruptModel

POOLED = {"pooling", "depthwise"}
REFUSED = {
    "Relu": ([FLAT, GEMM, ("Relu", ["fc"], "relu", {})], "'Relu' follows the dropout site"),
    "Relu after Dropout": (
        [DROP, ("Relu", ["dropped"], "r", {}), ("Flatten", ["r"], "flat", {}), GEMM],
        "'Relu' is between dropout and the fully connected layer",
    ),
    "length after Dropout": (
        [
            FLAT,
            ("Dropout", ["flat"], "dropped", {}),
            ("LpNormalization", ["dropped"], "unit", {"axis": 1, "p": 2}),
            ("Gemm", ["unit", "matrix"], "fc", {"transB": 1}),
        ],
        "'LpNormalization' is between",
    ),
    "no layer": ([FLAT], "no fully connected layer"),
    "division by the data": ([FLAT, GEMM, ("Div", ["row", "fc"], "div", {})], "not affine"),
}


def run(model, data):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"data": data})[0]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("head", HEADS)
def test_trunk_and_head_are_the_whole_network(tmp_path, head):
    path = network_file(tmp_path, HEADS[head])
    network = load_network(path)
    data = RNG.normal(size=(1, 3, SIDE, SIDE)).astype("f4")
    features = run(network.trunk(), data)
    assert features.shape == (1, network.n_features)
    assert network.n_features == (MAPS if POOLED.intersection(head.split()) else FEATURES)
    ours = features @ network.head.weight.T + network.head.bias
    whole = run(path.read_bytes(), data)
    if head.startswith("final length"):  # a score sees unit vectors only
        ours = unit(ours)
    # float32 sums of 320 products
    np.testing.assert_allclose(ours, whole, atol=1e-4 * np.abs(whole).max(), rtol=1e-4)


def test_the_batch_is_open(tmp_path):
    network = load_network(network_file(tmp_path, HEADS["Gemm"]))
    assert run(network.trunk(), np.zeros((7, 3, SIDE, SIDE), "f4")).shape == (7, FEATURES)
    assert network.input_size == (SIDE, SIDE)


def test_the_rate_of_the_dropout_node_is_read(tmp_path):
    assert load_network(network_file(tmp_path, HEADS["Dropout of maps"])).rate == 0.3
    assert load_network(network_file(tmp_path, HEADS["two layers"])).rate == 0.5
    assert load_network(network_file(tmp_path, HEADS["Gemm"])).rate is None


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_that_is_not_affine_is_refused(tmp_path, case):
    nodes, says = REFUSED[case]
    with pytest.raises(CorruptModel, match=says) as refused:
        load_network(network_file(tmp_path, nodes))
    assert "'net.onnx'" in str(refused.value)
