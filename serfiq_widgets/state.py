"""What the explorers show, without any widget: image, ruin, passes, result.

Every face is scored once with all passes. The slider only chooses how many of them count, so a move
costs no inference; a change of the ruin costs one pass through the trunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import traitlets as t

from serfiq_widgets.degrade import Ruin
from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.scorer import QualityResult, Scorer, check_passes

log = logging.getLogger(__name__)

MOST_PASSES = 200
SURPRISE = "Something went wrong on our side; the photo before is still there. Try another one."


class ExplorerState(t.HasTraits):
    """What an explorer shows, without any widget.

    Attributes
    ----------
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array or AlignedFace
        Setting it scores it and takes the ruin away. If that fails, ``message`` says why and the
        last result stays.
    ruin : Ruin
        What is done to the aligned face before it is scored.
    passes : int
        How many passes count, 2 to 200.
    clean : QualityResult
        The image's result without ruin and with all 200 passes (read it, don't set it).
    everything : QualityResult
        The result with ruin and with all 200 passes (read it, don't set it).
    result : QualityResult
        The result with ruin and with ``passes`` passes.
    quality : int
        Its quality component value, 0..100.
    message : str
        What went wrong last, empty when nothing did.
    """

    image = t.Any(None, allow_none=True)
    ruin = t.Instance(Ruin, ())
    passes = t.Int(100)
    clean = t.Instance(QualityResult, allow_none=True)
    everything = t.Instance(QualityResult, allow_none=True)
    result = t.Instance(QualityResult, allow_none=True)
    quality = t.Int(None, allow_none=True)
    message = t.Unicode("")

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    @t.validate("passes")
    def _possible(self, proposal: dict[str, Any]) -> int:
        return check_passes(proposal["value"], most=MOST_PASSES)

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """Turn an error into the message, its absence into none."""
        try:
            yield
        except SerfiqError as error:
            self.message = str(error)
        else:
            self.message = ""

    @t.observe("image")
    def _score_image(self, change: dict[str, Any]) -> None:
        with self._saying():
            if change["new"] is None:
                return
            clean = self.scorer.score(change["new"], MOST_PASSES)
            with self.hold_trait_notifications():
                self.ruin = Ruin()
                self.clean = clean

    @t.observe("clean", "ruin")
    def _score_ruined(self, _: dict[str, Any]) -> None:
        if self.clean is None:
            return
        if self.ruin.is_neutral:
            self.everything = self.clean
            return
        face = self.clean.face
        with self._saying():
            ruined = replace(face, pixels=self.ruin.apply(face.pixels))
            self.everything = self.scorer.score(ruined, MOST_PASSES)

    @t.observe("everything", "passes")
    def _choose(self, _: dict[str, Any]) -> None:
        if self.everything is not None:
            result = self.everything.at(self.passes)
            with self.hold_trait_notifications():
                self.result = result
                self.quality = result.quality


def kindly(state: ExplorerState, callback: Callable[..., None]) -> Callable[..., None]:
    """Wrap a callback so that what it raises becomes the state's message."""

    def guarded(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except SerfiqError as error:
            state.message = str(error)
        except Exception as error:  # noqa: BLE001  # the edge of the kernel: visitors come next
            # without the traceback, whose values might hold a visitor's photo
            log.error("%s in %s", type(error).__name__, callback.__name__)  # noqa: TRY400
            state.message = SURPRISE

    return guarded
