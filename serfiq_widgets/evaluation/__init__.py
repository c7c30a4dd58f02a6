"""Evaluation of quality scores: error versus discard, and its inputs.

::

    embeddings (N, D), identities (N,) - compare_all  --.
    scores and pairs                   - compare_pairs --> Comparisons
                                                               |
    qualities {name: (N,)} ----------------------------------> Table - evaluate -> Evaluation

Conventions: a comparison is accepted if its score is at or above the threshold; the quality of a
comparison is the lower quality of its two images; the threshold is that of all images unless
"re-derived" is chosen. These are pure functions on arrays.

>>> import numpy as np
>>> from serfiq_widgets.evaluation import Table, compare_pairs, evaluate
>>> compared = compare_pairs([0, 2, 4, 0], [1, 3, 5, 2], [0.9, 0.2, 0.8, 0.3], [1, 1, 1, 0])
>>> table = Table(compared, {"q": np.array([5, 6, 1, 7, 8, 9])})
>>> evaluate(table, fmr=0.5, draws=0).curves["q"].at([0, 0.2]).round(2).tolist()
[0.33, 0.0]
"""

from __future__ import annotations

from serfiq_widgets.evaluation.baselines import (
    brightness,
    chance,
    embedding_norm,
    oracle,
    sharpness,
)
from serfiq_widgets.evaluation.bootstrap import Resampled, Resampler, resample
from serfiq_widgets.evaluation.comparisons import (
    Comparisons,
    cap_pairs,
    compare_all,
    compare_pairs,
)
from serfiq_widgets.evaluation.curves import (
    Curve,
    Order,
    det,
    discard_curve,
    fnmr_at,
    rank,
    threshold_at,
)
from serfiq_widgets.evaluation.rank_agreement import Agreement, agreement, agreements
from serfiq_widgets.evaluation.saved import load, save
from serfiq_widgets.evaluation.table import Evaluation, Table, evaluate
from serfiq_widgets.evaluation.verification import Accuracy, accuracy, read_pairs

__all__ = [
    "Accuracy",
    "Agreement",
    "Comparisons",
    "Curve",
    "Evaluation",
    "Order",
    "Resampled",
    "Resampler",
    "Table",
    "accuracy",
    "agreement",
    "agreements",
    "brightness",
    "cap_pairs",
    "chance",
    "compare_all",
    "compare_pairs",
    "det",
    "discard_curve",
    "embedding_norm",
    "evaluate",
    "fnmr_at",
    "load",
    "oracle",
    "rank",
    "read_pairs",
    "resample",
    "save",
    "sharpness",
    "threshold_at",
]
