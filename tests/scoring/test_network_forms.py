"""One network in the forms in which exporters write it: it is opened, with the same scores.

The bundled network is rewritten into each form. Scores agree to five digits where the numbers are
the same, for float32 rounds otherwise in other graphs; half precision keeps three of the weights.
"""

import json
import pickle
import zipfile
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoint_files import write_params
from onnx import TensorProto, helper, numpy_helper
from onnx_files import FLAT, GEMM, network_file

from serfiq_widgets import Scorer, find_face
from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.datasets.score_files import score_files
from serfiq_widgets.engines import runtimes
from serfiq_widgets.errors import CorruptModel, ModelWarning
from serfiq_widgets.models import cards
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.network import open_network

PIXELS = {"colour": "RGB", "mean": 0.0, "scale": 1.0}
EXACT, COARSE = 1e-5, 2e-3


@pytest.fixture(scope="module")
def mini():
    """The bundled network as an ONNX model."""
    card = cards.cards()["mini"]
    symbol = (card.folder / "mini-symbol.json").read_bytes()
    return to_onnx(symbol, read_params(card.folder / "mini-0000.params"), (3, 112, 112), "mini")


@pytest.fixture(scope="module")
def expected(scorer):
    """Raw scores and embeddings of two faces."""
    faces = [find_face(path) for path in sample_images() if "_" not in path.stem]
    return faces, scorer.score_batch(faces).raw, scorer.embed(faces)


def weight(model, name, array):
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def node_of(model, kind, last=False):
    found = [(i, node) for i, node in enumerate(model.graph.node) if node.op_type == kind]
    return found[-1 if last else 0]


def behind(model, *nodes, outputs=None):
    """Nodes after the embedding; the last gives the output."""
    model.graph.node.extend(helper.make_node(*node[:3], **node[3]) for node in nodes)
    for name in outputs or [nodes[-1][2][0]]:
        model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None])
        )


def normalised(*nodes):
    """The embedding, its length 1 by these nodes, of which the last gives ``unit``."""

    def change(model):
        del model.graph.output[:]
        weight(model, "eps", np.float32(1e-12))
        weight(model, "axis", np.array([1]))
        weight(model, "minus", np.float32(-0.5))
        weight(model, "one", np.float32(1))
        behind(model, *nodes)

    return change


SQUARES = [
    ("Mul", ["fc1", "fc1"], ["square"], {}),
    ("ReduceSum", ["square", "axis"], ["sum"], {"keepdims": 1}),
]


def fixed_reshape(model):
    index, flatten = node_of(model, "Flatten")
    shape = weight(model, "fixed", np.array([1, -1]))
    reshape = helper.make_node("Reshape", [flatten.input[0], shape], flatten.output, allowzero=1)
    model.graph.node.insert(index, reshape)
    model.graph.node.remove(flatten)


def reshape_of_eight(model):
    index, flatten = node_of(model, "Flatten")
    shape = weight(model, "eight", np.array([8, -1]))
    reshape = helper.make_node("Reshape", [flatten.input[0], shape], flatten.output)
    model.graph.node.insert(index, reshape)
    model.graph.node.remove(flatten)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8


def open_axes(model):
    """Names for all axes of the input, as some exporters write them."""
    value = model.graph.input[0]
    axes = ["N", "C", "H", "W"]
    value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, axes))


def weights_are_inputs(model):
    """As ONNX wanted it before its fourth form, and old exports of MXNet have it."""
    model.ir_version = 3
    for held in model.graph.initializer:
        value = helper.make_tensor_value_info(held.name, held.data_type, held.dims)
        model.graph.input.append(value)


def a_switch_first(model):
    """An input that nothing needs any more, before the images."""
    switch = helper.make_tensor_value_info("is_training", TensorProto.BOOL, [])
    model.graph.input.insert(0, switch)


