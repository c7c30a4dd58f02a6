"""The OpenVINO engine against ONNX Runtime: same masks, same scores; and what it refuses."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx_files import FLAT, GEMM, HEADS, SIDE, network_file
from parity import BF16, FP32, agree, keeps_the_order, opened, pixels_of, random_faces, raw
from small_networks import matrices

from serfiq_widgets import Scorer, find_face
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints import load_network, on_top
from serfiq_widgets.engines import Normalisation
from serfiq_widgets.errors import CorruptModel, EngineUnavailable

pytest.importorskip("openvino", reason="openvino, which this engine runs in, is not here")

from serfiq_widgets.engines.openvino import precisions

RAW = 1e-6  # what rounding in float32 may move a raw score


def test_the_bundled_network(scorer, sample_faces):
    faces = np.stack(sample_faces[:3])
    agree(scorer.network, faces, scorer.card.normalisation, scorer.rate, engine="openvino")


def test_a_network_from_elsewhere(y1_scorer, lfw_faces):
    faces = pixels_of(lfw_faces[:3])
    agree(y1_scorer.network, faces, y1_scorer.card.normalisation, y1_scorer.rate, engine="openvino")


def test_whole_scores_agree(scorer, sample_faces):
    theirs, ours = scorer, Scorer(engine="openvino", device="cpu")
    for pixels in sample_faces[:4]:
        face = find_face(pixels, aligned=True)
        one, other = ours.score(face), theirs.score(face)
        assert (one.engine, one.device) == ("openvino", "cpu")
        assert one.raw == pytest.approx(other.raw, abs=RAW)
        assert one.controlled == pytest.approx(other.controlled, abs=RAW)
        assert one.limit == pytest.approx(other.limit, abs=RAW)


@pytest.mark.parametrize("head", HEADS)
def test_what_exporters_write(tmp_path, head):
    network = load_network(network_file(tmp_path, HEADS[head]))
    agree(network, random_faces(side=SIDE), Normalisation(size=(SIDE, SIDE)), engine="openvino")


def test_an_on_top_head(tmp_path, scorer, sample_faces):
    card = {"rate": 0.3, "alpha": 40.0, "r": 0.6, "population": "nobody", "base": "mini"}
    path = tmp_path / "top.npz"
    path.write_bytes(on_top.to_bytes(on_top.from_matrices(matrices(), **card, shift=2.0)))
    network = Scorer(path, engine="onnxruntime").network
    faces = np.stack(sample_faces[:2])
    agree(network, faces, scorer.card.normalisation, 0.3, engine="openvino")


def test_batches_of_all_sizes_in_turn(scorer, sample_faces):
    ours = opened(scorer.network, engine="openvino", normalisation=scorer.card.normalisation)
    faces = np.stack(sample_faces)
    whole = scorer.engine.trunk(faces)
    kept = ours.trunk(faces[:2])
    before = kept.copy()
    for count in (1, 5, len(faces), 3, 1, 16):
        rows = np.resize(faces, (count, *faces.shape[1:]))
        wanted = np.resize(whole, (count, *whole.shape[1:]))
        np.testing.assert_allclose(ours.trunk(rows), wanted, atol=FP32 * np.abs(whole).max())
    np.testing.assert_array_equal(kept, before)  # not a view of the runtime's memory


def test_many_threads_share_it(scorer, sample_faces):
    ours = opened(scorer.network, engine="openvino", normalisation=scorer.card.normalisation)
    masks = scorer.masks(20)
    faces = [pixels[None] for pixels in sample_faces] * 4
    alone = [raw(ours, face, masks, scorer._head) for face in faces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda face: raw(ours, face, masks, scorer._head), faces))
    np.testing.assert_allclose(together, alone, atol=RAW)


def test_bf16_keeps_the_order_of_faces(scorer, lfw_faces):
    if "bf16" not in precisions():
        pytest.skip("this processor has no bf16")
    keeps_the_order(scorer, pixels_of(lfw_faces), BF16, "bf16", engine="openvino")
    auto = opened(scorer.network, engine="auto", precision="bf16")
    assert (auto.name, auto.precision) == ("openvino", "bf16")


def test_precision_is_fp32_unless_asked_for(scorer):
    assert opened(scorer.network, engine="openvino").precision == "fp32"
    with pytest.raises(EngineUnavailable, match=r"openvino on cpu computes in fp32.*not in fp16"):
        opened(scorer.network, engine="openvino", precision="fp16")


def test_it_runs_on_cpus_alone(scorer):
    with pytest.raises(EngineUnavailable, match="runs on CPUs"):
        opened(scorer.network, engine="openvino", device="cuda")
    assert opened(scorer.network, engine="openvino", device="auto").device == "cpu"


def test_faces_of_another_size_are_refused(tmp_path):
    network = load_network(network_file(tmp_path, [FLAT, GEMM]))
    with pytest.raises(CorruptModel, match=r"(?s)net\.onnx.*112"):
        opened(network, engine="openvino").trunk(random_faces())


def test_masks_that_change_are_seen(tmp_path):
    network = load_network(network_file(tmp_path, HEADS["Gemm"]))
    ours, theirs = (opened(network, engine=name) for name in ("openvino", "onnxruntime"))
    features = np.random.default_rng(2).normal(size=network.n_features).astype("f4")
    masks = rb.draw_masks(50, network.n_features, 0.4, seed=0)
    for rows in (masks, masks[:20], ~masks, masks[::-1]):
        one, other = (rb.normalise(engine.passes(features, rows)) for engine in (ours, theirs))
        np.testing.assert_allclose(one, other, atol=1e-5)
