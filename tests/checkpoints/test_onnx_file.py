"""ONNX files that are broken or hostile: refused by name, without reading or reserving anything."""

import itertools
import tracemalloc

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_files import DIMENSIONS, FEATURES, FLAT, GEMM, HEADS, SIDE, network_file

from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.engines import open_engine
from serfiq_widgets.errors import CorruptModel

NORMED = [FLAT, GEMM, *HEADS["batch norm"][2:]]
TWO = [FLAT, GEMM, ("Gemm", ["fc", "second"], "fc2", {})]
RESHAPED = [
    ("Reshape", ["maps", "shape"], "rows", {}),
    ("Relu", ["rows"], "flat", {}),
    GEMM,
]
ADDED = [*HEADS["MatMul and Add"]]


def changed(folder, change, nodes=NORMED):
    """Write a sound network after a change."""
    path = network_file(folder, nodes)
    model = onnx.load(path)
    change(model, {tensor.name: tensor for tensor in model.graph.initializer})
    path.write_bytes(model.SerializeToString())
    return path


def weight(name, array):
    """A change that puts other numbers in the place of a weight."""
    return lambda model, w: w[name].CopyFrom(numpy_helper.from_array(array.astype("f4"), name))


def node(index, **fields):
    """A change of a node's fields."""
    return lambda model, w: [setattr(model.graph.node[index], k, v) for k, v in fields.items()]


def elsewhere(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../../etc/passwd")


def constant_elsewhere(model, weights):
    held = TensorProto()
    held.CopyFrom(weights["beta"])
    elsewhere(held)
    model.graph.initializer.remove(weights["beta"])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["beta"], value=held))


def branch(model, _):
    body = helper.make_graph([helper.make_node("Identity", ["bn"], ["same"])], "body", [], [])
    model.graph.node.append(
        helper.make_node("If", ["bn"], ["out"], then_branch=body, else_branch=body)
    )


def function(model, _):
    nodes, opset = [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 13)]
    model.functions.append(helper.make_function("mine", "F", ["x"], ["y"], nodes, opset))


def huge(name, *dims):
    def change(_, weights):
        del weights[name].dims[:]
        weights[name].dims.extend(dims)

    return change


def run(network, count):
    session = onnxruntime.InferenceSession(network.trunk(), providers=["CPUExecutionProvider"])
    return session.run(None, {"data": np.ones((count, 3, SIDE, SIDE), "f4")})[0]


