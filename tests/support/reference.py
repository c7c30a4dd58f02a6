"""The reference's algorithm, in its own framework: what our scores are held against.

T copies of a face run through the whole network in mxnet, with mxnet's own Dropout, always on,
inserted before the last fully connected layer of the MobileFaceNet checkpoint.
"""

from functools import cache

import numpy as np
import pytest

from serfiq_widgets import Scorer
from serfiq_widgets import robustness as rb
from serfiq_widgets.engines.mxnet import _import
from serfiq_widgets.errors import EngineUnavailable

PASSES, RATE, N_FEATURES = 100, 0.4, 512
SITE = "conv_6dw7_7_batchnorm_output"


def load(mx, checkpoint):
    """A checkpoint through mxnet's own loaders."""
    symbol = mx.sym.load(str(checkpoint))
    weights = checkpoint.name.replace("-symbol.json", "-0000.params")
    params = mx.nd.load(str(checkpoint.with_name(weights)))
    arg = {k[4:]: v for k, v in params.items() if k.startswith("arg:")}
    aux = {k[4:]: v for k, v in params.items() if k.startswith("aux:")}
    return symbol, arg, aux


def stochastic_head(mx, features):
    """Dropout that is always on, then the checkpoint's own head."""
    dropped = mx.sym.Dropout(features, p=RATE, mode="always", name="dropout0")
    weight, bias = mx.sym.var("fc1_weight"), mx.sym.var("pre_fc1_bias")
    layer = mx.sym.FullyConnected(dropped, weight, bias, num_hidden=128, name="pre_fc1")
    names = ("gamma", "beta", "moving_mean", "moving_var")
    values = [mx.sym.var(f"fc1_{name}") for name in names]
    return mx.sym.BatchNorm(layer, *values, fix_gamma=True, eps=2e-5, name="fc1")


@cache
def bound(checkpoint, *, whole):
    """The stochastic network (or its head alone), bound for T copies; the trunk; our scorer."""
    try:
        mx = _import()
    except EngineUnavailable:
        pytest.skip("mxnet is not installed here")
    symbol, arg, aux = load(mx, checkpoint)
    features = mx.sym.Flatten(symbol.get_internals()[SITE])
    source = features if whole else mx.sym.var("features")
    network = stochastic_head(mx, source)
    name, shape = ("data", (PASSES, 3, 112, 112)) if whole else ("features", (PASSES, N_FEATURES))
    values = {**arg, name: mx.nd.zeros(shape)}
    held = {k: values[k] for k in network.list_arguments()}
    states = {k: aux[k] for k in network.list_auxiliary_states()}
    executor = network.bind(mx.cpu(), held, aux_states=states)
    inputs = {k: v for k, v in arg.items() if k in features.list_arguments()}
    trunk = features.bind(
        mx.cpu(),
        {**inputs, "data": mx.nd.zeros((1, 3, 112, 112))},
        aux_states={k: aux[k] for k in features.list_auxiliary_states()},
    )
    return mx, name, executor, trunk, Scorer(checkpoint, engine="onnxruntime")


def score_of(embeddings):
    mean = rb.running_mean_distance(rb.pairwise_distances(embeddings))[-1]
    return float(rb.raw_score(mean))


def reference_scores(checkpoint, face, seeds, *, whole):
    """The reference's raw score of a face, once per seed; and our scorer, and its features."""
    mx, name, executor, trunk, scorer = bound(checkpoint, whole=whole)
    pixels = face.pixels.transpose(2, 0, 1)[None].astype(np.float32)
    one = pixels if whole else trunk.forward(is_train=False, data=mx.nd.array(pixels))[0].asnumpy()
    copies = mx.nd.array(np.repeat(one, PASSES, axis=0))
    theirs = []
    for seed in seeds:
        mx.random.seed(seed)
        output = executor.forward(is_train=False, **{name: copies})[0]
        theirs.append(score_of(rb.normalise(mx.nd.Flatten(output).asnumpy())))
    return theirs, scorer


def compare(checkpoint, face, seeds, *, whole):
    """Our mean score less the reference's over the seeds, and the standard error of that.

    Give every face seeds of its own: with the same masks the errors of all faces go together.
    """
    theirs, scorer = reference_scores(checkpoint, face, seeds, whole=whole)
    (features,) = scorer.features([face])
    masks = (rb.draw_masks(PASSES, N_FEATURES, RATE, seed) for seed in seeds)
    ours = [score_of(rb.normalise(scorer.engine.passes(features, one))) for one in masks]
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / len(seeds))
    return np.mean(ours) - np.mean(theirs), error


def compare_controlled(checkpoint, face, seeds, passes=5, *, whole):
    """Our controlled score of a few passes less the reference's mean, and the standard error."""
    theirs, scorer = reference_scores(checkpoint, face, seeds, whole=whole)
    result = scorer.score(face, passes)
    low, high = result.controlled_interval
    own = (high - low) / 4  # of a few passes: Student's t makes the interval a little wider
    error = np.hypot(own, np.std(theirs, ddof=1) / np.sqrt(len(seeds)))
    return result.controlled - np.mean(theirs), error
