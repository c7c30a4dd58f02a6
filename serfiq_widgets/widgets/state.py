"""What the explorers show, without any widget: image, face, ruin, passes, result, session.

Every face is scored once with all passes. The slider only chooses how many of them count, so a move
costs no inference; a change of the ruin costs one pass through the trunk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import traitlets as t

from serfiq_widgets.errors import BadSetting, SerfiqError
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.images.sandbox import forget
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.contract import FaceScorer
from serfiq_widgets.scoring.remote import find, open_scorer
from serfiq_widgets.scoring.results import QualityResult, check_passes
from serfiq_widgets.widgets.errors_shown import HasMessage
from serfiq_widgets.widgets.strangers import FOR_STRANGERS, among_strangers

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
        The image, and what was done to it.
    face : AlignedFace
        What was scored, ruin included.
    result : dict of str to str, int or float
        The numbers: model, seed, passes, raw, low, high, limit, quality.
    """

    name: str
    face: AlignedFace
    result: dict[str, str | int | float]


class ExplorerState(HasMessage):
    """What an explorer shows, without any widget.

    Attributes
    ----------
    scorer : FaceScorer
        The network; a new one scores the face anew, and finds it anew with another detector (see
        `configure`).
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array, AlignedFace or Photo
        Setting it scores it and takes the ruin away. If that fails, ``message`` says why and the
        last result stays.
    which : int
        Which of the image's faces is meant, 0 for the largest central one.
    ruin : Degradation
        What is done to the aligned face before it is scored.
    passes : int
        How many passes count, 2 to 200.
    chosen : int
        Index of the pass that people look at, -1 for none.
    projection : {"plane", "sphere"}
        How the embeddings are shown.
    clean : QualityResult
        The image's result without ruin and with all 200 passes (read it, don't set it).
    everything : QualityResult
        The result with ruin and with all 200 passes (read it, don't set it).
    result : QualityResult
        The result with ruin and with ``passes`` passes.
    quality : int
        Its quality component value, 0..100; None where the network is not calibrated.
    source : as ``image``
        The image that ``clean`` was scored from: the last one that went well.
    live : bool
        Whether that is a frame of the running camera, which is kept nowhere else.
    entries, pinned : tuple of Entry
        What was scored in this session, oldest first, and what was pinned of it.
    consent : bool
        Whether people were told what happens to their photos, and agreed.
    erasures : int
        How often all faces were erased; what holds one observes it, and lets go.
    message, missed : str
        What went wrong last, empty when nothing did; ``missed`` if it was a frame of the running
        camera, where the next one is on its way.
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
    entries: tuple[Entry, ...] = t.Tuple()  # type: ignore[assignment]  # traitlets gives the tuple
    pinned: tuple[Entry, ...] = t.Tuple()  # type: ignore[assignment]
    consent = t.Bool(False)  # noqa: FBT003  # traitlets takes the default so
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
        """Turn an error into the message."""
        try:
            yield
        except SerfiqError as error:
            if self.image is self._frame:
                self.missed = str(error)
            else:
                self.message = str(error)

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
        """Find and score a face; it takes the place of the last one if that went well."""
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
        """Forget every image, face and result of this session; the first sample is shown then.

        Consent is asked for again. A kiosk calls this when nobody is there any more.
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
        """Whether the network's quality means something; if not, `Card.uncalibrated` says why."""
        return bool(self.scorer.calibrated)

    def configure(self, **changes: Any) -> None:
        """Score with another model, engine, device, seed, rate, detector ...; see `Scorer`.

        Strangers may change no more than `FOR_STRANGERS`; the rest is left as it is.
        """
        self.message = ""
        if among_strangers():
            changes = {name: value for name, value in changes.items() if name in FOR_STRANGERS}
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
        """Put what is shown now into the session's entries, once, and return it."""
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
        """Pin an entry, or what is shown now, for comparison.

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
    """Whether numbers are the same, also those that are missing, which are NaN."""
    return all(
        first[name] == value or value != first[name] != first[name]
        for name, value in second.items()
    )