def matrix_of_nodes(model):
    """The last layer as length and direction of a matrix that is turned by a node."""
    index, gemm = node_of(model, "Gemm")
    (held,) = (w for w in model.graph.initializer if w.name == gemm.input[1])
    matrix = numpy_helper.to_array(held)
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    weight(model, "direction", matrix / length * 3)
    weight(model, "length", length)
    vector = gemm.input[2] if len(gemm.input) > 2 else weight(model, "none", np.zeros(1, "f4"))
    for at, (kind, taken, made, settings) in enumerate(
        [
            ("ReduceL2", ["direction"], "norm", {"axes": [1], "keepdims": 1}),
            ("Div", ["direction", "norm"], "scaled", {}),
            ("Mul", ["scaled", "length"], "whole", {}),
            ("Transpose", ["whole"], "turned", {"perm": [1, 0]}),
            ("MatMul", [gemm.input[0], "turned"], "product", {}),
            ("Add", ["product", vector], gemm.output[0], {}),
        ]
    ):
        model.graph.node.insert(index + at, helper.make_node(kind, taken, [made], **settings))
    model.graph.node.remove(gemm)


def slopes_of_channels(model):
    """PReLUs with slopes (C,) of zero are the ReLUs that were there."""
    channels = {w.name: w.dims[0] for w in model.graph.initializer if w.dims}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        maker = makers.get(node.input[0])
        if node.op_type == "Relu" and maker.op_type == "Conv":
            node.op_type = "PRelu"
            count = channels[maker.input[1]]
            node.input.append(weight(model, f"{node.name}/slopes", np.zeros(count, "f4")))


def casts(model):
    for kind, number in (("Gemm", 0), ("Conv", 3), ("BatchNormalization", 0)):
        index, node = [(i, n) for i, n in enumerate(model.graph.node) if n.op_type == kind][number]
        source = node.input[0]
        wide, narrow = f"{node.name}/wide", f"{node.name}/narrow"
        node.input[0] = narrow
        model.graph.node.insert(
            index, helper.make_node("Cast", [source], [wide], to=TensorProto.DOUBLE)
        )
        model.graph.node.insert(
            index + 1, helper.make_node("Cast", [wide], [narrow], to=TensorProto.FLOAT)
        )


def reversed_nodes(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def bytes_in(model):
    """Whole pixels, made floats by the graph itself."""
    value = model.graph.input[0]
    cast = helper.make_node("Cast", ["pixels"], [value.name], to=TensorProto.FLOAT)
    value.name = "pixels"
    value.type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node.insert(0, cast)


def floats(code, kind):
    """All weights, the input and the output of another precision."""

    def change(model):
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.elem_type = code
        held = list(model.graph.initializer)
        sizes = {name for node in model.graph.node for name in node.input[1:]}
        for tensor in held:
            if tensor.data_type == TensorProto.FLOAT and tensor.name in sizes:
                wide = numpy_helper.to_array(tensor).astype(kind)
                tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))

    return change


def channels_last(model):
    value = model.graph.input[0]
    turn = helper.make_node("Transpose", ["last"], [value.name], perm=[0, 3, 1, 2])
    value.CopyFrom(helper.make_tensor_value_info("last", TensorProto.FLOAT, ["N", 112, 112, 3]))
    model.graph.node.insert(0, turn)


def second_output(model):
    """Its own embedding behind the maps of the trunk."""
    embedding = model.graph.output.pop()
    maps = node_of(model, "Flatten")[1].input[0]
    model.graph.output.append(
        helper.make_tensor_value_info(maps, TensorProto.FLOAT, ["N", None, None, None])
    )
    model.graph.output.append(embedding)


def classes_first(model):
    """The classes of a training before the embedding that they stand on."""
    embedding = model.graph.output.pop()
    people = np.random.default_rng(0).normal(size=(128, 50)).astype("f4")
    behind(model, ("MatMul", ["fc1", weight(model, "people", people)], ["classes"], {}))
    model.graph.output.append(embedding)


