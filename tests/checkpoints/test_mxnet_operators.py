"""Every operator that the converter knows against mxnet itself: shapes and settings are drawn.

`CASES` says for each operator's name what may be drawn; a name without a case fails its test.
"""

import numpy as np
import onnxruntime as ort
import pytest
from checkpoint_files import single_node
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from serfiq_widgets.checkpoints.mxnet_graph import OPERATORS, to_onnx

quick = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
small, flag = st.integers(1, 4), st.booleans()
ranks = st.integers(1, 4)  # of one image, without the batch
tenths = st.integers(0, 30).map(lambda number: number / 10)
factor = st.integers(-40, 40).filter(bool).map(lambda number: number / 10)


def agree(mx, op, attrs, shape, inputs=("data",), outputs=1, seed=0, **shapes):
    """The converted graph gives what mxnet gives, for random data and weights."""
    text = single_node(op, attrs, inputs, outputs)
    symbol = mx.sym.load_json(text)
    rng = np.random.default_rng(seed)
    data = rng.uniform(-2, 2, (2, *shape)).astype("f4")
    arg_shapes, _, aux_shapes = symbol.infer_shape(data=data.shape, **shapes)
    arg_names, aux_names = symbol.list_arguments(), symbol.list_auxiliary_states()
    arg = {n: rng.normal(size=s).astype("f4") for n, s in zip(arg_names, arg_shapes, strict=True)}
    aux = {
        n: rng.uniform(0.5, 2, s).astype("f4") for n, s in zip(aux_names, aux_shapes, strict=True)
    }
    bound = {name: mx.nd.array(value) for name, value in {**arg, "data": data}.items()}
    states = {name: mx.nd.array(value) for name, value in aux.items()}
    theirs = symbol.bind(mx.cpu(), bound, aux_states=states).forward(is_train=False)
    params = {f"arg:{k}": v for k, v in arg.items()} | {f"aux:{k}": v for k, v in aux.items()}
    model = to_onnx(text, params, shape)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ours = session.run(None, {"data": data})
    for one, array, info in zip(ours, theirs, model.graph.output, strict=True):
        assert one.shape == array.shape
        assert one.shape[1:] == tuple(d.dim_value for d in info.type.tensor_type.shape.dim)[1:]
        other = mx.nd.reshape(array, shape=(-1,)).asnumpy().reshape(one.shape)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def drawn_shape(draw, rank=None):
    return tuple(draw(small) for _ in range(rank or draw(ranks)))


def plain(draw, inputs=("data",), **attrs):
    return {"attrs": attrs, "shape": drawn_shape(draw), "inputs": inputs}


def scalar(draw, inputs=("data",)):
    return plain(draw, inputs, scalar=draw(factor))


def convolution(draw):
    rank = draw(st.integers(1, 3))
    axes = range(rank)
    kernel = [draw(st.integers(1, 3)) for _ in axes]
    attrs = {
        "kernel": tuple(kernel),
        "stride": tuple(draw(st.integers(1, 3)) for _ in axes),
        "pad": tuple(draw(st.integers(0, 2)) for _ in axes),
        "dilate": tuple(draw(st.integers(1, 2)) for _ in axes),
        "num_group": draw(st.sampled_from([1, 2, 4])),
        "num_filter": 8,
        "no_bias": draw(flag),
    }
    spans = [d * (k - 1) + 1 for d, k in zip(attrs["dilate"], kernel, strict=True)]
    sides = [span + draw(st.integers(0, 5)) for span in spans]
    for key in ("stride", "pad", "dilate"):  # may be left out where they are the default
        if draw(flag) and set(attrs[key]) == {0 if key == "pad" else 1}:
            del attrs[key]
    inputs = ["data", "weight"] if attrs["no_bias"] else ["data", "weight", "bias"]
    return {"attrs": attrs, "shape": (4, *sides), "inputs": inputs}


