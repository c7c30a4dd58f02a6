"""Answers to exercises: what is wrong with one, without the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENT = 100
ORDINALS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Verdict:
    """What `check` says; a notebook shows its text.

    Attributes
    ----------
    right : bool
        Whether the answer is right.
    text : str
        One or two sentences for the student.
    """

    right: bool
    text: str

    def __repr__(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Attributes
    ----------
    wanted : str
        What an answer looks like.
    judge : callable
        Takes an answer; returns None if it is right, else what is wrong.
    hints : (str, str)
        A small hint, and a larger one.
    """

    wanted: str
    judge: Callable[[Any], str | None]
    hints: tuple[str, str]


@dataclass(frozen=True)
class Slip:
    """A known mistake: the numbers that it gives, and what to say."""

    values: Sequence[float]
    text: str


@dataclass(frozen=True)
class Numbers:
    """Judges an answer of one or several numbers.

    Attributes
    ----------
    right : sequence of float
        The right numbers. `tests/test_notebooks.py` compares them with the lesson's solution.
    tolerance : sequence of float
        The largest difference of each.
    slips : sequence of Slip
        Known mistakes.
    """

    right: Sequence[float]
    tolerance: Sequence[float]
    slips: Sequence[Slip] = ()

    def __call__(self, answer: Any) -> str | None:
        """Return None if the answer is right, else what is wrong."""
        try:
            given = np.asarray(answer, np.float64).ravel()
        except (TypeError, ValueError):
            return "This is not a number, or not only numbers."
        if len(given) != len(self.right):
            return f"{len(self.right)} numbers are wanted, not {len(given)}."
        near = self._near(given, self.right)
        return None if near.all() else self._wrong(given, near)

    def _near(self, given: Any, values: Any) -> Any:
        return np.abs(np.asarray(given) - np.asarray(values)) <= np.asarray(self.tolerance)

    def _wrong(self, given: Any, near: Any) -> str:
        if not np.isfinite(given).all():
            return "There is a number that is not finite: something was divided by 0."
        if self._near(given * PERCENT, self.right).all():
            return "That is right as a fraction; give percent."
        for slip in self.slips:
            if self._near(given, slip.values).all():
                return slip.text
        return self._general(given, near)

    def _general(self, given: Any, near: Any) -> str:
        if self._near(-given, self.right).all():
            return "The size is right, the sign is not."
        if len(given) > 1 and self._near(np.sort(given), np.sort(self.right)).all():
            return "The right numbers, but in another order than the question asks."
        if near.any():
            wrong = " and ".join(ORDINALS[k] for k in np.flatnonzero(~near))
            return f"Right in part. Look at the {wrong} number again."
        sizes = np.sign(given - np.asarray(self.right))
        way = {1: "too large", -1: "too small"}.get(int(sizes[0]) if np.ptp(sizes) == 0 else 0)
        return f"Not yet: {way}." if way else "Not yet."


def check_with(exercise: Exercise, answer: Any, hints: int = 0) -> Verdict:
    """Judge an answer to an exercise, and add some of its hints unless it is right."""
    if answer is None or answer is Ellipsis:
        wrong: str | None = f"No answer yet. Wanted: {exercise.wanted}."
    else:
        wrong = exercise.judge(answer)
    if wrong is None:
        return Verdict(right=True, text="Right.")
    shown = (f"Hint {k}: {text}" for k, text in enumerate(exercise.hints[:hints], 1))
    return Verdict(right=False, text="\n".join([wrong, *shown]))