def length_first(model):
    """The length of the embedding, as some networks give it, before the embedding."""
    del model.graph.output[:]
    length = ("ReduceL2", ["fc1"], ["length"], {"axes": [1], "keepdims": 1})
    behind(model, length, ("Div", ["fc1", "length"], ["unit"], {}), outputs=["length", "unit"])


def age_first(model):
    """Another layer on the same features, of one number."""
    embedding = model.graph.output.pop()
    features = node_of(model, "Flatten")[1].output[0]
    ages = np.full((1024, 1), 0.01, "f4")
    behind(model, ("MatMul", [features, weight(model, "ages", ages)], ["age"], {}))
    model.graph.output.append(embedding)


def computed_rate(model):
    _, node = node_of(model, "Dropout")
    model.graph.node.insert(0, helper.make_node("Log", [node.input[1]], ["computed"]))
    node.input[1] = "computed"


def in_training(model):
    """Batch norms and dropout as an export in training leaves them."""
    weight(model, "training", np.array(True))
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.output.extend([f"{node.name}/mean", f"{node.name}/var"])
            node.attribute.append(helper.make_attribute("training_mode", 1))
        if node.op_type == "Dropout":
            node.input.append("training")


def rate(value):
    def change(model):
        _, node = node_of(model, "Dropout")
        (held,) = (w for w in model.graph.initializer if w.name == node.input[1])
        held.CopyFrom(numpy_helper.from_array(np.float32(value), held.name))

    return change


FORMS = {
    "as it is": (lambda model: None, EXACT),
    "a fixed reshaping under an open batch": (fixed_reshape, EXACT),
    "a reshaping of the eight that were exported": (reshape_of_eight, EXACT),
    "all axes open": (open_axes, EXACT),
    "weights are inputs": (weights_are_inputs, EXACT),
    "a switch before the images": (a_switch_first, EXACT),
    "a matrix that nodes make": (matrix_of_nodes, EXACT),
    "slopes of channels": (slopes_of_channels, EXACT),
    "casts": (casts, EXACT),
    "nodes out of order": (reversed_nodes, EXACT),
    "x / sqrt": (
        normalised(
            *SQUARES,
            ("Sqrt", ["sum"], ["length"], {}),
            ("Div", ["fc1", "length"], ["unit"], {}),
        ),
        EXACT,
    ),
    "x * reciprocal(sqrt), as torch.rsqrt": (
        normalised(
            *SQUARES,
            ("Sqrt", ["sum"], ["length"], {}),
            ("Reciprocal", ["length"], ["inverse"], {}),
            ("Mul", ["fc1", "inverse"], ["unit"], {}),
        ),
        EXACT,
    ),
    "x * rsqrt(max), as Keras": (
        normalised(
            *SQUARES,
            ("Max", ["sum", "eps"], ["most"], {}),
            ("Sqrt", ["most"], ["length"], {}),
            ("Div", ["one", "length"], ["inverse"], {}),
            ("Mul", ["inverse", "fc1"], ["unit"], {}),
        ),
        EXACT,
    ),
    "x * pow(-1/2)": (
        normalised(
            *SQUARES,
            ("Add", ["sum", "eps"], ["more"], {}),
            ("Pow", ["more", "minus"], ["inverse"], {}),
            ("Mul", ["fc1", "inverse"], ["unit"], {}),
        ),
        EXACT,
    ),
    "x / length, and a factor": (
        normalised(
            ("LpNormalization", ["fc1"], ["one long"], {"axis": 1}),
            ("Div", ["one long", "eps"], ["unit"], {}),
        ),
        EXACT,
    ),
    "bytes in": (bytes_in, EXACT),
    "double": (floats(TensorProto.DOUBLE, "f8"), EXACT),
    "half": (floats(TensorProto.FLOAT16, "f2"), COARSE),
    "channels last": (channels_last, EXACT),
    "the second output": (second_output, EXACT),
    "classes first": (classes_first, EXACT),
    "its length first": (length_first, EXACT),
    "an age first": (age_first, EXACT),
    "in training": (in_training, EXACT),
    "rate 0": (rate(0), EXACT),
    "rate 1": (rate(1), EXACT),
    "rate NaN": (rate(np.nan), EXACT),
    "a negative rate": (rate(-0.1), EXACT),
    "rate 0.999": (rate(0.999), EXACT),
    "a rate near 0": (rate(0.005), EXACT),
    "no rate": (rate([]), EXACT),
    "a computed rate": (computed_rate, EXACT),
}


