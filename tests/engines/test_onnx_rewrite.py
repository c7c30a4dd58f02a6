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
    assert kinds(without_prelu(content)) == ["Identity", "Relu", "Mul", "Add", "Mul"]


def test_slopes_that_nodes_compute_stay_as_they_are():
    content = model(np.ones(1, np.float32), [helper.make_node("Abs", ["made"], ["slopes"])])
    assert kinds(without_prelu(content)) == ["Abs", "PRelu"]


def test_slopes_without_numbers_are_a_broken_file():
    with pytest.raises(CorruptModel, match="numbers"):
        without_prelu(model(np.ones(0, np.float32)))


def followed(slopes, kernels, **settings):
    """Return a model of one PReLU that convolutions follow, whose outputs are added up."""
    value = helper.make_tensor_value_info
    names = [f"kernel{i}" for i in range(len(kernels))]
    nodes = [helper.make_node("PRelu", ["data", "slopes"], ["bent"])]
    nodes += [helper.make_node("Conv", ["bent", n], [f"of_{n}"], **settings) for n in names]
    nodes.append(helper.make_node("Sum", [f"of_{n}" for n in names], ["out"]))
    weights = {"slopes": slopes, **dict(zip(names, kernels, strict=True))}
    graph = helper.make_graph(
        nodes,
        "net",
        [value("data", TensorProto.FLOAT, ["N", CHANNELS, 5, 4])],
        [value("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def alike(before, after):
    data = RNG.normal(scale=40, size=(3, CHANNELS, 5, 4)).astype(np.float32)
    given, made = (ort.InferenceSession(c).run(None, {"data": data})[0] for c in (before, after))
    # sums of some fifty products, of terms up to (1 + 2|s|) |x| with |s| < 3
    np.testing.assert_allclose(made, given, rtol=1e-4, atol=2e-6 * np.abs(given).max())


@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
@pytest.mark.parametrize("shape", [(CHANNELS, 1, 1), (1, CHANNELS, 1, 1), (1,)])
def test_convolutions_that_follow_take_the_slopes(groups, shape):
    slopes = RNG.uniform(-2, 3, shape)
    slopes.flat[0] = 0
    kernels = RNG.normal(size=(2, CHANNELS, CHANNELS // groups, 3, 3))
    before = followed(slopes, kernels, group=groups, pads=[1, 1, 1, 1])
    before = before.SerializeToString()
    after = without_prelu(before)
    assert kinds(after) == ["Relu", "Mul", "Add", "Conv", "Conv", "Sum"]
    alike(before, after)


@pytest.mark.parametrize("shape", [(CHANNELS, 5, 4), (4,)])
def test_slopes_that_differ_within_a_channel_are_a_product_of_their_own(shape):
    kernels = RNG.normal(size=(1, CHANNELS, CHANNELS, 3, 3))
    before = followed(RNG.uniform(-2, 3, shape), kernels).SerializeToString()
    after = without_prelu(before)
    assert kinds(after) == ["Relu", "Mul", "Add", "Mul", "Conv", "Sum"]
    alike(before, after)


def test_weights_that_others_use_are_left_to_them():
    model = followed(RNG.uniform(-2, 3, (CHANNELS, 1, 1)), RNG.normal(size=(1, 6, 6, 3, 3)))
    model.graph.node.insert(0, helper.make_node("Conv", ["data", "kernel0"], ["beside"]))
    model.graph.node[-1].input.append("beside")
    before = model.SerializeToString()
    alike(before, without_prelu(before))


def test_weights_that_are_given_on_are_found():
    model = followed(RNG.uniform(-2, 3, (CHANNELS, 1, 1)), RNG.normal(size=(1, 6, 6, 3, 3)))
    model.graph.node.insert(0, helper.make_node("Identity", ["kernel0"], ["given"]))
    model.graph.node[2].input[1] = "given"
    before = model.SerializeToString()
    after = without_prelu(before)
    assert kinds(after) == ["Identity", "Relu", "Mul", "Add", "Conv", "Sum"]
    alike(before, after)
