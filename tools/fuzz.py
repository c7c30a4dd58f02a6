"""Fuzz the readers of files: parameters, symbols, ONNX files, cards, photos, and what aligns faces.

Needs `pip install atheris`.

Usage: fuzz.py [MINUTES] [TARGET ...]     (10 minutes, shared by all targets)

A reader may succeed or raise a SerfiqError. Anything else is a finding: another exception, more
than 2 GB, more than 5 seconds, a crash. Findings are written to `fuzz-findings` and are to become
tests. Inputs are mutated twice over: bytes by libFuzzer, and meaning by `mutate_...` below.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
try:
    import atheris
except ImportError:
    sys.exit("The fuzzer is not installed: pip install atheris")
with atheris.instrument_imports(include=["serfiq_widgets"]):
    import numpy as np
    import onnx
    from checkpoint_files import CODES, single_node, small_graph, write_params
    from onnx_files import HEADS, network_file
    from PIL import Image

    from serfiq_widgets.checkpoints.mxnet_graph import OPERATORS, to_onnx
    from serfiq_widgets.checkpoints.onnx_file import parse_onnx
    from serfiq_widgets.checkpoints.params import read_params
    from serfiq_widgets.checkpoints.split import cut_network
    from serfiq_widgets.engines import Normalisation
    from serfiq_widgets.engines.onnxruntime import OnnxEngine
    from serfiq_widgets.errors import SerfiqError
    from serfiq_widgets.faces.alignment import FACE_SIZE, align
    from serfiq_widgets.faces.find import find_face
    from serfiq_widgets.images.read import read_image
    from serfiq_widgets.models.cards import MODELS
    from serfiq_widgets.scoring.network import open_network

FINDINGS = Path("fuzz-findings")
SECONDS_EACH, MEMORY = 5, 2 << 30
SIDE = 8  # of the images that the symbols are converted for
FACES = np.zeros((2, SIDE, SIDE, 3), np.uint8)
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 4096, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    *map(str, NUMBERS),
    *("0.5", "nan", "inf", "1e39", "1e-320", "None", "True", "False", "", "()", "(1,)", "(0, 0)"),
    *("(1, 1)", "(2, 2)", "(3, 3)", "(0, -1)", "(-2,)", "(-3, -1)", "(0, -4, 2, -1, 0)", "(None,)"),
    *("(0, 0, 0, 0, 1, 2, 3, 0)", "(9999999999, 9999999999)", "(" * 300, "-" * 250, "'a'", "{[]}"),
    *("relu", "prelu", "elu", "max", "avg", "full", "channel", "spatial", "edge", "reflect"),
    "\ud800",
)
SETTINGS = (
    *("kernel", "stride", "pad", "dilate", "num_filter", "num_group", "no_bias", "layout", "axis"),
    *("eps", "fix_gamma", "act_type", "slope", "pool_type", "pooling_convention", "global_pool"),
    *("count_include_pad", "scalar", "flatten", "num_hidden", "p", "axes", "shape", "reverse"),
    *("dim", "mode", "pad_width", "constant_value", "begin", "end", "step", "num_outputs"),
    *(
        "squeeze_axis",
        "height",
        "width",
        "align_corners",
        "multi_output",
        "temperature",
        "a_min",
        "a_max",
    ),
)


# What is fuzzed


def fuzz_params(data: bytes) -> None:
    """The reader of parameters; what it gives must have been in the file."""
    arrays = read_params(data)
    if sum(array.nbytes for array in arrays.values()) > len(data):
        raise AssertionError("more numbers than bytes")


def fuzz_symbol(data: bytes) -> None:
    """Converter and split; the parameters' shapes come with the symbol, as its `shapes`."""
    params = dict(small_graph(side=SIDE)[1])
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        for name, shape in json.loads(data)["shapes"].items():
            if 0 < np.prod([abs(float(size)) for size in shape]) < 1e6:  # noqa: PLR2004
                params[f"arg:{name}"] = np.ones([abs(int(size)) for size in shape], "f4")
    cut_and_run(to_onnx(data, params, (3, SIDE, SIDE), "net-symbol.json"))


