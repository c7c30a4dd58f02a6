"""The state of the explorers, without widgets: image, face, degradation, passes, result, session.

Every face is scored once with all passes. The slider only selects how many of them are used, which
needs no inference; a change of the degradation needs one pass through the trunk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import traitlets as t

from serfiq_widgets.errors import BadSetting, SerfiqError, drop_traceback
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.images.sandbox import forget
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.contract import FaceScorer
from serfiq_widgets.scoring.remote import find, open_scorer
from serfiq_widgets.scoring.results import QualityResult, check_passes
from serfiq_widgets.widgets.errors_shown import HasMessage
from serfiq_widgets.widgets.public import VISITORS_MAY_CHANGE, is_public

log = logging.getLogger(__name__)

SLIDER_PASSES = 200
MAX_ENTRIES, MAX_PINNED = 200, 12
PROJECTIONS = ("plane", "sphere")


@dataclass(frozen=True, eq=False)
class Entry:
    """A face that was scored in this session.

    Attributes
    ----------
    name : str
        The image, and its degradation.
    face : AlignedFace
        The face that was scored, with the degradation.
    result : dict of str to str, int or float
        The numbers: model, seed, passes, raw, low, high, limit, quality.
    """

    name: str
    face: AlignedFace
    result: dict[str, str | int | float]


class ExplorerState(HasMessage):
    """The state of an explorer, without widgets.

    Attributes
    ----------
    scorer : FaceScorer
        The network; setting it scores the face again, and with another detector also finds it
        again (see `configure`).
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array, AlignedFace or Photo
        Setting it scores it and removes the degradation. If that fails, ``message`` says why and
        the last result stays.
    which : int
        Index of the scored face in the image, 0 for the largest central one.
    ruin : Degradation
        Degradation of the aligned face before it is scored.
    passes : int
        How many passes are used, 2 to 200.
    chosen : int
        Index of the pass that the user selected, -1 for none.
    projection : {"plane", "sphere"}
        How the embeddings are shown.
    clean : QualityResult
        The image's result without degradation, with all 200 passes (read it, don't set it).
    everything : QualityResult
        The result with degradation and with all 200 passes (read it, don't set it).
    result : QualityResult
        The result with degradation and with ``passes`` passes.
    quality : int
        Its quality component value, 0..100; None if the network is not calibrated.
    source : as ``image``
        The image from which ``clean`` was scored: the last one that succeeded.
    live : bool
        Whether that is a frame of the running camera, which is kept nowhere else.
    entries, pinned : tuple of Entry
        The faces scored in this session, oldest first, and the pinned ones.
    consent : bool
        Whether the user was informed of the use of photos, and agreed.
    erasures : int
        Number of erasures of all faces; objects that hold a face observe it, and drop the face.
    message, missed : str
        The last error, empty if there is none; in ``missed`` if it was a frame of the running
        camera, where the next frame follows soon.
    """

    scorer: Any = t.Any()  # a FaceScorer
    image = t.Any(None, allow_none=True)
    which = t.Int(0)
    ruin = t.Instance(Degradation, ())
    passes = t.Int(100)
    chosen = t.Int(-1)
    projection = t.Enum(PROJECTIONS, "plane")
    clean = t.Instance(QualityResult, allow_none=True)
    everything = t.Instance(QualityResult, allow_none=True)
    result = t.Instance(QualityResult, allow_none=True)
    quality = t.Int(None, allow_none=True)
    entries: tuple[Entry, ...] = t.Tuple()  # type: ignore[assignment]  # traitlets makes the tuple
    pinned: tuple[Entry, ...] = t.Tuple()  # type: ignore[assignment]
    consent = t.Bool(False)  # noqa: FBT003  # the default, as traitlets requires
    erasures = t.Int(0)
    missed = t.Unicode("")

    def __init__(self, scorer: FaceScorer) -> None:
        super().__init__(scorer=scorer)
        self.source: Any = None
        self.live = False
        self._frame: Any = None

    @t.validate("passes")
    def _possible(self, proposal: dict[str, Any]) -> int:
        return check_passes(proposal["value"], most=SLIDER_PASSES)

    @t.validate("chosen")
    def _one_of_the_passes(self, proposal: dict[str, Any]) -> int:
        chosen: int = proposal["value"]
        return max(-1, min(chosen, SLIDER_PASSES - 1))

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """Set the message to an error's text."""
        try:
            yield
        except SerfiqError as error:
            text = str(drop_traceback(error))
            if self.image is self._frame:
                self.missed = text
            else:
                self.message = text

    @t.observe("image")
    def _score_image(self, change: dict[str, Any]) -> None:
        if change["new"] is None:
            return
        with self._saying():
            self._take(change["new"], 0)

    @t.observe("which")
    def _score_other_face(self, change: dict[str, Any]) -> None:
        if self.clean is None or change["new"] == self.clean.face.which:
            return
        with self._saying():
            self._take(self.source, change["new"])

    def _take(self, image: Any, which: int) -> None:
        """Find and score a face; if that succeeds, it replaces the last one."""
        self.message = self.missed = ""
        start = perf_counter()
        face = find(self.scorer, image, which)
        milliseconds = 1e3 * (perf_counter() - start)
        clean = self.scorer.score(face, SLIDER_PASSES)
        clean = replace(clean, timings={**clean.timings, "face": milliseconds})
        self.source, self.live = image, image is self._frame
        with self.hold_trait_notifications():
            self.which = face.which
            self.ruin = Degradation()
            self.clean = clean
        if not self.live:
            self.note()

    def show_frame(self, frame: Any) -> None:
        """Score a frame of the running camera."""
        self._frame = frame
        self.image = frame

    def erase(self) -> None:
        """Drop every image, face and result of this session; show the first sample.

        Consent is needed again. A kiosk calls this when the user has left.
        """
        for result in (self.clean, self.result):
            if result is not None:
                result.wipe()
        self.image = self.source = self._frame = None
        self.live = self.consent = False
        self.message = self.missed = ""
        self.entries = self.pinned = ()
        self.chosen = -1
        self.erasures += 1
        self.image = sample_images()[0]
        forget()

    @property
    def calibrated(self) -> bool:
        """Whether the network's quality has a meaning; if not, see `Card.uncalibrated`."""
        return bool(self.scorer.calibrated)

    def configure(self, **changes: Any) -> None:
        """Score with another model, engine, device, seed, rate, detector ...; see `Scorer`.

        In a public demo only the settings in `VISITORS_MAY_CHANGE` change; others are ignored.
        """
        self.message = ""
        if is_public():
            changes = {
                name: value for name, value in changes.items() if name in VISITORS_MAY_CHANGE
            }
        with self._saying():
            self.scorer = open_scorer(**vars(replace(self.scorer.options, **changes)))

    @t.observe("scorer")
    def _score_anew(self, _: dict[str, Any]) -> None:
        if self.clean is None:
            return
        face = self.clean.face
        if face.detector not in ("", self.scorer.detector):
            with self._saying():
                face = find(self.scorer, self.source, face.which)
        self.clean = self.scorer.score(face, SLIDER_PASSES)

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
            self.everything = self.scorer.score(ruined, SLIDER_PASSES)

    @t.observe("everything", "passes")
    def _choose(self, _: dict[str, Any]) -> None:
        if self.everything is not None:
            result = self.everything.at(self.passes)
            with self.hold_trait_notifications():
                self.result = result
                self.quality = result.quality if result.calibrated else None

    def note(self) -> Entry | None:
        """Add the current result to the session's entries, once, and return its entry."""
        if self.result is None:
            return None
        result = self.result
        (low, high), ends = result.interval, result.controlled_interval
        numbers: dict[str, str | int | float] = {
            "model": result.model,
            "seed": result.seed,
            "passes": result.passes,
            "raw": result.raw,
            "low": low,
            "high": high,
            "controlled": result.controlled,
            "controlled_low": ends[0],
            "controlled_high": ends[1],
            "limit": result.closed_form,
            "quality": result.quality if result.calibrated else float("nan"),
            "margin": result.quality_margin if result.calibrated else float("nan"),
        }
        words = self.ruin.describe()
        which = f", face {result.face.which + 1}" if result.face.n_faces > 1 else ""
        name = f"{result.face.name}{which}" + (f" ({words})" if words else "")
        for known in self.entries:
            if known.face is result.face and _same(known.result, numbers):
                return known
        entry = Entry(name, result.face, numbers)
        self.entries = (*self.entries, entry)[-MAX_ENTRIES:]
        return entry

    def pin(self, entry: Entry | None = None) -> None:
        """Pin an entry, or the current result, for comparison.

        Raises
        ------
        BadSetting
            The tray is full.
        """
        if len(self.pinned) >= MAX_PINNED:
            raise BadSetting(f"{MAX_PINNED} faces are pinned already: take some away first.")
        entry = entry or self.note()
        if entry is not None and entry not in self.pinned:
            self.pinned = (*self.pinned, entry)


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether numbers are the same; missing ones are NaN."""
    return all(
        first[name] == value or (value != value and first[name] != first[name])  # noqa: PLR0124  # NaN
        for name, value in second.items()
    )
