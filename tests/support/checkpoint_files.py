"""Helpers that write MXNet checkpoints, whole or broken, for the tests."""

import ast
import json
import struct

import numpy as np

CODES = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6}


def write_params(arrays, magic=0xF993FAC9):
    """The NDArray list format: 0xF993FAC8 is version 1, then come 2 and 3."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for array in arrays.values():
        storage = () if magic == 0xF993FAC8 else (0,)
        parts += [struct.pack(f"<I{len(storage)}ii", magic, *storage, array.ndim)]
        parts += [struct.pack(f"<{array.ndim}q", *array.shape)]
        parts += [struct.pack("<iii", 1, 0, CODES[array.dtype.str[1:]]), array.tobytes()]
    parts += [struct.pack("<Q", len(arrays))]
    for name in arrays:
        parts += [struct.pack("<Q", len(name)), name.encode()]
    return b"".join(parts)


def small_graph(op="Activation", attrs=None, extra_inputs=(), side=112):
    """data -> op -> fully connected -> batch norm, as a symbol's JSON and its parameters."""
    nodes = [{"op": "null", "name": "data", "inputs": []}]

    def add(kind, name, settings, inputs):
        nodes.append({"op": kind, "name": name, "attrs": settings, "inputs": inputs})
        return [len(nodes) - 1, 0, 0]

    extras = [add("null", name, {}, []) for name in extra_inputs]
    middle = add(
        op, "middle", {"act_type": "relu"} if attrs is None else attrs, [[0, 0, 0], *extras]
    )
    weights = [add("null", f"fc_{w}", {}, []) for w in ("weight", "bias")]
    layer = add("FullyConnected", "fc", {"num_hidden": "4"}, [middle, *weights])
    norms = [add("null", f"bn_{w}", {}, []) for w in ("gamma", "beta", "moving_mean", "moving_var")]
    head = add("BatchNorm", "bn", {"fix_gamma": "False"}, [layer, *norms])
    rng = np.random.default_rng(0)
    params = {
        "arg:fc_weight": rng.normal(size=(4, 3 * side * side)).astype("f4") / 1e4,
        "arg:fc_bias": rng.normal(size=4).astype("f4"),
        "arg:bn_gamma": np.ones(4, "f4"),
        "arg:bn_beta": np.zeros(4, "f4"),
        "aux:bn_moving_mean": np.zeros(4, "f4"),
        "aux:bn_moving_var": np.ones(4, "f4"),
    }
    return json.dumps({"nodes": nodes, "heads": [head]}), params


def single_node(op, attrs, inputs=("data",), outputs=1):
    """A graph of one node, as JSON.

    Among its inputs `other` is data² + 1, and every name but `data` is a variable.
    """
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "square", "name": "squared", "inputs": [[0, 0, 0]]},
        {
            "op": "_plus_scalar",
            "name": "other",
            "attrs": {"scalar": "1"},
            "inputs": [[1, 0, 0]],
        },
    ]
    names = [node["name"] for node in nodes]
    for name in inputs:
        if name not in names:
            nodes.append({"op": "null", "name": name, "inputs": []})
            names.append(name)
    attrs = {key: str(value) for key, value in attrs.items()}
    sources = [[names.index(name), 0, 0] for name in inputs]
    nodes.append({"op": op, "name": "node", "attrs": attrs, "inputs": sources})
    heads = [[len(nodes) - 1, output, 0] for output in range(outputs)]
    variables = [i for i, node in enumerate(nodes) if node["op"] == "null"]
    version = {"mxnet_version": ["int", 10901]}
    return json.dumps({"nodes": nodes, "arg_nodes": variables, "heads": heads, "attrs": version})


def write_checkpoint(folder, symbol, params, name="net"):
    """Write both files; return the symbol's path."""
    path = folder / f"{name}-symbol.json"
    path.write_text(symbol if isinstance(symbol, str) else json.dumps(symbol))
    content = params if isinstance(params, bytes) else write_params(params)
    (folder / f"{name}-0000.params").write_bytes(content)
    return path


def random_layer(rng, op, attrs, shape, square):
    """Weights of a layer that is given maps of this shape and mean square; what it gives on."""

    def about(value):
        return (value * rng.uniform(0.8, 1.2, shape[0])).astype("f4")

    def matrix(*sizes):
        scale = np.float32(1 / np.sqrt(np.prod(sizes[1:])))
        return rng.standard_normal(sizes, "f4") * scale

    if op == "Convolution":
        kernel, stride = (ast.literal_eval(attrs[key]) for key in ("kernel", "stride"))
        sides = (-(-size // step) for size, step in zip(shape[1:], stride, strict=True))
        filters = int(attrs["num_filter"])
        return [matrix(filters, shape[0], *kernel)], (filters, *sides), square
    if op == "FullyConnected":
        sizes = int(attrs["num_hidden"]), int(np.prod(shape))
        return [matrix(*sizes), matrix(sizes[0])], sizes[:1], square
    if op == "BatchNorm":
        return [about(1), about(1) - 1, about(1) - 1, about(square)], shape, 1.0
    if op == "LeakyReLU":
        return [about(0.25)], shape, square * (1 + 0.25**2) / 2
    return [], shape, square


def fill(symbol, folder, seed=0):
    """Give a recognition network's symbol random weights and write both files as ``filled``.

    The weights are of the scale that training leaves, so that numbers neither vanish nor explode:
    every layer's matrix keeps the mean square of what it is given, and a batch norm's variances
    are about those that reach it. Returns the path of the new symbol.
    """
    rng = np.random.default_rng(seed)
    text = symbol.read_text()
    nodes = json.loads(text)["nodes"]
    shapes, squares, params = {0: (3, 112, 112)}, {0: 1 / 3}, {}  # by the number of the node
    for index, node in enumerate(nodes):
        if node["op"] == "null":
            continue
        first, *others = (source for source, *_ in node["inputs"])
        values, shapes[index], squares[index] = random_layer(
            rng, node["op"], node.get("attrs", {}), shapes[first], squares[first]
        )
        if node["op"] == "elemwise_add":
            squares[index] += squares[others[0]]
        for source, value in zip(others, values, strict=False):
            kind = "aux" if "_moving_" in nodes[source]["name"] else "arg"
            params[f"{kind}:{nodes[source]['name']}"] = value
    return write_checkpoint(folder, text, params, "filled")
