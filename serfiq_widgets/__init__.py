"""Face image quality by stochastic embedding robustness (SER-FIQ), live in Jupyter.

::

    image bytes - faces -> AlignedFace 112x112 RGB - engine.trunk -> features (F,)
                                                        |
                         seeded dropout masks (T,F) ----| engine.passes
                                                        v
                embeddings (T,D) - robustness -> QualityResult - figures -> Explorer -> Voila

>>> from serfiq_widgets import Scorer, samples
>>> Scorer().score(samples()["collins"]).quality > 50
True

No heavy package is imported here: each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from serfiq_widgets._version import __version__ as __version__

if TYPE_CHECKING:
    from serfiq_widgets.datasets.score_table import score_table
    from serfiq_widgets.errors import SerfiqError
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.faces.degradation import Degradation, Ruin
    from serfiq_widgets.faces.find import find_face
    from serfiq_widgets.images.read import read_image
    from serfiq_widgets.scoring.results import QualityResult
    from serfiq_widgets.scoring.samples import samples
    from serfiq_widgets.scoring.scorer import Scorer
    from serfiq_widgets.scoring.sensitivity import heatmap
    from serfiq_widgets.widgets.bias_explorer import BiasExplorer
    from serfiq_widgets.widgets.camera import Camera
    from serfiq_widgets.widgets.compare import ComparePanel
    from serfiq_widgets.widgets.degradation_lab import DegradationLab
    from serfiq_widgets.widgets.evaluation_explorer import EvaluationExplorer
    from serfiq_widgets.widgets.explorer import Explorer
    from serfiq_widgets.widgets.passes import RunningScoreView, SpreadView
    from serfiq_widgets.widgets.predict import PredictPanel
    from serfiq_widgets.widgets.stage import Stage

__all__ = [
    "AlignedFace",
    "BiasExplorer",
    "Camera",
    "ComparePanel",
    "Degradation",
    "DegradationLab",
    "EvaluationExplorer",
    "Explorer",
    "PredictPanel",
    "QualityResult",
    "Ruin",
    "RunningScoreView",
    "Scorer",
    "SerfiqError",
    "SpreadView",
    "Stage",
    "find_face",
    "heatmap",
    "read_image",
    "samples",
    "score_table",
]

_HOMES = {
    "AlignedFace": "faces.alignment",
    "BiasExplorer": "widgets.bias_explorer",
    "Camera": "widgets.camera",
    "ComparePanel": "widgets.compare",
    "DegradationLab": "widgets.degradation_lab",
    "EvaluationExplorer": "widgets.evaluation_explorer",
    "Explorer": "widgets.explorer",
    "PredictPanel": "widgets.predict",
    "QualityResult": "scoring.results",
    "Degradation": "faces.degradation",
    "Ruin": "faces.degradation",
    "RunningScoreView": "widgets.passes",
    "Scorer": "scoring.scorer",
    "SerfiqError": "errors",
    "SpreadView": "widgets.passes",
    "Stage": "widgets.stage",
    "find_face": "faces.find",
    "heatmap": "scoring.sensitivity",
    "read_image": "images.read",
    "samples": "scoring.samples",
    "score_table": "datasets.score_table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