def fuzz_onnx(data: bytes) -> None:
    """The reader of ONNX files, and the split."""
    cut_and_run(parse_onnx(data, "net.onnx"))


def fuzz_cards(data: bytes) -> None:
    """The reader of model cards."""
    open_network("mini", write("face.card.toml", data))


def fuzz_images(data: bytes) -> None:
    """The reader of photos: whatever it accepts is RGB, and an aligned face when it is square."""
    pixels = read_image(data)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:  # noqa: PLR2004
        raise AssertionError(f"{pixels.dtype} {pixels.shape} is no RGB")
    find_face(data, aligned=True)


def fuzz_faces(data: bytes) -> None:
    """The detector on pixels of any shape, and the warp on any five landmarks."""
    width, height = (16 + int.from_bytes(data[i : i + 2], "little") % 600 for i in (0, 2))
    stuff = np.frombuffer(data[4:] or b"\0", np.uint8)
    pixels = np.resize(stuff, (height, width, 3))
    landmarks = np.resize(np.frombuffer(data[4:44].ljust(40, b"\0"), np.float32), (5, 2))
    aligned = align(pixels, np.nan_to_num(landmarks, nan=0.0, posinf=1e6, neginf=-1e6))
    if aligned.shape != (FACE_SIZE, FACE_SIZE, 3):
        raise AssertionError(f"{aligned.shape} is no aligned face")
    find_face(pixels)


def cut_and_run(model: onnx.ModelProto) -> None:
    """The split; what it accepts also runs, and fits its head."""
    network = cut_network(model, b"", None, name="net")
    pixels = Normalisation(size=network.input_size)
    features = OnnxEngine(network, 0.4, pixels, "cpu", "fp32").trunk(FACES)
    if features.shape != (len(FACES), network.n_features):
        raise AssertionError(f"{features.shape} instead of {network.n_features} features")


def write(name: str, data: bytes) -> Path:
    """Put an input where a reader can open it."""
    path = Path(tempfile.gettempdir()) / name
    path.write_bytes(data)
    return path


# What is changed


def mutate_bytes(data: bytes, dice: random.Random) -> bytes:
    """Put a telling number somewhere, or cut the end off."""
    at = dice.randrange(len(data) + 1)
    if dice.random() < 0.2:  # noqa: PLR2004
        return data[:at]
    size = dice.choice((1, 2, 4, 8))
    number = dice.choice(NUMBERS) % 256**size
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


def mutate_symbol(data: bytes, dice: random.Random) -> bytes:
    """Change an operator, a setting, an input, a name, a shape, or the number of nodes."""
    graph = json.loads(data)
    nodes = graph["nodes"]
    node = dice.choice(nodes)
    settings = node.setdefault("attrs", {})
    kind = dice.randrange(8)
    if kind == 0:
        node["op"] = dice.choice([*OPERATORS, "null"])
    elif kind == 1:
        settings[dice.choice(SETTINGS)] = dice.choice([*TEXTS, *NUMBERS, None, [], {}])
    elif kind == 2:  # noqa: PLR2004
        settings.pop(dice.choice([*settings, ""]), None)
    elif kind == 3:  # noqa: PLR2004
        node["inputs"].insert(0, [dice.randrange(-1, len(nodes) + 1), dice.choice((0, 0, 1)), 0])
    elif kind == 4:  # noqa: PLR2004
        node["inputs"] = node["inputs"][1:]
    elif kind == 5:  # noqa: PLR2004
        others = [other["name"] for other in nodes]
        node["name"] = dice.choice([*others, "features", "\ud800", "", "\x1b[2J"])
    elif kind == 6:  # noqa: PLR2004
        sizes = [dice.choice((1, 2, 3, 4, 8, 192)) for _ in range(dice.randrange(5))]
        graph.setdefault("shapes", {})[node["name"]] = sizes
    else:  # the graph goes on behind its head
        nodes.append({**node, "name": f"more{len(nodes)}", "inputs": [[*graph["heads"][0]]]})
        graph["heads"] = [[len(nodes) - 1, 0, 0]]
    return json.dumps(graph).encode()


