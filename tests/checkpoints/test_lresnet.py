"""The reference's own network, LResNet100E-IR, with random weights: loads, splits, agrees."""

import json
import shutil

import numpy as np
import pytest
from checkpoint_files import fill

from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints import load_network
from serfiq_widgets.engines import open_engine

PASSES = 20
FACES = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def path(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lresnet")
    yield fill(shared / "models" / "lresnet100e-ir" / "model-symbol.json", folder)
    shutil.rmtree(folder)  # 260 MB


@pytest.fixture(scope="module")
def network(path):
    return load_network(path)


@pytest.fixture(scope="module")
def engines(mx, network):  # noqa: ARG001  # without mxnet there is nothing to agree with
    """Both engines, with the features that each finds in the faces."""
    opened = [open_engine(network, network.rate, engine=e) for e in ("onnxruntime", "mxnet")]
    return [(engine, engine.trunk(FACES)) for engine in opened]


def length(rows):
    return np.linalg.norm(rows, axis=-1)


@pytest.mark.slow
def test_it_splits_at_its_dropout(path, network):
    nodes = json.loads(path.read_text())["nodes"]
    dropout = next(node for node in nodes if node["name"] == "dropout0")
    assert network.site == nodes[dropout["inputs"][0][0]]["name"] == "bn1"
    assert (network.rate, network.n_features, network.n_dimensions) == (0.4, 25088, 512)
    assert network.input_size == (112, 112)


@pytest.mark.slow
def test_the_trunks_agree(engines):
    (_, ours), (_, theirs) = engines
    assert ours.shape == theirs.shape == (2, 25088)
    assert (length(ours - theirs) < 1e-3 * length(theirs)).all()
    # the weights are such that this says something: numbers of size 1, which differ by the face
    np.testing.assert_allclose(ours.std(axis=1), 1, atol=0.5)
    assert length(ours[0] - ours[1]) > 0.1 * length(ours[0])


def test_the_embeddings_under_the_same_masks_agree(engines, network):
    masks = rb.draw_masks(PASSES, network.n_features, network.rate, seed=0)
    for face in range(len(FACES)):
        ours, theirs = (
            rb.normalise(engine.passes(features[face], masks)) for engine, features in engines
        )
        assert ours.shape == (PASSES, 512)
        assert (length(ours - theirs) < 1e-3).all()
        assert length(ours[0] - ours[1]) > 0.1  # dropout moves them a hundred times as far


def test_trunk_and_head_are_mxnets_whole_network(mx, path, engines):
    from reference import load

    symbol, arg, aux = load(mx, path)
    data = FACES.transpose(0, 3, 1, 2).astype(np.float32)
    bound = symbol.bind(mx.cpu(), {**arg, "data": mx.nd.array(data)}, aux_states=aux)
    whole = rb.normalise(bound.forward(is_train=False)[0].asnumpy())
    for engine, features in engines:
        assert (length(engine.embed(features) - whole) < 1e-3).all()
