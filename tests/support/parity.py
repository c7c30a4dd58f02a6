"""Any engine against ONNX Runtime: the same masks give the same features, passes and scores."""

import numpy as np
from scipy.stats import spearmanr

from serfiq_widgets import robustness as rb
from serfiq_widgets.control_variates import estimate_from
from serfiq_widgets.engines import open_engine
from serfiq_widgets.engines.batch import DropoutHead, open_batch

# Products of float32 differ by the order of their sums: 1e-7 each, grown through fifty layers to
# 1e-5 of a feature. The score moves by less than a distance does, and that by as much as features.
FP32 = 1e-4
# bfloat16 rounds at 2^-9 = .002: some thirty layers make .02 to .03 of the features, of which the
# mean over all pairs leaves little. Twice the most that was seen among 1,000 faces, .00102.
BF16 = 2e-3


def opened(network, rate=0.4, engine="torch", device="cpu", **settings):
    return open_engine(network, rate, engine=engine, device=device, **settings)


def pixels_of(faces):
    return np.stack([face.pixels for face in faces])


def length(rows):
    return np.linalg.norm(rows, axis=-1)


def raw(engine, faces, masks, head):
    return rb.raw_score(open_batch(engine, faces, head).pass_sums(masks).mean)


def agree(network, faces, normalisation, rate=0.4, **engine):
    """Trunk, embeddings, passes and spread are ONNX Runtime's, as far as float32 goes."""
    theirs = opened(network, rate, "onnxruntime", normalisation=normalisation)
    ours = opened(network, rate, normalisation=normalisation, precision="fp32", **engine)
    features = theirs.trunk(faces)
    for _ in range(1 if ours.device == "cpu" else 3):  # CUDA captures at the second and replays
        found = ours.trunk(faces)
        assert found.dtype == np.float32
        assert (length(found - features) <= FP32 * length(features)).all()
    np.testing.assert_allclose(ours.embed(features), theirs.embed(features), atol=FP32)
    masks = rb.draw_masks(40, network.head.n_units, rate, seed=0)
    for row in features[:2]:
        one, other = (rb.normalise(engine.passes(row, masks)) for engine in (ours, theirs))
        np.testing.assert_allclose(one, other, atol=FP32)
    head = DropoutHead.of(network.head, rate)
    batches = [open_batch(engine, faces, head) for engine in (ours, theirs)]
    one, other = (batch.pass_sums(masks) for batch in batches)
    np.testing.assert_allclose(one.mean, other.mean, rtol=FP32)
    np.testing.assert_allclose(one.error, other.error, rtol=FP32, atol=FP32 * other.mean.max())
    if network.head.is_affine:
        found, wanted = (
            estimate_from(batch.pass_sums(masks).pairs, len(masks), batch.moments)
            for batch in batches
        )
        np.testing.assert_allclose(found.mean, wanted.mean, atol=FP32 * wanted.mean.max())
        np.testing.assert_allclose(found.interval(), wanted.interval(), atol=FP32)
    else:
        assert np.isnan(one.pairs).all()
    return ours


def random_faces(count=3, side=112):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def keeps_the_order(scorer, faces, tolerance, precision, **engine):
    """Raw scores in low precision differ by less than this, and faces keep their order."""
    normalisation = scorer.card.normalisation
    masks = scorer.masks(100)
    ours = opened(
        scorer.network, scorer.rate, normalisation=normalisation, precision=precision, **engine
    )
    assert ours.precision == precision
    head = DropoutHead.of(scorer.network.head, scorer.rate)
    found, wanted = (raw(engine, faces, masks, head) for engine in (ours, scorer.engine))
    assert np.abs(found - wanted).max() < tolerance
    # .9998 among 1,000 faces; the fewer there are, the more a single exchange of places counts
    assert spearmanr(found, wanted)[0] > 0.998
