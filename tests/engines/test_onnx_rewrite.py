"""PReLU written with ReLU, for ONNX Runtime's fast layout of convolutions."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.engines.onnx_rewrite import without_prelu
from serfiq_widgets.errors import CorruptModel

RNG = np.random.default_rng(7)
CHANNELS = 6


def model(slopes, nodes=()):
    """Return a model of one PReLU; ``nodes`` make its slopes."""
    value = helper.make_tensor_value_info
    shape = ["N", CHANNELS, 5, 4]
    graph = helper.make_graph(
        [*nodes, helper.make_node("PRelu", ["data", "slopes"], ["out"])],
        "prelu",
        [value("data", TensorProto.FLOAT, shape)],
        [value("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(slopes, "made" if nodes else "slopes")],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def kinds(content):
    return [node.op_type for node in onnx.load_model_from_string(content).graph.node]


@pytest.mark.parametrize("shape", [(CHANNELS, 1, 1), (1, 1, 1), (1,), (CHANNELS, 5, 4)])
def test_the_function_is_the_same_for_slopes_of_every_kind(shape):
    slopes = RNG.uniform(-2, 3, shape).astype(np.float32)
    before = model(slopes)
    after = without_prelu(before)
    data = RNG.normal(scale=40, size=(3, CHANNELS, 5, 4)).astype(np.float32)
    given, made = (ort.InferenceSession(c).run(None, {"data": data})[0] for c in (before, after))
    assert "PRelu" not in kinds(after)
    # one product becomes two products and a sum, of terms up to (1 + 2|s|) |x|
    bound = 2 * np.finfo(np.float32).eps * (1 + 2 * np.abs(slopes)) * np.abs(data)
    assert (np.abs(made - given) <= bound).all()


def test_slopes_that_are_given_on_are_found():
    content = model(np.ones(1, np.float32), [helper.make_node("Identity", ["made"], ["slopes"])])
    assert kinds(without_prelu(content)) == ["Identity", "Relu", "Mul", "Mul", "Add"]


def test_slopes_that_nodes_compute_stay_as_they_are():
    content = model(np.ones(1, np.float32), [helper.make_node("Abs", ["made"], ["slopes"])])
    assert kinds(without_prelu(content)) == ["Abs", "PRelu"]


def test_slopes_without_numbers_are_a_broken_file():
    with pytest.raises(CorruptModel, match="numbers"):
        without_prelu(model(np.ones(0, np.float32)))
