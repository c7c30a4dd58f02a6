"""The torch engine against ONNX Runtime: same masks, same scores; and what it refuses.

The tests of CUDA run where torch sees a GPU; those of the CPU cover all but capturing.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import FLAT, GEMM, HEADS, SIDE, network_file
from parity import (
    BF16,
    FP32,
    agree,
    keeps_the_order,
    length,
    opened,
    pixels_of,
    random_faces,
    raw,
)
from small_networks import matrices, small_iresnet

from serfiq_widgets import Scorer, find_face
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints import load_network, on_top
from serfiq_widgets.checkpoints.onnx_file import parse_onnx
from serfiq_widgets.checkpoints.split import cut_network
from serfiq_widgets.cli.doctor import diagnose
from serfiq_widgets.engines import Normalisation
from serfiq_widgets.engines.batch import DropoutHead, HostBatch, open_batch
from serfiq_widgets.engines.hardware import gpu_is_likely
from serfiq_widgets.engines.torch_export import export
from serfiq_widgets.errors import BadSetting, CorruptModel, EngineUnavailable
from serfiq_widgets.scoring.estimates import estimates

pytest.importorskip("torch", reason="torch, which this engine runs in, is not here")

import torch

from serfiq_widgets.engines.torch_batch import TorchBatch
from serfiq_widgets.engines.torch_device import flags

CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not CUDA, reason="torch sees no NVIDIA GPU here")


def small_network(side=112, dimensions=256):
    content, rate = export(small_iresnet(torch, side, dimensions), side)
    whole = parse_onnx(content, "module")
    return cut_network(whole, [content], None, name="module", side=side), rate


def test_the_bundled_network(scorer, sample_faces):
    agree(scorer.network, np.stack(sample_faces[:3]), scorer.card.normalisation, scorer.rate)


def test_a_network_from_elsewhere(y1_scorer, lfw_faces):
    faces = pixels_of(lfw_faces[:3])
    agree(y1_scorer.network, faces, y1_scorer.card.normalisation, y1_scorer.rate)


def test_whole_scores_agree(scorer, sample_faces):
    theirs, ours = scorer, Scorer(engine="torch", device="cpu")
    for pixels in sample_faces[:2]:
        face = find_face(pixels, aligned=True)
        one, other = ours.score(face), theirs.score(face)
        assert (one.engine, one.device) == ("torch", "cpu")
        assert one.raw == pytest.approx(other.raw, abs=FP32)
        assert one.limit == pytest.approx(other.limit, abs=FP32)


def both_batches(scorer, ours, faces):
    """The same features on the device and on the host."""
    head = DropoutHead.of(scorer.network.head, scorer.rate)
    one = open_batch(ours, faces, head)
    other = HostBatch(ours, faces, head)
    np.testing.assert_allclose(one.features, other.features, rtol=1e-5, atol=1e-6)
    return one, other


@pytest.mark.parametrize("passes", [2, 3, 8, 100])
def test_sums_on_the_device_are_those_of_the_host(scorer, sample_faces, passes):
    ours = opened(scorer.network, scorer.rate, normalisation=scorer.card.normalisation)
    one, other = both_batches(scorer, ours, np.stack(sample_faces))
    masks = scorer.masks(passes)
    for part, same in zip(vars(one.moments).values(), vars(other.moments).values(), strict=True):
        np.testing.assert_allclose(part, same, rtol=1e-5)
    found, wanted = one.pass_sums(masks), other.pass_sums(masks)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-6)
    np.testing.assert_allclose(found.error, wanted.error, rtol=1e-4)
    np.testing.assert_allclose(found.pairs, wanted.pairs, rtol=1e-3, atol=1e-6 * passes**2)
    for x, y in zip(estimates(found, one.moments), estimates(wanted, other.moments), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    few = np.array([2, 0])
    again = one.pass_sums(masks, few)
    np.testing.assert_allclose(again.mean, found.mean[few], atol=1e-6)
    np.testing.assert_allclose(one.embeddings(), other.embeddings(), rtol=1e-4, atol=1e-4)


def test_a_batch_has_the_numbers_of_the_host(scorer, sample_faces):
    ours = Scorer(engine="torch", device="cpu")
    faces = [find_face(pixels, aligned=True) for pixels in sample_faces]
    for passes in (5, 100, "auto"):
        found, wanted = (one.score_batch(faces, passes, embed=True) for one in (ours, scorer))
        for name in ("raw", "low", "high", "controlled", "controlled_low", "closed_form"):
            np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-6)
        np.testing.assert_allclose(found.margin, wanted.margin, atol=1e-3)
        np.testing.assert_array_equal(found.passes, wanted.passes)
        np.testing.assert_allclose(found.embeddings, wanted.embeddings, atol=1e-4)


@pytest.mark.parametrize(("rate", "count"), [(0.01, 5), (0.4, 5), (0.9, 5), (0.4, 20)])
def test_many_features_and_rare_or_strong_dropout(rate, count):
    """tr Σ² is estimated for so many features; distances may be small against lengths."""
    network, _ = small_network(160, 48)
    size = Normalisation("RGB", 127.5, 1 / 127.5, (160, 160))
    ours = opened(network, rate, normalisation=size)
    faces = random_faces(count, 160)
    head = DropoutHead.of(network.head, rate)
    assert head.terms.squares is None
    one, other = open_batch(ours, faces, head), HostBatch(ours, faces, head)
    masks = rb.draw_masks(60, network.head.n_units, rate, seed=3)
    for x, y in zip(
        estimates(one.pass_sums(masks), one.moments),
        estimates(other.pass_sums(masks), other.moments),
        strict=True,
    ):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_masked_matrices_and_little_memory_give_the_same(scorer, sample_faces):
    ours = opened(scorer.network, scorer.rate, normalisation=scorer.card.normalisation)
    faces = np.concatenate([sample_faces] * 12)
    batch, masks = open_batch(ours, faces, scorer._head), scorer.masks(40)
    assert 2 * len(faces) > scorer.network.n_dimensions
    by_matrices = batch.pass_sums(masks)
    assert len(ours._head._matrices) == 40
    few = batch.pass_sums(masks[:10])
    ours._on.memory = 3_000_000
    for found, wanted in [
        (batch.pass_sums(masks), by_matrices),
        (batch.pass_sums(masks[:10]), few),
    ]:
        np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-6)
        np.testing.assert_allclose(found.pairs, wanted.pairs, rtol=1e-3, atol=1e-4)


def test_empty_features_have_no_score(tmp_path):
    """A dead trunk on the device, as on the host: the scores are NaN, the moments those of 0."""
    network = load_network(network_file(tmp_path, HEADS["Gemm"]))
    faces = random_faces(side=SIDE)
    ours = opened(network, normalisation=Normalisation(size=(SIDE, SIDE)))
    head = DropoutHead.of(network.head, 0.4)
    features = torch.from_numpy(ours.trunk(faces).copy())
    features[0], features[1, 0] = 0, torch.nan
    batch = TorchBatch(ours._on, ours._head, features, head)
    np.testing.assert_array_equal(batch.empty, [True, True, False])
    np.testing.assert_array_equal(batch.moments.scatter[:2], 0)
    assert np.isfinite(batch.pass_sums(rb.draw_masks(9, network.n_features, 0.4)).pairs[:, 2]).all()


@pytest.mark.parametrize("head", HEADS)
def test_what_exporters_write(tmp_path, head):
    network = load_network(network_file(tmp_path, HEADS[head]))
    agree(network, random_faces(side=SIDE), Normalisation(size=(SIDE, SIDE)))


def test_an_export_of_one_face_takes_many(tmp_path):
    nodes = [("Reshape", ["maps", "shape"], "rows", {}), ("Relu", ["rows"], "flat", {}), GEMM]
    path = network_file(tmp_path, nodes)
    model = onnx.load(path)
    shape = next(w for w in model.graph.initializer if w.name == "shape")
    shape.CopyFrom(numpy_helper.from_array(np.array([1, -1]), "shape"))
    onnx.save(model, path)
    agree(load_network(path), random_faces(4, SIDE), Normalisation(size=(SIDE, SIDE)))


@pytest.mark.parametrize(
    "normalisation",
    [
        Normalisation("BGR", 127.5, 1 / 128),
        Normalisation(size=(SIDE, SIDE), scale=1 / 255),
        Normalisation("BGR", size=(2 * SIDE, 2 * SIDE)),
    ],
)
def test_pixels_are_given_as_the_network_wants_them(tmp_path, normalisation):
    nodes = [("GlobalAveragePool", ["maps"], "pooled", {}), ("Flatten", ["pooled"], "flat", {})]
    gemm = ("Gemm", ["flat", "few"], "fc", {"transB": 1})
    path = network_file(tmp_path, [*nodes, gemm])
    model = onnx.load(path)
    for axis, size in zip((2, 3), normalisation.size, strict=True):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, path)
    agree(load_network(path), random_faces(), normalisation)


def test_a_module_of_another_size_and_many_dimensions():
    network, rate = small_network(160, 1024)
    assert network.n_dimensions == 1024
    agree(network, random_faces(), Normalisation("RGB", 127.5, 1 / 127.5, (160, 160)), rate)


def test_an_on_top_head(tmp_path, scorer, sample_faces):
    card = {"rate": 0.3, "alpha": 40.0, "r": 0.6, "population": "nobody", "base": "mini"}
    path = tmp_path / "top.npz"
    path.write_bytes(on_top.to_bytes(on_top.from_matrices(matrices(), **card, shift=2.0)))
    top = Scorer(path, engine="onnxruntime")
    agree(top.network, np.stack(sample_faces[:2]), scorer.card.normalisation, 0.3)


def test_masks_that_change_are_seen(tmp_path):
    network = load_network(network_file(tmp_path, HEADS["Gemm"]))
    ours, theirs = opened(network), opened(network, engine="onnxruntime")
    features = np.random.default_rng(2).normal(size=network.n_features).astype("f4")
    masks = rb.draw_masks(50, network.n_features, 0.4, seed=0)
    many = rb.normalise(ours.passes(features, masks))
    few = rb.normalise(ours.passes(features, masks[:20]))
    np.testing.assert_allclose(few, many[:20], atol=1e-6)
    masks[3] = ~masks[3]  # the same array, of other contents
    for rows in (masks, masks[:20], masks[10:30], masks[::-1]):
        one, other = (rb.normalise(engine.passes(features, rows)) for engine in (ours, theirs))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_bf16_keeps_the_order_of_faces(scorer, lfw_faces):
    faces = pixels_of(lfw_faces[:60])
    keeps_the_order(scorer, faces, BF16, "bf16")


def test_a_network_that_leaves_fp16_says_so(tmp_path):
    network = load_network(network_file(tmp_path, HEADS["Gemm"]))
    far = Normalisation(size=(SIDE, SIDE), scale=1e3)
    engine = opened(network, precision="fp16", normalisation=far)
    with pytest.raises(BadSetting, match=r"exceeds the range of fp16\. Take bf16"):
        engine.trunk(random_faces(side=SIDE))
    assert opened(network, precision="bf16", normalisation=far).trunk(random_faces()).any()


def test_precisions(scorer):
    assert opened(scorer.network).precision == "fp32"
    engine = opened(scorer.network, engine="auto", precision="bf16")
    assert engine.name in ("openvino", "torch")
    assert opened(scorer.network, engine="auto", precision="fp16").name == "torch"
    with pytest.raises(EngineUnavailable, match="torch on cpu computes in fp32 or bf16 or fp16"):
        opened(scorer.network, precision="tf32")
    with pytest.raises(EngineUnavailable, match=r"onnxruntime on cpu .* --engine torch"):
        opened(scorer.network, engine="onnxruntime", precision="fp16")
    with pytest.raises(BadSetting, match=r"no precision 'int8'.*auto, fp32, tf32, bf16, fp16"):
        opened(scorer.network, precision="int8")


def test_devices(scorer):
    for wrong in ("mps:1", "gpu", "cuda:x"):
        with pytest.raises(BadSetting, match=f"no device '{wrong}'.*cuda:1.*mps"):
            opened(scorer.network, device=wrong)
    with pytest.raises(EngineUnavailable, match=r"onnxruntime has no mps\. Take --engine torch"):
        opened(scorer.network, engine="onnxruntime", device="mps")
    if not CUDA:
        with pytest.raises(EngineUnavailable, match=r"--device cpu") as refused:
            opened(scorer.network, device="cuda")
        assert "CUDA" in str(refused.value)
    if not torch.backends.mps.is_available():
        with pytest.raises(EngineUnavailable, match="a Mac with Apple silicon"):
            opened(scorer.network, device="mps")


def test_an_operator_that_is_not_known(tmp_path):
    nodes = [("LRN", ["maps"], "near", {"size": 3}), ("Flatten", ["near"], "flat", {}), GEMM]
    network = load_network(network_file(tmp_path, nodes))
    with pytest.raises(EngineUnavailable, match=r"operator 'LRN'\. Take --engine onnxruntime"):
        opened(network)


def test_faces_of_another_size_are_refused(tmp_path):
    network = load_network(network_file(tmp_path, [FLAT, GEMM]))
    with pytest.raises(CorruptModel, match=r"(?s)net\.onnx.*112"):
        opened(network).trunk(random_faces())


@pytest.mark.parametrize("opset", [7, 8, 13])
def test_batch_norms_of_all_ages(opset):
    """In front of a convolution, where it stays; behind one, where it is folded; and twice used."""
    norm = ["gamma", "beta", "mean", "variance"]
    nodes = [
        ("BatchNormalization", ["data", *(f"{n}3" for n in norm)], "before", {"epsilon": 1e-3}),
        ("Conv", ["before", "kernel3"], "seen", {"pads": [1, 0, 1, 0]}),
        ("BatchNormalization", ["seen", *(f"{n}3" for n in norm)], "after", {}),
        ("PRelu", ["after", "slope"], "bent", {}),
        ("Sum", ["bent", "seen", "after"], "all", {}),
        ("MaxPool", ["all"], "most", {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}),
        ("Flatten", ["most"], "features", {}),
    ]
    rng = np.random.default_rng(4)
    weights = {f"{name}3": rng.uniform(0.5, 2, 3) for name in norm}
    weights |= {"kernel3": rng.normal(size=(3, 3, 3, 1)), "slope": rng.normal(size=(3, 1, 1))}
    graph = helper.make_graph(
        [helper.make_node(kind, i, [out], **settings) for kind, i, out, settings in nodes],
        "net",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", "F"])],
        [numpy_helper.from_array(v.astype("f4"), k) for k, v in weights.items()],
    )
    import onnxruntime

    from serfiq_widgets.engines.torch_graph import TorchGraph

    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    data = rng.normal(size=(2, 3, SIDE, SIDE)).astype("f4")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = TorchGraph(model, torch.device("cpu"), torch.float32)(torch.from_numpy(data))
    np.testing.assert_allclose(found.numpy(), session.run(None, {"data": data})[0], atol=1e-4)


def test_settings_of_torch_are_left_as_they_were():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_bf16_reduced_precision_reduction)
    for precision in ("fp32", "tf32", "bf16"):
        with flags(precision), flags("fp32"):
            assert not matmul.allow_bf16_reduced_precision_reduction
    assert before == (
        matmul.allow_tf32,
        cudnn.allow_tf32,
        matmul.allow_bf16_reduced_precision_reduction,
    )


@pytest.mark.skipif(gpu_is_likely(), reason="with a GPU, auto has reason to import torch")
def test_auto_does_not_import_torch_for_nothing():
    code = (
        "import sys, serfiq_widgets; engine = serfiq_widgets.Scorer().engine;"
        "print(engine.name, engine.device, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name, device, torch_is_loaded = done.stdout.split()
    assert name in ("onnxruntime", "openvino")
    assert (device, torch_is_loaded) == ("cpu", "False")


def test_doctor_says_which_gpu_paths_work():
    checks = {check.what: check for check in diagnose()}
    assert checks["engine torch"].version == torch.__version__
    by_torch = checks["GPU by torch"]
    if CUDA:
        assert (by_torch.works, by_torch.remark) == (True, "works: cuda")
        assert torch.cuda.get_device_name(0) in checks["GPU"].remark
    elif not torch.backends.mps.is_available():
        assert not by_torch.works
        assert "pip install 'serfiq_widgets[gpu]'" in by_torch.remark
    for name in ("onnxruntime", "mxnet"):
        check = checks[f"GPU by {name}"]
        assert check.remark.startswith("works: cuda" if check.works else "for NVIDIA")
    assert not any(check.needed for what, check in checks.items() if what.startswith("GPU"))


@needs_cuda
@pytest.mark.parametrize("count", [1, 5])
def test_cuda_gives_the_same(scorer, sample_faces, count):
    faces = np.stack(sample_faces[:count])
    ours = agree(scorer.network, faces, scorer.card.normalisation, scorer.rate, device="cuda")
    assert all(runner.captured for runner in ours._trunk._runners.values())


@needs_cuda
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("tf32", BF16 / 2), ("bf16", BF16), ("fp16", BF16 / 2)]
)
def test_cuda_in_low_precision_keeps_the_order(scorer, lfw_faces, precision, tolerance):
    if torch.cuda.get_device_capability()[0] < 8 and precision != "fp16":
        pytest.skip("this GPU is older than tf32 and bf16")
    keeps_the_order(scorer, pixels_of(lfw_faces), tolerance, precision, device="cuda")


@needs_cuda
def test_captured_graphs_come_and_go(scorer, sample_faces):
    ours = opened(scorer.network, device="cuda", normalisation=scorer.card.normalisation)
    faces = np.concatenate([sample_faces, sample_faces])
    whole = scorer.engine.trunk(faces)
    for count in [*range(1, len(faces) + 1)] * 3:
        part = ours.trunk(faces[:count])
        assert (length(part - whole[:count]) <= FP32 * length(whole[:count])).all()
    kept = ours.trunk(faces[:2])
    before = kept.copy()
    ours.trunk(faces[2:4])  # through the same buffers
    np.testing.assert_array_equal(kept, before)
    ours.normalisation = Normalisation("BGR", scorer.card.mean, scorer.card.scale)
    turned = ours.trunk(faces[:2])
    ours.normalisation = scorer.card.normalisation
    right = ours.trunk(np.ascontiguousarray(faces[:2, ..., ::-1]))
    assert (length(turned - right) <= FP32 * length(right)).all()


@needs_cuda
def test_cuda_from_many_threads(scorer, sample_faces):
    ours = opened(scorer.network, device="cuda", normalisation=scorer.card.normalisation)
    masks = scorer.masks(20)
    faces = [np.stack(sample_faces[i : i + 1]) for i in range(len(sample_faces))] * 6
    alone = [raw(ours, face, masks, scorer._head) for face in faces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda face: raw(ours, face, masks, scorer._head), faces))
    np.testing.assert_allclose(together, alone, atol=1e-6)


@needs_cuda
def test_there_are_only_so_many_gpus(scorer):
    with pytest.raises(EngineUnavailable, match="there is no 'cuda:99'"):
        opened(scorer.network, device="cuda:99")
    assert opened(scorer.network, engine="auto", device="auto").name == "torch"