SEVERAL = ("the second output", "classes first", "its length first", "an age first")


def scored(path, faces):
    opened = Scorer(path, engine="onnxruntime", card=PIXELS)
    return opened, opened.score_batch(faces).raw, opened.embed(faces)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_the_network_has_its_scores(mini, expected, tmp_path, form):
    change, tolerance = FORMS[form]
    model = onnx.ModelProto()
    model.CopyFrom(mini)
    change(model)
    path = tmp_path / "form.onnx"
    onnx.save(model, path)
    faces, raw, embeddings = expected
    opened, theirs, others = scored(path, faces)
    np.testing.assert_allclose(theirs, raw, atol=tolerance)
    np.testing.assert_allclose(others, embeddings, atol=10 * tolerance)
    assert opened.rate == 0.4
    notes = " ".join(opened.card.notes)
    assert ("float16" in notes) == (form == "half")
    assert ("in training mode" in notes) == (form == "in training")
    assert ("outputs" in notes) == (form in SEVERAL)
    if "rate" in form:
        trained = False if form == "rate 0" else None
        assert opened.card.trained_with_dropout is trained
        assert "0.4" in notes


def test_weights_may_lie_beside_the_file(mini, expected, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(mini, path, save_as_external_data=True, location="net.onnx.data", size_threshold=256)
    assert path.stat().st_size < 100_000
    faces, raw, _ = expected
    opened, theirs, _ = scored(path, faces)
    np.testing.assert_allclose(theirs, raw, atol=EXACT)
    data = tmp_path / "net.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert load_network(path).sha256 != opened.network.sha256
    data.write_bytes(whole[:-1])
    with pytest.raises(CorruptModel, match=r"'net.onnx.data' does not hold the weights"):
        load_network(path)
    data.unlink()
    with pytest.raises(CorruptModel, match=r"'net.onnx.data', which should be beside it"):
        load_network(path)
    (tmp_path / "elsewhere").write_bytes(whole)
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptModel, match="in the same folder"):
        load_network(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../x"),
        ("location", "/etc/passwd"),
        ("location", "a/b"),
        ("location", "a\\b"),
        ("location", ".."),
        ("location", ""),
        ("offset", "-1"),
        ("offset", "many"),
        ("length", "1"),
        ("offset", str(2**63)),
    ],
)
def test_lies_about_weights_elsewhere_are_refused(tmp_path, key, value):
    path = network_file(tmp_path, [FLAT, GEMM])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="d", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.name == "matrix":
            said = {entry.key: entry.value for entry in tensor.external_data} | {key: value}
            del tensor.external_data[:]
            for name, text in said.items():
                tensor.external_data.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CorruptModel, match=r"net\.onnx"):
        load_network(path)


def checkpoint(folder, change):
    """The bundled checkpoint after a change of its symbol and parameters."""
    card = cards.cards()["mini"]
    graph = json.loads((card.folder / "mini-symbol.json").read_bytes())
    params = dict(read_params(card.folder / "mini-0000.params"))
    graph, params = change(graph, params)
    (folder / "net-symbol.json").write_text(json.dumps(graph))
    (folder / "net-0000.params").write_bytes(write_params(params))
    return folder / "net-symbol.json"


def bare_names(graph, params):
    return graph, {name.partition(":")[2]: value for name, value in params.items()}


