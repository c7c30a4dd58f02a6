"""What the exercises' checks say to wrong answers.

`RIGHT` has each answer in the names of the lesson's solution, `WRONG` three or more wrong ones.

    python tools/lesson_answers.py > docs/lesson_answers.md
"""

from __future__ import annotations

import sys
from typing import Any

from serfiq_widgets import Ruin
from serfiq_widgets.widgets.exercises import EXERCISES, QUALITIES, check

RIGHT = {
    "1.1": "s",
    "1.2": "cells[5] and (5 - 1) / 5",
    "1.3": "sorted(found, key=found.get, reverse=True)",
    "2.1": "[enough(result, 0.01), enough(result, 0.005)]",
    "2.2": "wins[10]",
    "2.3": "list(raws.values())",
    "2.4": "min((0, 0.5, 1, 2), key=lambda k: found[k].std()), False",
    "3.1": "half['blur'], half['resolution']",
    "3.2": "left['glasses', 128], left['strip', 25]",
    "3.3": "Ruin(blur=best['blur'][0])",
    "3.4": "(*light['dimmed'], light['night'][1])",
    "4.1": "list(ratios.values())",
    "4.2": "mixed['norm'], np.mean(chance)",
    "4.3": "share, without, alike",
    "5.1": "hits, 100 * low, 100 * high",
    "5.2": "delta['Asian']",
    "5.3": "100 * corrected, 100 * plain",
    "6.1": "trials['RGB, 0 to 255'].genuine.mean(), trials['RGB, 0 to 255'].impostor",
    "6.2": "[ranges[p][0] for p in (0.1, 0.2, 0.7)]",
    "6.3": "more.min(), more.max()",
}
NAMES = list(QUALITIES)
WRONG: dict[str, list[Any]] = {
    "1.1": [0.449, 0.7811, 70, 0.7923, 0.9, "seventy"],
    "1.2": [1.25, 0.2, 0.4, 5],
    "1.3": [NAMES[::-1], NAMES[:3], [*NAMES[:9], "me.jpg"], [*NAMES[5:], *NAMES[:5]]],
    "2.1": [(45, 146), (18, 46), (46, 184), 46, (147, 46)],
    "2.2": [(0.905, 0.665), (66.5, 90.5), (90.5, 90.5), (100, 92.8)],
    "2.3": [
        (0.795, 0.795, 0.795, 0.795),
        (0.597, 0.795, 0.87, 0.912),
        (0.176, 0.263, 0.416, 0.854),
    ],
    "2.4": [(2, False), (1, True), (0.5, True), 1, (1, "no")],
    "3.1": [(24, 2.3), (1, 47), (4, 12), (2.3, 47)],
    "3.2": [(55, 52), (53, 60), (61, 52)],
    "3.3": [20, Ruin(), Ruin(blur=4), Ruin(noise=40)],
    "3.4": [(34, 85, 1), (86, 86, 14), (14, 85, 34), (61, 85, 14)],
    "4.1": [(0.19, 0.32, 0.48), (81, 68, 52), (48, 32, 19), (1.9, 6.9, 16.0)],
    "4.2": [(0.0477, 0.0683), (0.0386, 0.0683), (0.0382, 0.0491)],
    "4.3": [(6.9, 0.1117, 0.1578), (66, 0.0687, 0.1578), (66, 0.1117, 0.0687)],
    "5.1": [(16, 6.0, 16.4), (16, 0.07, 0.174), (143, 7.0, 17.4)],
    "5.2": [(0.46, 0.48), (14.3, 5.8), (-0.18, -0.35), (-0.46, -0.46)],
    "5.3": [(20, 3), (5, 5), (100, 100), (float("nan"), 20)],
    "6.1": [(0.957, 0.186), (0.71, 0.84), (0.875, 0.729)],
    "6.2": [(0.912, 0.87, 0.66), (0.478, 0.709, 0.792), (0.595, 0.595, 0.595)],
    "6.3": [(0.0038, 0.0115), (0, 0), (-1.14, -0.38), (1.15, 0.38)],
}


def table() -> str:
    """Return the page of all wrong answers and of the hints."""
    about = (
        "Made by `python tools/lesson_answers.py > docs/lesson_answers.md`; a test compares. "
        "`check` names what is missing and does not give the right answer away. Right answers are "
        "tried by `tests/test_notebooks.py`, with the solutions of the lessons."
    )
    page = ["# What the exercises' checks say to wrong answers", "", about]
    for number, exercise in EXERCISES.items():
        page += ["", f"## Exercise {number}", "", f"Wanted: {exercise.wanted}.", ""]
        page += [f"{grade}. Hint: {text}" for grade, text in enumerate(exercise.hints, 1)]
        page += ["", "| answer | what `check` says |", "|---|---|"]
        page += [f"| {_short(answer)} | {check(number, answer)} |" for answer in WRONG[number]]
    return "\n".join(page) + "\n"


def _short(answer: Any) -> str:
    if isinstance(answer, list):
        return f"{len(answer)} names from {answer[0]} to {answer[-1]}"
    if isinstance(answer, Ruin):
        return f"`Ruin` with {answer.describe() or 'nothing'}"
    return f"`{answer!r}`"


if __name__ == "__main__":
    sys.stdout.write(table())
