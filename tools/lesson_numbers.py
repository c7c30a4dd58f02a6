"""Every number in a lesson's text, and what holds it.

A Markdown cell ends with a comment that a reader does not see::

    <!-- numbers (tools/lesson_numbers.py)
    a quality of about 67 :: hopper.quality
    both fall within a small range :: width < 3
    with 5 passes ~ chosen in the exercise
    -->

Left of ``::`` stands a piece of the text above, word for word; right of it an expression in the
names of the lesson, evaluated after the cell's solution has run. Its values must round to the
numbers of the piece, in their order; a truth value must be true. Left of ``~`` stands a piece
whose numbers are given, not measured, and right of it why; ``*`` is the whole cell.
`tests/test_notebooks.py` evaluates all of them, and fails at a number without a line.

    python tools/lesson_numbers.py > docs/lesson_numbers.md
"""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serfiq_widgets.evaluation.bias import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[1] / "notebooks"
BLOCK = re.compile(r"<!-- numbers.*?\n(.*?)-->", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])(?:(?<![^\s(])[-+\u2212])?\d+(?:,\d{3})*(?:\.\d+)?")
SLACK = 0.02  # of the last digit's unit, beyond half of it: machines differ in the last bits

# What needs no line: it was not measured, wherever it stands.
GIVEN = {
    r"```.*?```": "code, which runs",
    r"`[^`\n]*`": "code or a setting",
    r"<su[bp]>.*?</su[bp]>": "an index or an exponent",
    r"https?://\S+": "an address",
    r"^#[^\n]*$": "a heading",
    r"^(?:\*\*)?\d+\. ": "numbering",
    r"[Ll]essons? \d(?:(?:,| and| to) \d)*": "a lesson's name",
    r"[Ee]xercises? \d": "an exercise's name",
    r"steps? \d(?: to \d)?": "a step's name",
    r"ISO/IEC 29794-\d(?::\d{4})?": "a standard's name",
    r"[Aa]bout \d+ minutes|of \d+ minutes": "time to plan for",
    r"^\| \d+\u2013\d+ \|": "minutes of a plan",
    r"95 %(?= interval| quantile)|95 of 100 curves": "the convention for intervals",
    r"\b(?:CVPR|ECCV|IJCB|TPAMI|ICML)[,;]? \d{4}|\w+, (?:19|20)\d\d\b": "a publication's year",
    r"length 1\b": "a unit vector",
}


KNOWN = {"np": np, "wilson_interval": wilson_interval}  # to checks, beside the lesson's names


class Line(NamedTuple):
    """One line of a block: a piece of the text, and the check or the reason for its numbers."""

    piece: str
    check: str | None
    reason: str | None


def markdown(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each Markdown cell."""
    for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "markdown":
            yield index, "".join(cell["source"])


def lines_of(text: str) -> Iterator[Line]:
    """Yield the lines of a cell's block, if it has one."""
    for block in BLOCK.findall(text):
        for line in filter(None, map(str.strip, block.splitlines())):
            piece, check, right = line.partition(" :: ")
            if check:
                yield Line(piece, right, None)
            else:
                piece, _, right = line.partition(" ~ ")
                yield Line(piece, None, right)


def problems(text: str) -> list[str]:
    """Return what is wrong with a cell's numbers without running anything."""
    prose, found = BLOCK.sub("", text), []
    lines = list(lines_of(text))
    for piece, check, reason in lines:
        if not (check or reason):
            found.append(f"{piece!r} has neither a check nor a reason")
        elif piece != "*" and piece not in prose:
            found.append(f"{piece!r} is not in the text any more")
    if any(line.piece == "*" for line in lines):
        return found
    for pattern in GIVEN:
        prose = re.sub(pattern, "", prose, flags=re.DOTALL | re.MULTILINE)
    for line in sorted(lines, key=lambda line: -len(line.piece)):
        prose = prose.replace(_without_given(line.piece), "")
    for number in NUMBER.finditer(prose):
        around = prose[max(0, number.start() - 40) : number.end() + 20].replace("\n", " ")
        found.append(f"{number[0]} has no check: ...{around}...")
    return found


def _without_given(piece: str) -> str:
    for pattern in GIVEN:
        piece = re.sub(pattern, "", piece, flags=re.DOTALL | re.MULTILINE)
    return piece


def failure(line: Line, names: dict[str, Any]) -> str | None:
    """Return how a line's check fails in a lesson that has run up to it, or None."""
    if line.check is None:
        return None
    value = eval(line.check, KNOWN | names)  # noqa: S307  # our own lesson
    values = np.asarray(value).ravel()
    if values.dtype == bool:
        return None if values.all() else f"not so: {line.piece!r} ({line.check})"
    written = [
        number.replace(",", "").replace("\u2212", "-") for number in NUMBER.findall(line.piece)
    ]
    if len(written) != len(values):
        return f"{line.piece!r} has {len(written)} numbers, its check {len(values)}: {values}"
    for number, measured in zip(written, values, strict=True):
        exponent = Decimal(number).as_tuple().exponent
        unit = 10.0 ** int(exponent)
        if not abs(float(number) - measured) <= (0.5 + SLACK) * unit:
            return f"{line.piece!r}: {number} is {measured:.6g} ({line.check})"
    return None


def table() -> str:
    """Return the page of all numbers and their checks."""
    page = [__doc__.splitlines()[0].replace("Every number", "# Every number").rstrip("."), ""]
    about = (
        "Made by `python tools/lesson_numbers.py > docs/lesson_numbers.md`; a test compares. "
        "`tests/test_notebooks.py` runs each lesson with its solutions and evaluates each check "
        "where it stands: its values must round to the numbers of the text, a comparison must be "
        "true. A number in a lesson's text that has neither a check nor a reason fails, too. "
        "Numbers that a cell prints need none."
    )
    page += [about]
    for path in sorted(FOLDER.glob("0*.ipynb")):
        rows = [(index, line) for index, text in markdown(path) for line in lines_of(text)]
        page += ["", f"## {path.stem}", ""]
        for title, own in (
            ("check", [(i, line.piece, f"`` {line.check} ``") for i, line in rows if line.check]),
            (
                "given, not measured",
                [(i, line.piece, line.reason) for i, line in rows if line.reason],
            ),
        ):
            if own:
                page += [f"| cell | text | {title} |", "|--:|---|---|"]
                page += [f"| {i} | {_cell(piece)} | {_cell(right)} |" for i, piece, right in own]
                page += [""]
        page.pop()
    page += ["", "## Given everywhere", "", "| pattern | why |", "|---|---|"]
    page += [f"| `` {_cell(pattern)} `` | {why} |" for pattern, why in GIVEN.items()]
    return "\n".join(page) + "\n"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(table())