def mutate_onnx(data: bytes, dice: random.Random) -> bytes:
    """Change an operator, a setting, an input, a name, or a weight's shape, type and place."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    node, weight = dice.choice(graph.node), dice.choice(graph.initializer)
    tensors = [*(n for one in graph.node for n in (*one.input, *one.output)), weight.name, ""]
    changes: list[Callable[[], Any]] = [
        lambda: setattr(node, "op_type", dice.choice([one.op_type for one in graph.node])),
        lambda: setattr(node, "op_type", dice.choice(("Identity", "Cast", "Div", "If"))),
        lambda: setattr(node, "domain", dice.choice(("", "ai.onnx", "com.microsoft", "x"))),
        lambda: node.input.append(dice.choice(tensors)),
        lambda: node.input.__setitem__(0, dice.choice(tensors)),
        lambda: node.output.__setitem__(0, dice.choice(tensors)),
        lambda: graph.node.append(node),
        lambda: graph.node.remove(node),
        lambda: setattr(dice.choice(node.attribute), "i", dice.choice(NUMBERS)),
        lambda: setattr(dice.choice(node.attribute), "f", dice.choice((0.0, -1.0, 1e38, 2.0))),
        lambda: node.attribute.append(onnx.helper.make_attribute("axis", dice.choice(NUMBERS))),
        lambda: weight.dims.__setitem__(0, dice.choice(NUMBERS)),
        lambda: weight.dims.append(dice.choice(NUMBERS)),
        lambda: setattr(weight, "data_type", dice.randrange(-1, 26)),
        lambda: setattr(weight, "raw_data", weight.raw_data[: dice.randrange(64)]),
        lambda: setattr(weight, "data_location", 1),
        lambda: weight.external_data.add(key="location", value="/etc/passwd"),
        lambda: graph.initializer.remove(weight),
        graph.sparse_initializer.add,
        lambda: graph.input[0].type.tensor_type.shape.dim.add(dim_value=dice.choice(NUMBERS)),
        lambda: setattr(graph.output[0], "name", dice.choice(tensors)),
        lambda: setattr(model.opset_import[0], "version", dice.choice((0, 1, 7, 13, 17, 99))),
        lambda: setattr(model, "ir_version", dice.choice(NUMBERS) % 2**31),
    ]
    dice.choice(changes)()
    return model.SerializeToString()


def mutate_container(data: bytes, dice: random.Random) -> bytes:
    """Do to a photo's pieces what `mutate_bytes` does to bytes, or give one twice."""
    starts = [at.start() for at in re.finditer(rb"\xff[\xc0-\xfe]|IHDR|IDAT|tRNS|VP8|ALPH", data)]
    if len(starts) < 2 or dice.random() < 0.5:  # noqa: PLR2004
        return mutate_bytes(data, dice)
    start, end = sorted(dice.sample(starts, 2))
    kind = dice.randrange(3)
    if kind == 0:
        return data[:start] + data[end:]
    if kind == 1:
        return data[:end] + data[start:end] * dice.choice((1, 2, 50)) + data[end:]
    return data[:start] + mutate_bytes(data[start:end], dice) + data[end:]