def classified(fc1):
    """A training's symbol: classes and a loss upon the embedding, which may have another name."""

    def change(graph, params):
        nodes = graph["nodes"]
        at = graph["heads"][0][0]
        nodes[at]["name"] = fc1
        for part in ("gamma", "beta", "moving_mean", "moving_var"):
            kind = "aux" if part.startswith("moving") else "arg"
            params[f"{kind}:{fc1}_{part}"] = params[f"{kind}:fc1_{part}"]
        for entry in nodes:
            entry["name"] = (
                entry["name"].replace("fc1_", f"{fc1}_", 1)
                if entry["name"].startswith("fc1_")
                else entry["name"]
            )
        settings = {"num_hidden": "50", "no_bias": "True"}
        nodes += [
            {"op": "null", "name": "fc7_weight", "inputs": []},
            {
                "op": "FullyConnected",
                "name": "fc7",
                "attrs": settings,
                "inputs": [[at, 0, 0], [len(nodes), 0, 0]],
            },
            {"op": "null", "name": "softmax_label", "inputs": []},
            {
                "op": "SoftmaxOutput",
                "name": "softmax",
                "inputs": [[len(nodes) + 1, 0, 0], [len(nodes) + 2, 0, 0]],
            },
        ]
        graph["heads"] = [[len(nodes) - 1, 0, 0]]
        params["arg:fc7_weight"] = np.zeros((50, 128), "f4")
        return graph, params

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [bare_names, classified("fc1"), classified("embedding")], ids=["bare", "fc1", "other"]
)
def test_a_checkpoint_of_another_form_has_the_networks_scores(expected, tmp_path, change):
    faces, raw, _ = expected
    path = checkpoint(tmp_path, change)
    _, theirs, _ = scored(path, faces)
    np.testing.assert_allclose(theirs, raw, atol=EXACT)
    if "mxnet" not in {one.name for one in runtimes() if one.devices}:
        return
    theirs = Scorer(path, engine="mxnet", card=PIXELS).score_batch(faces).raw
    np.testing.assert_allclose(theirs, raw, atol=EXACT)


OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]


