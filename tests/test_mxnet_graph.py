"""The converter against mxnet itself, operator by operator, and the shared networks whole."""

import json

import numpy as np
import onnxruntime as ort
import pytest
from checkpoint_files import small_graph, write_checkpoint
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.errors import CorruptModel

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def both(mx, symbol, shape, *, seed=0, low=-2.0):
    """Outputs of mxnet and of the converted graph for random weights and input."""
    rng = np.random.default_rng(seed)
    data = rng.uniform(low, 2, (2, *shape)).astype("f4")
    arg_shapes, _, aux_shapes = symbol.infer_shape(data=data.shape)
    arg = {
        name: rng.normal(size=s).astype("f4")
        for name, s in zip(symbol.list_arguments(), arg_shapes, strict=True)
    }
    aux = {
        name: rng.uniform(0.5, 2, s).astype("f4")
        for name, s in zip(symbol.list_auxiliary_states(), aux_shapes, strict=True)
    }
    bound = {k: mx.nd.array(v) for k, v in {**arg, "data": data}.items()}
    aux_bound = {k: mx.nd.array(v) for k, v in aux.items()}
    theirs = symbol.bind(mx.cpu(), bound, aux_states=aux_bound).forward(is_train=False)
    params = {f"arg:{k}": v for k, v in arg.items()} | {f"aux:{k}": v for k, v in aux.items()}
    model = to_onnx(symbol.tojson(), params, shape)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = session.run(None, {"data": data})
    return [mx.nd.Flatten(o).asnumpy() for o in theirs], [o.reshape(len(o), -1) for o in ours]


def agree(mx, symbol, shape, **settings_):
    for theirs, ours in zip(*both(mx, symbol, shape, **settings_), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@quick
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilate=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    group=st.sampled_from([1, 2, 4]),
    no_bias=st.booleans(),
)
def test_convolution(mx, kernel, stride, pad, dilate, group, no_bias):
    data = mx.sym.var("data")
    symbol = mx.sym.Convolution(
        data,
        kernel=kernel,
        stride=stride,
        pad=pad,
        dilate=dilate,
        num_group=group,
        num_filter=8,
        no_bias=no_bias,
        name="conv",
    )
    agree(mx, symbol, (4, 9, 10))


@quick
@given(
    kind=st.sampled_from(["max", "avg"]),
    convention=st.sampled_from(["valid", "full"]),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    size=st.integers(5, 12),
    include=st.booleans(),
)
def test_pooling(mx, kind, convention, kernel, stride, pad, size, include):
    assume(pad < kernel)
    # mxnet may begin its last window in the padding, where there is nothing to average
    steps = -(-(size + 2 * pad - kernel) // stride)
    assume(convention == "valid" or (pad == 0 and kind == "max" and steps * stride < size))
    symbol = mx.sym.Pooling(
        mx.sym.var("data"),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        pad=(pad, pad),
        pool_type=kind,
        pooling_convention=convention,
        count_include_pad=include,
        name="pool",
    )
    agree(mx, symbol, (3, size, size))


def operators(mx):
    """One small symbol per operator, by name."""
    data = mx.sym.var("data")
    s = mx.sym
    conv = s.Convolution(data, kernel=(3, 3), num_filter=4, name="conv")
    parts = s.SliceChannel(data, num_outputs=4, axis=1, name="parts")
    squeezed = s.SliceChannel(data, num_outputs=4, axis=1, squeeze_axis=True, name="parts")
    return {
        "BatchNorm": s.BatchNorm(data, fix_gamma=False, name="bn"),
        "BatchNorm, gamma fixed": s.BatchNorm(data, eps=2e-5, name="bn"),
        "BatchNorm, flat": s.BatchNorm(s.Flatten(data), fix_gamma=False, name="bn"),
        **{
            f"Activation {kind}": s.Activation(data, act_type=kind, name="act")
            for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
        },
        "LeakyReLU leaky": s.LeakyReLU(data, name="leaky"),
        "LeakyReLU elu": s.LeakyReLU(data, act_type="elu", slope=0.7, name="elu"),
        "LeakyReLU prelu": s.LeakyReLU(data, act_type="prelu", name="prelu"),
        "LeakyReLU prelu, flat": s.LeakyReLU(s.Flatten(data, name="f"), act_type="prelu", name="p"),
        "Pooling global": s.Pooling(
            data, global_pool=True, kernel=(1, 1), pool_type="avg", name="p"
        ),
        "elemwise_add": data + conv_like(mx, data),
        "elemwise_sub": data - conv_like(mx, data),
        "elemwise_mul": data * conv_like(mx, data),
        "elemwise_div": data / (s.square(conv_like(mx, data)) + 1.0),
        "broadcast": s.broadcast_add(
            data, s.Pooling(data, global_pool=True, kernel=(1, 1), name="g")
        ),
        "scalars": 3.0 - ((data + 1.5) * 0.25 - 0.5) / 2.0,
        "reverse division": 1.0 / (data * data + 2.0),
        "power": (data * data + 1.0) ** 1.5,
        "FullyConnected": s.FullyConnected(data, num_hidden=5, name="fc"),
        "FullyConnected, no bias": s.FullyConnected(data, num_hidden=5, no_bias=True, name="fc"),
        "Dropout": s.Dropout(data, p=0.4, name="drop") * 1.0,
        "Flatten": s.Flatten(data, name="flat"),
        "Reshape": s.Reshape(data, shape=(0, -1, 6), name="shape"),
        "Concat": s.Concat(data, data * 2.0, dim=1, name="cat"),
        "Pad edge": s.Pad(data, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), name="pad"),
        "Pad constant": s.Pad(
            data,
            mode="constant",
            constant_value=1.5,
            pad_width=(0, 0, 0, 0, 1, 2, 3, 0),
            name="pad",
        ),
        "slice": s.slice(data, begin=(None, 1, 2, None), end=(None, 3, -1, None), name="cut"),
        "slice_axis": s.slice_axis(data, axis=2, begin=1, end=None, name="cut"),
        "SliceChannel": parts[1] + parts[3],
        "SliceChannel squeezed": squeezed[0] - squeezed[2],
        "BilinearResize2D up": s.contrib.BilinearResize2D(data, height=17, width=11, name="r"),
        "BilinearResize2D down": s.contrib.BilinearResize2D(data, height=4, width=3, name="r"),
        "L2Normalization": s.L2Normalization(s.Flatten(data, name="f"), name="l2"),
        "L2Normalization channel": s.L2Normalization(data, mode="channel", name="l2"),
        "SoftmaxActivation": s.SoftmaxActivation(s.Flatten(data, name="f"), name="soft"),
        "SoftmaxActivation channel": s.SoftmaxActivation(data, mode="channel", name="soft"),
        "softmax": s.softmax(data, axis=1, name="soft"),
        "identity": s.identity(data, name="same"),
        "transpose": s.transpose(data, axes=(0, 2, 3, 1), name="turned"),
        "clip": s.clip(data, a_min=-0.5, a_max=1.0, name="clipped"),
        "square": s.square(data, name="squared"),
        "exp": s.exp(data, name="e"),
        "add_n": s.add_n(data, data, data, name="sum"),
        "two heads": s.Group([conv, s.Flatten(data, name="flat")]),
    }


def conv_like(mx, data):
    return mx.sym.Convolution(data, kernel=(1, 1), num_filter=4, name="same_size")


def test_every_operator(mx):
    for name, symbol in operators(mx).items():
        print(name)  # shown when one fails
        agree(mx, symbol, (4, 8, 6))


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