def mutate_cards(data: bytes, dice: random.Random) -> bytes:
    """Give an entry another value or name."""
    lines = data.decode().splitlines()
    at = dice.randrange(len(lines))
    key = lines[at].partition("=")[0]
    values = ("nan", "inf", "-1", "1e400", "true", '"BGR"', '""', "[]", "{}", "2020-01-01")
    value = dice.choice(values)
    changed = (f"{key}= {value}", f"{key}.x = {value}", f"x = {value}", "[x]", f"[{key}]")
    lines[at] = dice.choice(changed)
    return "\n".join(lines).encode()


# What it begins with


def seeds_params() -> list[bytes]:
    """A file of every type, the older formats, and the head of the bundled model."""
    arrays = {f"arg:{code}": np.arange(6).astype(code).reshape(2, 3) for code in CODES}
    mini = read_params(MODELS / "mini-0000.params")
    few = dict(sorted(mini.items(), key=lambda item: item[1].nbytes)[:5])
    files = [write_params(arrays, magic) for magic in (0xF993FAC8, 0xF993FAC9, 0xF993FACA)]
    return [*files, write_params(few), write_params({"arg:a": np.ones(1, "f4")})]


def seeds_symbol() -> list[bytes]:
    """Every operator in the midst of a small network."""
    shapes = {"weight": [3, 3, 1, 1], "bias": [3], "gamma": [3]}
    small = small_graph(side=SIDE)[0]
    graphs = [json.loads(small_graph(op, {"scalar": "2"}, side=SIDE)[0]) for op in OPERATORS]
    attrs = {"kernel": "(1, 1)", "num_filter": "3"}
    layer, _ = small_graph("Convolution", attrs, ["weight", "bias"], SIDE)
    graphs.append(json.loads(layer))
    whole = (MODELS / "mini-symbol.json").read_bytes()
    one = single_node("Reshape", {"shape": "(0, -1)"}).encode()
    middles = [json.dumps({**graph, "shapes": shapes}).encode() for graph in graphs]
    return [small.encode(), whole, one, *middles]


def seeds_onnx() -> list[bytes]:
    """Every head that the tests know, and a converted symbol."""
    with tempfile.TemporaryDirectory() as folder:
        files = [network_file(Path(folder), nodes).read_bytes() for nodes in HEADS.values()]
    constant = onnx.load_model_from_string(files[0])
    weight = constant.graph.initializer.pop()
    node = onnx.helper.make_node("Constant", [], [weight.name], value=weight)
    constant.graph.node.insert(0, node)
    converted = to_onnx(*small_graph(side=SIDE), (3, SIDE, SIDE))
    return [*files, constant.SerializeToString(), converted.SerializeToString()]


def seeds_cards() -> list[bytes]:
    """One that says everything."""
    lines = (
        *("size = 112", 'colour = "BGR"', "mean = 127.5", "scale = 0.0078125", "rate = 0.4"),
        *("trained_with_dropout = false", "alpha = 130.0", "r = 0.88", 'title = "mine"'),
    )
    return ["\n".join(lines).encode()]