def pooling(draw):
    rank = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["max", "avg"]))
    shape = (draw(small), *(draw(st.integers(3, 8)) for _ in range(rank)))
    if draw(st.integers(0, 9)) == 0:
        attrs = {"global_pool": True, "kernel": (1,) * rank, "pool_type": kind}
        return {"attrs": attrs, "shape": shape}
    axes = range(rank)
    kernel = tuple(draw(st.integers(1, 3)) for _ in axes)
    stride = tuple(draw(st.integers(1, 4)) for _ in axes)
    pad = tuple(draw(st.integers(0, size - 1)) for size in kernel)
    convention = draw(st.sampled_from(["valid", "full"]))
    include = draw(flag)
    counted = kind == "avg" and include
    for size, k, s, p in zip(shape[1:], kernel, stride, pad, strict=True):
        room = size + 2 * p - k
        last = (-(-room // s) if convention == "full" else room // s) * s
        # mxnet may begin its last window in the padding, where there is nothing to pool
        assume(last < size + p + p * counted)
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "pool_type": kind}
    attrs |= {"pooling_convention": convention, "count_include_pad": include}
    return {"attrs": attrs, "shape": shape}


def batch_norm(draw):
    shape = drawn_shape(draw)
    attrs = {
        "eps": draw(st.sampled_from([1e-5, 2e-5, 1e-3, 0.1])),
        "fix_gamma": draw(flag),
        "axis": draw(st.sampled_from([1, -len(shape)])),
    }
    kept = draw(st.sets(st.sampled_from(sorted(attrs))))
    inputs = ["data", "gamma", "beta", "moving_mean", "moving_var"]
    return {"attrs": {k: attrs[k] for k in kept}, "shape": shape, "inputs": inputs}


def activation(draw):
    kinds = ["relu", "sigmoid", "tanh", "softrelu", "softsign"]
    return plain(draw, act_type=draw(st.sampled_from(kinds)))


def leaky_relu(draw):
    kind = draw(st.sampled_from(["leaky", "elu", "prelu"]))
    if kind != "prelu":
        return plain(draw, act_type=kind, slope=draw(tenths))
    case = plain(draw, ("data", "gamma"), act_type=kind)
    return case | ({"gamma": (1,)} if draw(flag) else {})


def broadcast(draw, divisor=False):
    if draw(flag):
        return plain(draw, ("data", "other"))
    shape = drawn_shape(draw)
    other = (1, *(draw(st.sampled_from([1, size])) for size in shape))
    inputs = ("weight", "other") if divisor else draw(st.permutations(["data", "weight"]))
    return {"attrs": {}, "shape": shape, "inputs": inputs, "weight": other}


def fully_connected(draw):
    case = plain(draw, num_hidden=draw(st.integers(1, 6)), no_bias=draw(flag))
    if len(case["shape"]) == 1:
        case["attrs"]["flatten"] = draw(flag)
    bias = [] if case["attrs"]["no_bias"] else ["bias"]
    return case | {"inputs": ["data", "weight", *bias]}


def reshape(draw):
    """Codes that suit a shape: every axis is kept, named, joined with the next, or split."""
    shape = drawn_shape(draw)
    codes, axis = [draw(st.sampled_from([0, -1]))], 0
    free = codes[0] == 0  # -1 may stand once
    while axis < len(shape):
        left = len(shape) - axis
        kind = draw(st.sampled_from(["keep", "size", "rest", "join", "split", "all"]))
        if kind == "join" and left > 1:
            codes, axis = [*codes, -3], axis + 2
        elif kind == "rest":
            codes, axis = [*codes, -2], len(shape)
        elif kind == "split" and shape[axis] % 2 == 0:
            half = shape[axis] // 2
            parts = draw(st.sampled_from([(2, half), (-1, half), (2, -1)]))
            codes, axis, free = [*codes, -4, *parts], axis + 1, False  # -1 has to come before
        elif kind == "all" and free:
            codes, axis, free = [*codes, -1], len(shape), False
        else:
            codes, axis = [*codes, 0 if kind == "keep" else shape[axis]], axis + 1
    return {"attrs": {"shape": tuple(codes)}, "shape": shape}


def concat(draw):
    case = plain(draw, draw(st.lists(st.sampled_from(["data", "other"]), min_size=1, max_size=4)))
    rank = len(case["shape"]) + 1
    axis = draw(st.integers(1, rank - 1))
    dim = draw(st.sampled_from([axis, axis - rank]))
    return case | {"attrs": {"dim": dim, "num_args": len(case["inputs"])}}


def pad(draw):
    shape = drawn_shape(draw, draw(st.integers(3, 4)))
    mode = draw(st.sampled_from(["constant", "edge", "reflect"]))
    widths = [0, 0, 0, 0]
    for size in shape[1:]:
        widths += [draw(st.integers(0, size - 1 if mode == "reflect" else 3)) for _ in range(2)]
    attrs = {"mode": mode, "pad_width": tuple(widths), "constant_value": draw(factor)}
    return {"attrs": attrs, "shape": shape}


def ends(draw, size):
    """A begin and an end that leave something, each counted from either side or left out."""
    begin = draw(st.integers(0, size - 1))
    end = draw(st.integers(begin + 1, size))
    one = draw(st.sampled_from([begin, begin - size]))
    other = (
        draw(st.sampled_from([end, end - size]))
        if end < size
        else draw(st.sampled_from([size, None]))
    )
    return (None if begin == 0 and draw(flag) else one), other


def cut(draw):
    shape = drawn_shape(draw)
    count = draw(st.integers(1, len(shape)))
    begins, stops = zip((None, None), *(ends(draw, size) for size in shape[:count]), strict=True)
    attrs = {"begin": begins, "end": stops}
    if draw(flag):
        attrs["step"] = (None, *(draw(st.sampled_from([None, 1, 2])) for _ in shape[:count]))
    return {"attrs": attrs, "shape": shape}


def cut_axis(draw):
    shape = drawn_shape(draw)
    axis = draw(st.integers(1, len(shape)))
    begin, end = ends(draw, shape[axis - 1])
    axis = draw(st.sampled_from([axis, axis - len(shape) - 1]))
    return {"attrs": {"axis": axis, "begin": begin or 0, "end": end}, "shape": shape}


def slice_channel(draw):
    shape = list(drawn_shape(draw))
    axis, count, squeeze = draw(st.integers(1, len(shape))), draw(small), draw(flag)
    shape[axis - 1] = count if squeeze else count * draw(small)
    attrs = {"axis": axis, "num_outputs": count, "squeeze_axis": squeeze}
    return {"attrs": attrs, "shape": tuple(shape), "outputs": count}


def resize(draw):
    aligned = draw(flag)
    side = st.integers(1 if aligned else 2, 12)
    attrs = {"height": draw(side), "width": draw(side), "align_corners": aligned}
    return {"attrs": attrs, "shape": drawn_shape(draw, 3)}


def by_mode(*modes):
    """The first mode suits every rank, the others channels and sides."""

    def case(draw):
        shape = drawn_shape(draw)
        mode = draw(st.sampled_from(modes if len(shape) > 1 else modes[:1]))
        return {"attrs": {"mode": mode}, "shape": shape}

    return case


def l2_normalization(draw):
    case = by_mode("instance", "channel", "spatial")(draw)
    case["attrs"]["eps"] = draw(st.sampled_from([1e-10, 1e-3]))
    return case


def softmax_output(draw):
    case = plain(draw, ("data", "softmax_label"))
    if len(case["shape"]) > 1:
        case["attrs"][draw(st.sampled_from(["multi_output", "preserve_shape"]))] = True
    return case


def softmax(draw):
    case = plain(draw)
    rank = len(case["shape"]) + 1
    axis = draw(st.integers(1, rank - 1))
    attrs = {"axis": draw(st.sampled_from([axis, axis - rank]))}
    if draw(flag):
        attrs["temperature"] = draw(tenths) + 0.5
    return case | {"attrs": attrs}


def transpose(draw):
    shape = drawn_shape(draw)
    axes = draw(st.permutations(range(1, len(shape) + 1)))
    return {"attrs": {"axes": (0, *axes)}, "shape": shape}


def clip(draw):
    low, high = sorted((draw(factor), draw(factor)))
    return plain(draw, a_min=low, a_max=high)


def two(draw):
    return plain(draw, draw(st.sampled_from([("data", "other"), ("other", "data")])))


def quotient(draw):
    return plain(draw, ("data", "other"))


def many(draw):
    inputs = draw(st.lists(st.sampled_from(["data", "other"]), min_size=1, max_size=4))
    return plain(draw, inputs, num_args=len(inputs))


def positive(draw):
    return plain(draw, ("other",))


CASES = {
    "Activation": activation,
    "BatchNorm": batch_norm,
    "Concat": concat,
    "Convolution": convolution,
    "Dropout": lambda draw: plain(draw, p=draw(tenths) / 4),
    "FullyConnected": fully_connected,
    "L2Normalization": l2_normalization,
    "LeakyReLU": leaky_relu,
    "Pad": pad,
    "Pooling": pooling,
    "Reshape": reshape,
    "SliceChannel": slice_channel,
    "SoftmaxActivation": by_mode("instance", "channel"),
    "_contrib_BilinearResize2D": resize,
    "broadcast_div": lambda draw: broadcast(draw, divisor=True),
    "clip": clip,
    "concat": concat,
    "pad": pad,
    "reshape": reshape,
    "slice_axis": cut_axis,
    "softmax": softmax,
    "split": slice_channel,
    "sqrt": positive,
    "transpose": transpose,
    **dict.fromkeys(["slice", "crop"], cut),
    **dict.fromkeys(["SoftmaxOutput", "Softmax"], softmax_output),
    **dict.fromkeys(["Flatten", "flatten", "BlockGrad", "_copy", "identity"], plain),
    **dict.fromkeys(["square", "exp", "relu", "sigmoid"], plain),
    **dict.fromkeys(["add_n", "ElementWiseSum"], many),
    **dict.fromkeys(["elemwise_add", "_add", "_plus", "_Plus"], two),
    **dict.fromkeys(["elemwise_sub", "_sub", "_minus", "_Minus"], two),
    **dict.fromkeys(["elemwise_mul", "_mul", "_Mul"], two),
    **dict.fromkeys(["elemwise_div", "_div", "_Div"], quotient),
    **dict.fromkeys(["broadcast_add", "broadcast_plus"], broadcast),
    **dict.fromkeys(["broadcast_sub", "broadcast_minus", "broadcast_mul"], broadcast),
    **dict.fromkeys(["_plus_scalar", "_PlusScalar", "_minus_scalar", "_MinusScalar"], scalar),
    **dict.fromkeys(["_mul_scalar", "_MulScalar", "_div_scalar", "_DivScalar"], scalar),
    **dict.fromkeys(["_rminus_scalar", "_RMinusScalar"], scalar),
    **dict.fromkeys(
        ["_rdiv_scalar", "_RDivScalar", "_power_scalar", "_PowerScalar"],
        lambda draw: scalar(draw, ("other",)),
    ),
}


@pytest.mark.parametrize("op", sorted(OPERATORS))
@quick
@given(data=st.data())
def test_gives_what_mxnet_gives(mx, op, data):
    agree(mx, op, **CASES[op](data.draw))


def test_no_case_is_left_over():
    assert set(CASES) == set(OPERATORS)