def small(folder, nodes, **weights):
    """conv(data), 16 maps of 112 x 112 pooled to one each, then nodes from ``pooled``."""
    rng = np.random.default_rng(1)
    held = {
        "kernel": rng.normal(size=(16, 3, 3, 3)).astype("f4") / 300,
        "matrix": rng.normal(size=(8, 16)).astype("f4"),
        **weights,
    }
    first = [
        helper.make_node("Conv", ["data", "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    rest = [helper.make_node(kind, i, [o], **settings) for kind, i, o, settings in nodes]
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 112, 112])]
    if any("switch" in node.input for node in rest):
        inputs.append(helper.make_tensor_value_info("switch", TensorProto.FLOAT, [1]))
    graph = helper.make_graph(
        [*first, *rest],
        "small",
        inputs,
        [helper.make_tensor_value_info(rest[-1].output[0], TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    path = folder / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=8), path)
    return path


LAYER = ("Gemm", ["flat", "matrix"], "out", {"transB": 1})


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxruntime")
@pytest.mark.parametrize("symmetric", [False, True])
def test_eight_bits_are_undone(tmp_path, expected, symmetric):
    """ONNX Runtime's quantiser leaves the ReLU away: the range of what follows clips as it does."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    faces, _, _ = expected
    pixels = np.stack([face.pixels for face in faces]).transpose(0, 3, 1, 2).astype("f4")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"data": one[None]} for one in pixels]

        def get_next(self):
            return self.left.pop() if self.left else None

    path = small(tmp_path, [LAYER])
    quantised = tmp_path / "quantised.onnx"
    quantization.quantize_static(
        path, quantised, Reader(), extra_options={"ActivationSymmetric": symmetric}
    )
    kinds = {node.op_type for node in onnx.load(quantised).graph.node}
    assert "DequantizeLinear" in kinds
    assert ("Relu" in kinds) == symmetric  # whose range begins below zero
    plain, other = (Scorer(one, engine="onnxruntime", card=PIXELS) for one in (path, quantised))
    # 8 bits are 1/256 of the range, in weights and in each of three activations
    np.testing.assert_allclose(other.embed(faces), plain.embed(faces), atol=4 / 256)
    assert any("8 bits" in note for note in other.card.notes)


def in_blocks(folder, block, scales):
    """The small network, whose matrix has 8 bits and a scale and a zero point per block of rows."""
    rng = np.random.default_rng(2)
    path = small(folder, [LAYER], matrix=rng.integers(-128, 128, (8, 16), np.int8))
    model = onnx.load(path)
    weight(model, "scales", rng.uniform(0.1, 1, scales).astype("f4") / 100)
    weight(model, "zeros", rng.integers(-9, 9, scales, np.int8))
    for held in model.graph.initializer:
        held.name = held.name.replace("matrix", "bytes")
    taken = ["bytes", "scales", "zeros"]
    node = helper.make_node("DequantizeLinear", taken, ["matrix"], axis=0, block_size=block)
    model.graph.node.insert(0, node)
    model.opset_import[0].version = 21
    model.ir_version = 10
    onnx.save(model, path)
    return path


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.parametrize(("block", "scales"), [(2, (4, 16)), (8, (1, 16)), (1, (8, 16))])
def test_eight_bits_in_blocks_are_undone_as_onnx_defines_them(tmp_path, expected, block, scales):
    from onnx.reference import ReferenceEvaluator

    faces, _, _ = expected
    path = in_blocks(tmp_path, block, scales)
    ours = Scorer(path, engine="onnxruntime", card=PIXELS).embed(faces[:1])
    pixels = faces[0].pixels.transpose(2, 0, 1)[None].astype("f4")
    (theirs,) = ReferenceEvaluator(onnx.load(path)).run(None, {"data": pixels})
    np.testing.assert_allclose(ours, theirs / np.linalg.norm(theirs), atol=1e-5)


@pytest.mark.parametrize(
    ("block", "scales"), [(2, (3, 16)), (2, (4, 15)), (2, (4,)), (10**12, (0, 16))]
)
def test_scales_that_fit_no_block_are_refused(tmp_path, block, scales):
    with pytest.raises(CorruptModel, match=r"'small'|small\.onnx"):
        Scorer(in_blocks(tmp_path, block, scales), engine="onnxruntime", card=PIXELS)


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
def test_a_relu_that_rounding_stands_for(tmp_path, expected):
    """Written by hand: the maps are quantised from zero, and no ReLU is left."""
    faces, _, _ = expected
    path = small(tmp_path, [LAYER])
    plain = Scorer(path, engine="onnxruntime", card=PIXELS).embed(faces)
    model = onnx.load(path)
    index, relu = node_of(model, "Relu")
    model.graph.node.remove(relu)
    weight(model, "scale", np.float32(0.2))
    weight(model, "zero", np.int8(-128))
    for at, (kind, taken, made) in enumerate(
        [("QuantizeLinear", "maps", "whole"), ("DequantizeLinear", "whole", "relu")]
    ):
        node = helper.make_node(kind, [taken, "scale", "zero"], [made])
        model.graph.node.insert(index + at, node)
    onnx.save(model, path)
    other = Scorer(path, engine="onnxruntime", card=PIXELS).embed(faces)
    np.testing.assert_allclose(other, plain, atol=1e-5)


def test_the_networks_of_others(shared, expected, recwarn):
    """Those of one origin have one score; what cannot be taken is refused with its remedy."""
    faces, _, _ = expected
    raw = {}
    for path in sorted((shared / "cases" / "networks").iterdir()):
        if path.suffix == ".onnx":
            opened = Scorer(path, engine="onnxruntime")
            raw[path.stem] = opened.score_batch(faces[:1]).raw.item()
            assert any("states no dropout layer" in note for note in opened.card.notes)
        else:
            with pytest.raises(CorruptModel, match=path.name.replace(".", r"\.")):
                Scorer(path)
    assert raw["int8-qdq"] == pytest.approx(raw["plain"], abs=2e-3)
    assert raw["int8-dynamic"] == pytest.approx(raw["plain"], abs=2e-3)
    assert len(raw) == 7
    assert open_network(shared / "cases" / "networks" / "112x96.onnx")[0].width == 96
    assert recwarn.list  # they are not trained, which is said


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
def test_engines_agree_on_the_networks_of_others(shared, expected):
    pytest.importorskip("torch")
    faces, _, _ = expected
    for path in sorted((shared / "cases" / "networks").glob("*.onnx")):
        ours, theirs = (
            Scorer(path, engine=engine, device="cpu").score_batch(faces).raw
            for engine in ("onnxruntime", "torch")
        )
        np.testing.assert_allclose(theirs, ours, atol=1e-4, err_msg=path.name)


def test_a_narrow_crop_is_the_middle_of_the_wide_one(expected):
    faces, _, _ = expected
    pixels = np.stack([face.pixels for face in faces])
    narrow = cards.Card("n", "n", size=112, width=96).normalisation
    np.testing.assert_array_equal(narrow.fit(pixels), pixels[:, :, 8:104])
    assert narrow(pixels).shape == (2, 3, 112, 96)
    assert cards.Card("n", "n", size=224, width=192).normalisation(pixels).shape == (2, 3, 224, 192)


BATCH_NORM = [  # over the batch, by nodes, with no statistics of its own
    ("ReduceMean", ["flat"], "mean", {"axes": [0], "keepdims": 1}),
    ("Sub", ["flat", "mean"], "less", {}),
    ("Gemm", ["less", "matrix"], "out", {"transB": 1}),
]
REFUSED = {
    "a score that depends on the neighbours": (BATCH_NORM, {}, "depends on the other faces"),
    "features of zeros": (
        [
            ("Mul", ["flat", "nothing"], "dead", {}),
            ("Gemm", ["dead", "matrix"], "out", {"transB": 1}),
        ],
        {"nothing": np.zeros(1, "f4")},
        "only zeros",
    ),
    "a last layer of zeros": ([LAYER], {"matrix": np.zeros((8, 16), "f4")}, "last layer are all"),
    "an output of one number": ([LAYER], {"matrix": np.ones((1, 16), "f4")}, "1 dimension"),
    "an offset behind the normalisation": (
        [
            LAYER,
            ("LpNormalization", ["out"], "unit", {"axis": 1}),
            ("Add", ["unit", "offset"], "moved", {}),
        ],
        {"offset": np.ones(8, "f4")},
        "'Add' follows the dropout site after a normalisation",
    ),
    "a layer behind the normalisation": (
        [
            ("Dropout", ["flat"], "dropped", {}),
            ("Gemm", ["dropped", "matrix"], "out", {"transB": 1}),
            ("LpNormalization", ["out"], "unit", {"axis": 1}),
            ("MatMul", ["unit", "classes"], "cosines", {}),
        ],
        {"classes": np.ones((8, 8), "f4")},
        "'MatMul' follows the dropout site after a normalisation",
    ),
    "fused operators of one runtime": (
        [("FusedGemm", ["flat", "matrix"], "out", {"transB": 1, "domain": "com.microsoft"})],
        {},
        "'com.microsoft.FusedGemm'. Give the network as it was exported",
    ),
    "two inputs": (
        [
            ("Mul", ["flat", "switch"], "more", {}),
            ("Gemm", ["more", "matrix"], "out", {"transB": 1}),
        ],
        {},
        "needs 2 inputs .*'switch'",
    ),
    "fused operators of 8 bits": (
        [("QLinearMatMul", ["flat"] * 8, "out", {})],
        {},
        r"'QLinearMatMul', which cannot be undone.*QDQ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_networks_whose_scores_would_mean_nothing_are_refused(tmp_path, case):
    nodes, weights, says = REFUSED[case]
    with pytest.raises(CorruptModel, match=says):
        Scorer(small(tmp_path, nodes, **weights), card=PIXELS)


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
def test_a_face_of_which_a_network_makes_nothing_is_an_error_of_its_own(tmp_path, expected):
    """The others go on: here a ReLU is dead for a black photo alone."""
    from PIL import Image

    faces, _, _ = expected
    opened = Scorer(small(tmp_path, [LAYER]), engine="onnxruntime", card=PIXELS)
    black, white = tmp_path / "black.png", tmp_path / "white.png"
    Image.new("RGB", (112, 112)).save(black)
    Image.fromarray(faces[0].pixels).save(white)
    first, second = opened.score_many([black, white], aligned=True)
    assert "makes nothing of 'black.png'" in str(first)
    assert second.raw < 1
    with pytest.raises(CorruptModel, match=r"black\.png"):
        opened.score(black, aligned=True)
    row, other = score_files(opened, [black, white], 5, aligned=True)
    assert "makes nothing of 'black.png'" in row.error
    assert row.raw is None
    assert other.error is None


def sent(scorer):
    return pickle.loads(pickle.dumps(scorer))  # noqa: S301  # our own


@pytest.mark.parametrize("again", [sent, copy, deepcopy])
def test_scorers_can_be_copied_and_sent(scorer, expected, again):
    faces, raw, _ = expected
    other = again(scorer)
    assert repr(other) == repr(scorer)
    np.testing.assert_allclose(other.score_batch(faces).raw, raw, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.parametrize("stated", ["0", "1", "1.5", "-0.1", "nan", "0.999", "many", "0.3"])
def test_rates_of_a_checkpoint_are_rates_or_not_counted(tmp_path, stated):
    def change(graph, params):
        (node,) = (one for one in graph["nodes"] if one["op"] == "Dropout")
        node["attrs"] = {"p": stated}
        return graph, params

    card, network = open_network(checkpoint(tmp_path, change), PIXELS)
    rate, trained = {"0": (0.4, False), "0.3": (0.3, True)}.get(stated, (0.4, None))
    assert (cards.dropout_rate(card, network), card.trained_with_dropout) == (rate, trained)


def test_an_onnx_file_may_be_called_in_capitals(tmp_path):
    small(tmp_path, [LAYER]).rename(tmp_path / "NET.ONNX")
    with pytest.warns(ModelWarning):
        assert Scorer(tmp_path / "NET.ONNX", card=PIXELS).card.name == "NET.ONNX"


def archive(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"never read")
    return path


@pytest.mark.parametrize(
    ("name", "members", "says"),
    [
        ("net.pth", ["net/data.pkl"], "weights_only=True"),
        ("net.pth.tar", ["archive/data.pkl"], "weights_only=True"),
        ("net.weights", ["archive/data.pkl"], "weights_only=True"),
        ("net", ["archive/data.pkl"], "weights_only=True"),
        ("net.pt", ["net/data.pkl", "net/code/x.py", "net/constants.pkl"], "torch.jit.load"),
        ("net.ts", ["net/data.pkl", "net/code/x.py", "net/constants.pkl"], "torch.jit.load"),
        ("net.pt2", ["net/archive_format"], "torch.export.load"),
        ("net.mlpackage", ["Manifest.json"], "neither ONNX nor an MXNet checkpoint"),
    ],
)
def test_archives_are_known_by_what_they_hold(tmp_path, name, members, says):
    path = archive(tmp_path / name, *members)
    with pytest.raises(CorruptModel, match=rf"(?s)'{name}'.*{says}"):
        Scorer(path)


def test_weights_that_run_no_code_are_not_accused(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"never read")
    with pytest.raises(CorruptModel, match="without the network") as caught:
        Scorer(path)
    assert "run any code" not in str(caught.value)


@pytest.mark.parametrize(
    "suffix", [".pth", ".pt", ".safetensors", ".h5", ".tflite", ".pkl", ".xml"]
)
def test_files_of_other_frameworks_are_told_how_to_come_in(tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"never loaded")
    with pytest.raises(CorruptModel, match=r"(?s)net\..*(Export|export) ONNX"):
        Scorer(Path(path))
