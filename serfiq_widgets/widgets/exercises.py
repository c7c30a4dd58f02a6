"""The exercises of lessons 1 to 6: `check` judges an answer and gives hints.

`exercises.toml` has them; the numbers are those of the bundled network and samples. The solutions
in the notebooks are open to everybody, so nothing is hidden here. `tools/lesson_answers.py` has
wrong answers to each, and the tests try them and each solution.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.widgets.answers import Exercise, Numbers, Slip, Verdict, check_with

if TYPE_CHECKING:
    from serfiq_widgets.faces.degradation import Degradation

NEAR = 0.8  # a rank correlation with the network's order that counts as agreement
QUALITIES = {  # of the samples, by `mini`
    "collins.jpg": 86,
    "hopper.jpg": 67,
    "hopper_glare.jpg": 57,
    "hopper_jpeg.jpg": 43,
    "collins_mask.jpg": 30,
    "hopper_noise.jpg": 30,
    "hopper_bar.jpg": 9,
    "collins_dark.jpg": 1,
    "collins_blur.jpg": 0,
    "collins_tiny.jpg": 0,
}


def check(number: str, answer: Any = None, hints: int = 0) -> Verdict:
    """Say whether an answer is right, and if not, what is wrong with it.

    Parameters
    ----------
    number : str
        Lesson and exercise, such as "2.1".
    answer : object
        The answer, in the form that the exercise asks for; None or ... is no answer yet.
    hints : int
        0 for none, 1 for a small hint, 2 for a larger one, too.

    Raises
    ------
    BadSetting
        There is no such exercise, or no such number of hints.

    Examples
    --------
    >>> from serfiq_widgets.widgets.exercises import check
    >>> check("1.2", 1.25)
    This is the other way round: too small means a factor below 1.
    """
    if number not in EXERCISES:
        raise BadSetting(f"No exercise {number!r:.20}; there are: {', '.join(EXERCISES)}.")
    if hints not in range(3):
        raise BadSetting(f"hints must be 0, 1 or 2, not {hints!r:.20}.")
    return check_with(EXERCISES[number], answer, hints)


def order(answer: Any) -> str | None:
    """Compare an order of the samples with the network's."""
    from scipy.stats import spearmanr

    names = [str(name) for name in answer] if isinstance(answer, list | tuple) else []
    unknown = sorted(set(names) - set(QUALITIES))
    if unknown:
        return f"There is no sample {unknown[0]!r:.40}. The names end in .jpg."
    if sorted(names) != sorted(QUALITIES):
        return f"A list of all ten names is wanted, each once; here are {len(set(names))}."
    found = [QUALITIES[name] for name in names]
    agreement = float(spearmanr(found, range(len(found), 0, -1)).statistic)
    if agreement >= NEAR:
        return None
    if agreement <= -NEAR:
        return "This is worst to best; the best comes first."
    ranks = sorted(names, key=lambda name: -QUALITIES[name])
    farthest = max(names, key=lambda name: abs(names.index(name) - ranks.index(name)))
    side = "better" if ranks.index(farthest) < names.index(farthest) else "worse"
    return (
        f"The network's order is another (rank correlation {agreement:.2f}). It finds "
        f"{farthest} {side} than you do: what may it see?"
    )


def raises_hopper(answer: Any) -> str | None:
    """Score Hopper with the degradation of an answer."""
    from dataclasses import replace

    from serfiq_widgets.faces.degradation import Degradation
    from serfiq_widgets.faces.find import find_face
    from serfiq_widgets.resources import folder
    from serfiq_widgets.scoring.scorer import Scorer

    if not isinstance(answer, Degradation):
        return "A Ruin is wanted, such as Ruin(noise=20)."
    ruin: Degradation = answer
    if ruin.is_neutral:
        return "This changes nothing."
    face, scorer = find_face(folder("sample_images") / "hopper.jpg"), Scorer()
    before = scorer.score(face).quality
    after = scorer.score(replace(face, pixels=ruin.apply(face.pixels))).quality
    if after > before:
        return None
    change = "does not change" if after == before else "lowers"
    return f"{ruin.describe()} {change} the quality: {before} before, {after} after."


def best_factor(answer: Any) -> str | None:
    """Judge the factor of lowest variance, and whether the mean changes with the factor."""
    try:
        factor, changes = answer
    except (TypeError, ValueError):
        return "Two things are wanted: the factor, and True if the mean changes with it, or False."
    if not isinstance(changes, bool):
        return "The second is True or False: does the mean change with the factor?"
    wrong = Numbers([1], [0.15])(factor)
    if wrong and changes:
        return (
            "Neither yet. Try several factors with many seeds each, and compare the means' errors."
        )
    if wrong:
        return "The mean is right. The scatter is lower with another factor: try one between."
    if changes:
        return "The factor is right. Are the differences of the means larger than their errors?"
    return None


JUDGES = {"order": order, "raises_hopper": raises_hopper, "best_factor": best_factor}


def _read() -> dict[str, Exercise]:
    entries = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    exercises = {}
    for number, entry in entries.items():
        slips = [Slip(**slip) for slip in entry.get("slips", ())]
        judge = JUDGES.get(entry.get("judge", "")) or Numbers(
            entry["right"], entry["tolerance"], slips
        )
        exercises[number] = Exercise(entry["wanted"], judge, tuple(entry["hints"]))
    return exercises


EXERCISES = _read()