def seeds_images() -> list[bytes]:
    """Small photos of every format and mode, turned, animated and progressive."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 4), dtype=np.uint8)
    picture = Image.fromarray(noise, "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    ways = [
        *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(("JPEG", mode, {"exif": exif}) for mode in ("L", "RGB", "CMYK")),
        *(("JPEG", "RGB", {"subsampling": n, "progressive": True}) for n in range(3)),
        *(("WEBP", mode, {"lossless": n}) for mode in ("RGB", "RGBA") for n in (False, True)),
        *(
            (form, "RGB", {"save_all": True, "append_images": [picture]})
            for form in ("PNG", "WEBP")
        ),
    ]
    files = []
    for form, mode, settings in ways:
        file = io.BytesIO()
        grey = picture.convert("L") if mode == "I;16" else picture
        grey.convert(mode).save(file, form, **settings)
        files.append(file.getvalue())
    return files


def seeds_faces() -> list[bytes]:
    """A size, and pixels that are landmarks as well."""
    dice = np.random.default_rng(0)
    shapes = [np.array(size, "<u2").tobytes() for size in ((0, 0), (599, 0), (112, 96))]
    places = [dice.uniform(0, 112, 10).astype("<f4").tobytes(), b"\0" * 40, b"\x7f" * 40]
    return [shape + place + dice.bytes(400) for shape in shapes for place in places]


Target = Callable[[bytes], None]
Mutator = Callable[[bytes, random.Random], bytes]
TARGETS: dict[str, tuple[Target, Mutator, Callable[[], list[bytes]]]] = {
    "params": (fuzz_params, mutate_bytes, seeds_params),
    "symbol": (fuzz_symbol, mutate_symbol, seeds_symbol),
    "onnx": (fuzz_onnx, mutate_onnx, seeds_onnx),
    "cards": (fuzz_cards, mutate_cards, seeds_cards),
    "images": (fuzz_images, mutate_container, seeds_images),
    "faces": (fuzz_faces, mutate_bytes, seeds_faces),
}


# How it runs


def keep(target: str, data: bytes, error: BaseException) -> None:
    """Write a finding down, once for each place that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).stem}-{f.lineno}" for f in frames if "serfiq" in f.filename]
    place = ours[-1] if ours else "tool"
    path = FINDINGS / f"{target}-{type(error).__name__}-{place}"
    if not path.exists():
        path.write_bytes(data)
        text = "".join(traceback.format_exception(error))
        path.with_suffix(".txt").write_text(text, errors="backslashreplace")
        print(f"\nFINDING {path}: {error!a:.200}", flush=True)


def child(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target until the time is over or the process dies."""
    fuzz, mutate, _ = TARGETS[name]

    def once(data: bytes) -> None:
        try:
            fuzz(data)
        except SerfiqError as error:
            try:
                str(error).encode()  # can be shown
            except UnicodeEncodeError as unprintable:
                keep(name, data, unprintable)
        except Exception as error:  # noqa: BLE001  # this is what is looked for
            keep(name, data, error)

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)  # noqa: S311  # no secret
        if dice.random() < 0.7:  # noqa: PLR2004
            with contextlib.suppress(Exception):  # what is broken already is left to libFuzzer
                for _ in range(dice.choice((1, 1, 1, 2, 4))):
                    data = mutate(data, dice)
                return data[:max_size]
        return bytes(atheris.Mutate(data, max_size))

    used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS_EACH}",
        f"-artifact_prefix={FINDINGS}/{name}-",
        "-rss_limit_mb=0",
        "-max_len=200000",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], once, custom_mutator=change)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Fuzz target after target, each again if it crashes; say what was found."""
    if arguments[:1] == ["--child"]:
        child(arguments[1], int(arguments[2]), Path(arguments[3]))
    minutes = float(arguments.pop(0)) if arguments and arguments[0][:1].isdigit() else 10.0
    names = arguments or list(TARGETS)
    FINDINGS.mkdir(exist_ok=True)
    for name in names:
        end, runs = time.monotonic() + minutes * 60 / len(names), 0
        with tempfile.TemporaryDirectory() as corpus:
            for seed in TARGETS[name][2]():
                (Path(corpus) / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
            while (left := int(end - time.monotonic())) > 0:
                command = [sys.executable, __file__, "--child", name, str(left), corpus]
                done = subprocess.run(
                    command, capture_output=True, text=True, errors="replace", check=False
                )
                runs += max(map(int, re.findall(r"#(\d+)", done.stderr)), default=0)
                for line in re.findall(r"^FINDING.*", done.stdout, re.MULTILINE):
                    print(line)
                if done.returncode:
                    print(f"{name} died ({done.returncode}):\n{done.stderr[-1500:]}")
        print(f"{name}: {runs} runs")
    found = sorted(path.name for path in FINDINGS.iterdir() if path.suffix != ".txt")
    print(f"{len(found)} findings", *found, sep="\n  ")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