REFUSED = {
    "weights elsewhere": (lambda m, w: elsewhere(w["matrix"]), "etc/passwd.*in the same folder"),
    "a constant elsewhere": (constant_elsewhere, "etc/passwd.*in the same folder"),
    "a branch": (branch, "branches or loops"),
    "a function": (function, "functions"),
    "sparse weights": (lambda m, w: m.graph.sparse_initializer.add(), "sparse"),
    "sparse constants": (
        lambda m, w: m.graph.node[1].attribute.add(name="x").sparse_tensor.dims.append(1),
        "sparse",
    ),
    "an unknown type": (lambda m, w: setattr(w["offset"], "data_type", -1), "'offset' are broken"),
    "an old opset": (lambda m, w: setattr(m.opset_import[0], "version", 1), "opset 1"),
    "no opset": (lambda m, w: m.ClearField("opset_import"), "names no version of ONNX"),
    "no output": (lambda m, w: m.graph.ClearField("output"), "no output"),
    "no nodes": (lambda m, w: m.graph.ClearField("node"), "net.onnx"),
    "no input": (lambda m, w: m.graph.ClearField("input"), "net.onnx"),
    "nodes in a circle": (
        lambda m, w: m.graph.node[0].input.__setitem__(0, "flat"),
        "not a sound ONNX file",
    ),
    "one name twice": (
        lambda m, w: m.graph.node[2].output.__setitem__(0, "maps"),
        "not a sound ONNX file",
    ),
    "a name with an escape": (node(1, op_type="Fl\x1b[2J"), r"Fl\?\[2J"),
    "another domain's layer": (
        lambda m, w: (
            node(2, domain="x")(m, w),
            m.opset_import.append(helper.make_opsetid("x", 1)),
        ),
        "'x.Gemm'|no fully connected layer",
    ),
    "huge weights": (huge("matrix", 2**40, 2**20), "matrix"),
    "no weights": (huge("matrix", 0, 2**62), "matrix"),
    "a size below zero": (huge("matrix", -4, -320), "net.onnx"),
    "text for weights": (lambda m, w: setattr(w["matrix"], "data_type", 8), "net.onnx"),
    "a bias of another size": (weight("offset", np.ones(7)), "a bias of 7 numbers"),
    "statistics of another size": (weight("mean", np.ones(7)), "differ in size"),
    "a negative variance": (weight("variance", -np.ones(DIMENSIONS)), "not finite"),
    "weights with NaN": (weight("matrix", np.full((4, FEATURES), np.nan)), "not finite"),
    "a matrix for other features": (
        weight("matrix", np.ones((DIMENSIONS, FEATURES - 1))),
        "do not fit together",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_files_are_refused(tmp_path, case):
    change, says = REFUSED[case]
    path = changed(tmp_path, change)
    tracemalloc.start()
    with pytest.raises(CorruptModel, match=says) as refused:
        load_network(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    assert "'net.onnx'" in str(refused.value)
    assert str(refused.value).isprintable()


OTHER_HEADS = {
    "a row that is a column": (ADDED, weight("offset", np.ones((DIMENSIONS, 1))), "of shape"),
    "too many numbers": (ADDED, weight("offset", np.ones(7)), "do not fit"),
    "a second matrix of another size": (TWO, weight("second", np.ones((7, 4))), "do not fit"),
    "a reshaping that mixes images": (
        [FLAT, GEMM, ("Reshape", ["fc", "shape"], "out", {})],
        lambda m, w: w["shape"].CopyFrom(numpy_helper.from_array(np.array([-1, 2, 2]), "shape")),
        "changes the shape",
    ),
    "a computed reshaping": (
        [FLAT, GEMM, ("Shape", ["fc"], "sizes", {}), ("Reshape", ["fc", "sizes"], "out", {})],
        lambda m, w: None,
        "changes the shape",
    ),
    "a flattening of the batch": (
        [FLAT, GEMM, ("Flatten", ["fc"], "out", {"axis": 0})],
        lambda m, w: None,
        "changes the shape",
    ),
    "a division that is no length": (
        [FLAT, GEMM, ("Add", ["fc", "row"], "sum", {}), ("Div", ["fc", "sum"], "out", {})],
        lambda m, w: None,
        "no fully connected layer",
    ),
    "weights made whole": (
        [("Cast", ["matrix"], "whole", {"to": TensorProto.INT64}), FLAT, GEMM],
        lambda m, w: m.graph.node[3].input.__setitem__(1, "whole"),
        "net.onnx",
    ),
}


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(CorruptModel, match=r"'net\.onnx' is empty"):
        load_network(tmp_path / "net.onnx")


@pytest.mark.parametrize("case", OTHER_HEADS)
def test_heads_that_cannot_be_folded_are_refused(tmp_path, case):
    nodes, change, says = OTHER_HEADS[case]
    with pytest.raises(CorruptModel, match=says):
        load_network(changed(tmp_path, change, nodes))


def test_two_small_matrices_whose_product_is_huge_cost_no_memory(tmp_path):
    def change(model, weights):
        weight("matrix", np.ones((1, 2**17)))(model, weights)
        weight("second", np.ones((1, 2**17)))(model, weights)
        model.graph.node[2].input.pop()  # the offset

    path = changed(tmp_path, change, TWO)
    tracemalloc.start()
    with pytest.raises(CorruptModel, match="do not fit"):
        load_network(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("percent", range(0, 100, 4))
def test_truncated_anywhere(tmp_path, percent):
    path = network_file(tmp_path, NORMED)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(CorruptModel, match=r"net\.onnx"):
        load_network(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(CorruptModel, match=r"net\.onnx"):
        load_network(tmp_path / "net.onnx")


def test_long_chains_of_nodes_are_no_trouble(tmp_path):
    def chain(source, out):
        names = [source, *(f"{out}{i}" for i in range(5000)), out]
        return [("Identity", [one], other, {}) for one, other in itertools.pairwise(names)]

    nodes = [FLAT, *chain("flat", "end"), *chain("matrix", "same")]
    network = load_network(
        network_file(tmp_path, [*nodes, ("Gemm", ["end", "same"], "fc", {"transB": 1})])
    )
    assert (network.n_features, network.n_dimensions) == (FEATURES, DIMENSIONS)


def test_a_tensor_may_be_called_features(tmp_path):
    nodes = [("Relu", ["maps"], "features", {}), ("Relu", ["features"], "0", {})]
    flat = ("Flatten", ["0"], "flat", {})
    network = load_network(network_file(tmp_path, [*nodes, flat, GEMM]))
    assert run(network, 2).shape == (2, FEATURES)


def test_faces_of_another_size_are_refused_by_the_engine(tmp_path):
    network = load_network(network_file(tmp_path, NORMED))
    engine = open_engine(network, 0.4, engine="onnxruntime")
    with pytest.raises(CorruptModel, match=r"(?s)net\.onnx.*112"):
        engine.trunk(np.zeros((1, 112, 112, 3), np.uint8))


def test_another_domains_operators_may_stand_in_the_trunk(tmp_path):
    def change(model, _):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        model.graph.node[1].domain = "com.microsoft"

    nodes = [("Gelu", ["maps"], "gelu", {}), ("Flatten", ["gelu"], "flat", {}), GEMM]
    assert run(load_network(changed(tmp_path, change, nodes)), 1).shape == (1, FEATURES)


def reshaping(count):
    """A change that reshapes to (1, ...) what came in with this batch size."""

    def change(model, weights):
        weights["shape"].CopyFrom(numpy_helper.from_array(np.array([1, -1]), "shape"))
        batch = model.graph.input[0].type.tensor_type.shape.dim[0]
        batch.CopyFrom(onnx.TensorShapeProto.Dimension(**count))

    return change


@pytest.mark.parametrize("count", [{"dim_value": 1}, {"dim_param": "batch"}])
def test_a_batch_of_one_that_an_exporter_wrote_down_is_opened(tmp_path, count):
    """Also where somebody has renamed the batch axis since."""
    path = changed(tmp_path, reshaping(count), RESHAPED)
    assert run(load_network(path), 3).shape == (3, FEATURES)


def test_sizes_may_be_an_attribute(tmp_path):
    def change(model, weights):
        reshaping({"dim_value": 1})(model, weights)
        model.graph.initializer.remove(weights["shape"])
        model.graph.node.insert(0, helper.make_node("Constant", [], ["shape"], value_ints=[1, -1]))

    assert run(load_network(changed(tmp_path, change, RESHAPED)), 2).shape == (2, FEATURES)


def test_a_reshaping_that_mixes_the_batch_is_refused(tmp_path):
    def change(model, weights):
        reshaping({"dim_param": "batch"})(model, weights)
        two = numpy_helper.from_array(np.array([2, -1]), "shape")
        weights["shape"].CopyFrom(two)

    with pytest.raises(CorruptModel, match=r"net\.onnx.*2 rows"):
        load_network(changed(tmp_path, change, RESHAPED))


def test_a_convolution_of_no_type(tmp_path):
    nodes = HEADS["convolution after global pooling"]
    path = changed(tmp_path, lambda m, w: setattr(w["kernel"], "data_type", -1), nodes)
    with pytest.raises(CorruptModel, match=r"net\.onnx.*(shapes|not a sound|weights)"):
        load_network(path)


def test_a_trunk_is_held_until_it_is_taken_and_then_read_anew(tmp_path):
    network = load_network(network_file(tmp_path, NORMED))
    first, second = network.trunk(), network.trunk()
    assert second == first
    assert second is not first
    network_file(tmp_path, [FLAT, GEMM])
    with pytest.raises(CorruptModel, match=r"net\.onnx.*changed"):
        network.trunk()
