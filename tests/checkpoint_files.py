"""Helpers that write MXNet checkpoints, whole or broken, for the tests."""

import json
import struct

import numpy as np

CODES = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6}


def write_params(arrays, magic=0xF993FAC9):
    """The NDArray list format, version 2."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for array in arrays.values():
        parts += [struct.pack("<Iii", magic, 0, array.ndim)]
        parts += [struct.pack(f"<{array.ndim}q", *array.shape)]
        parts += [struct.pack("<iii", 1, 0, CODES[array.dtype.str[1:]]), array.tobytes()]
    parts += [struct.pack("<Q", len(arrays))]
    for name in arrays:
        parts += [struct.pack("<Q", len(name)), name.encode()]
    return b"".join(parts)


def small_graph(op="Activation", attrs=None, extra_inputs=()):
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
        "arg:fc_weight": rng.normal(size=(4, 3 * 112 * 112)).astype("f4") / 1e4,
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
