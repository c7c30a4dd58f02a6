"""What the widgets say, in plain words and with the numbers: pure functions to HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from serfiq_widgets import robustness
from serfiq_widgets.scoring.results import NO_QUALITY

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

SPREAD = (
    "Each dot: this face, seen with other features switched off. "
    "<b>A tight cloud is a robust face: good quality.</b>"
)
SPHERE = (
    "Each dot keeps its true angle to the mean of all. In so many dimensions nearly all lie "
    "equally far from it. <b>A small ring is good quality.</b>"
)
DISTANCES = (
    "How far apart two such embeddings lie, for every pair. "
    "<b>The score uses only their mean: the further left, the better.</b>"
)
RUNNING = (
    "The score after each pass, with its 95 % interval. "
    "<b>It settles on the dashed line</b>, which needs no dropout pass at all."
)
ABOUT_FORMULA = "From distances to quality, <b>with the numbers of this face.</b>"
CONSENT = (
    "<b>Your own photo or camera?</b> It is scored on the machine that serves this page, in memory "
    "only: neither stored nor sent on, and gone when you press <i>Erase now</i> or leave. "
    "Show others only if they agree."
)
CHOOSE = (
    "Green: the newest pass; cross: the mean. Click a dot, or use the arrow keys, to ask about it."
)


NUMBERS = """\
<div class="serfiq-numbers">
  <div><span class="serfiq-quality">{quality}</span> <span>{scale}</span></div>
  {meter}
  <dl>
    <dt>raw score</dt><dd><span class="serfiq-raw">{raw}</span></dd>
    <dt>exact limit, T \u2192 \u221e</dt>
    <dd><span class="serfiq-limit">{limit}</span></dd>
  </dl>
  <small>{interval}</small>
</div>"""
METER = '<meter min="0" max="100" value="{}" aria-label="quality"></meter>'
SCALE = "of 100<br>quality"
NO_SCALE = "no quality: this network<br>is not calibrated"
NO_LIMIT = "none: several layers"
NO_INTERVAL = "an interval needs three passes"


def readings(result: QualityResult) -> dict[str, list[str]]:
    """Return the numbers after 2, 3, ... T passes, as `NUMBERS` and `FORMULA` hold them."""
    t = np.arange(2, result.passes + 1)
    pairs = t * (t - 1) // 2
    raw = result.running[1:]
    mean = np.log(2.0 / raw - 1.0)
    scaled = robustness.scaled_score(raw, result.alpha, result.r)

    def written(values: Iterable[float], form: str) -> list[str]:
        return [format(value, form) for value in values]

    def always(value: float, form: str) -> list[str]:
        return [format(value, form)] * len(t)

    quality = [str(robustness.quality_component(value)) for value in scaled]
    none = [NO_QUALITY] * len(t)
    own = result.calibrated
    return {
        "quality": quality if own else none,
        "scale": [SCALE if own else NO_SCALE] * len(t),
        "meter": [METER.format(value) if own else "" for value in quality],
        "raw": written(raw, ".4f"),
        "limit": [_limit(result)] * len(t),
        "interval": [
            NO_INTERVAL if np.isnan(low) else f"95 % interval {low:.4f} to {high:.4f}"
            for low, high in result.running_interval[1:]
        ],
        "total": written(mean * pairs, ".1f"),
        "pairs": written(pairs, ","),
        "mean": written(mean, ".4f"),
        "alpha": always(result.alpha, "g"),
        "r": always(result.r, "g"),
        "scaled": written(scaled, ".4f") if own else none,
        "hundredfold": written(100 * scaled, ".2f") if own else none,
    }


def _limit(result: QualityResult) -> str:
    return NO_LIMIT if np.isnan(result.limit) else f"{result.limit:.4f}"


def filled(template: str, numbers: dict[str, list[str]], passes: int) -> str:
    """Put the numbers after so many passes into a template, as ``static/readout.js`` does."""
    return template.format_map({name: texts[passes - 2] for name, texts in numbers.items()})


def status(result: QualityResult) -> str:
    """Model, engine, device, seed, dropout rate, detector, and milliseconds per stage."""
    found = f" \u00b7 face by {result.face.detector}" if result.face.detector else ""
    without = " (trained without dropout)" if result.trained_with_dropout is False else ""
    stages = " \u00b7 ".join(f"{stage} {ms:.1f}" for stage, ms in result.timings.items())
    return (
        f'<div class="serfiq-status">model {escape(result.model)} on {escape(result.engine)}, '
        f"{escape(result.device)} \u00b7 seed {result.seed} \u00b7 p {result.rate:g}{without}"
        f"{found} \u00b7 ms: {stages}</div>"
    )


ALPHA = "<mi>\u03b1</mi>"


def _mo(sign: str) -> str:
    return f'<mo stretchy="false">{sign}</mo>'


def _exp(exponent: str) -> str:
    return f"<mrow><mn>1</mn><mo>+</mo><msup><mi>e</mi><mrow>{exponent}</mrow></msup></mrow>"


def _over(above: str, below: str) -> str:
    return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"


def _row(name: str, symbols: str, filled: str, value: str) -> str:
    return (
        f'<dt>{name}</dt><dd><math displaystyle="true">{symbols}</math>'
        f'<math displaystyle="true"><mo>=</mo>{filled}<mo>=</mo>'
        f'<mn class="serfiq-is">{{{value}}}</mn></math></dd>'
    )


def _formula() -> str:
    """SER-FIQ's formula, in symbols and with a place for each number, as MathML."""
    bar = "<mover><mi>d</mi><mo>\u00af</mo></mover>"
    count = f"<mi>T</mi>{_mo('(')}<mi>T</mi><mo>\u2212</mo><mn>1</mn>{_mo(')')}"
    pair = "<mrow><mi>i</mi><mo>&lt;</mo><mi>j</mi></mrow>"
    distance = "<msub><mi>d</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>"
    total = f"<munder><mo>\u2211</mo>{pair}</munder>{distance}"

    def stretch(alpha: str, raw: str, r: str) -> str:
        inner = f"{_mo('(')}{raw}<mo>\u2212</mo>{r}{_mo(')')}"
        return _over("<mn>1</mn>", _exp(f"<mo>\u2212</mo>{alpha}{inner}"))

    def rounded(value: str) -> str:
        return f"<mtext>round</mtext>{_mo('(')}{value}{_mo(')')}"

    def number(name: str) -> str:
        return f"<mn>{{{name}}}</mn>"

    rows = [
        _row(
            "mean distance",
            f"{bar}<mo>=</mo>{_over('<mn>2</mn>', count)}{total}",
            _over(number("total"), number("pairs")),
            "mean",
        ),
        _row(
            "raw score",
            f"<mi>s</mi><mo>=</mo>{_over('<mn>2</mn>', _exp(bar))}",
            _over("<mn>2</mn>", _exp(number("mean"))),
            "raw",
        ),
        _row(
            "scaled",
            f"<mi>q</mi><mo>=</mo>{stretch(ALPHA, '<mi>s</mi>', '<mi>r</mi>')}",
            stretch(number("alpha"), number("raw"), number("r")),
            "scaled",
        ),
        _row(
            "quality",
            rounded("<mn>100</mn><mi>q</mi>"),
            rounded(number("hundredfold")),
            "quality",
        ),
    ]
    return f'<dl class="serfiq-formula">{"".join(rows)}</dl>'


FORMULA = _formula()


def one_pass(result: QualityResult, chosen: int) -> str:
    """What one pass is to the others, and what the score would be without it."""
    if not 0 <= chosen < result.passes:
        return CHOOSE
    if result.passes <= 2:  # noqa: PLR2004  # without one of two passes no pair is left
        return f"Pass {chosen + 1} is one of two: without it there is no pair to compare."
    own = result.distances.sum(axis=1) / (result.passes - 1)
    place = int((own > own[chosen]).sum()) + 1
    mean = robustness.leave_one_out(result.distances)[chosen]
    without = float(robustness.raw_score(mean))
    return (
        f"<b>Pass {chosen + 1}</b>: mean distance to the others {own[chosen]:.4f}, the "
        f"{_ordinal(place)} farthest of {result.passes}. Without it, raw score {without:.4f} "
        f"({without - result.raw:+.4f})."
    )


def _ordinal(number: int) -> str:
    teen = 10 <= number % 100 <= 20  # noqa: PLR2004  # eleventh to thirteenth are irregular
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def comparison(
    names: tuple[str, str], results: tuple[QualityResult, QualityResult], cosine: float
) -> str:
    """Which of two faces is better, by how much, and how alike the network finds them."""
    a, b = results
    gap = a.best - b.best
    better = "A" if gap > 0 else "B"
    where = f"after {a.passes} passes" if np.isnan(a.limit) else "at the exact limit"
    verdict = (
        "Both are equally good for this network."
        if a.best_in_words == b.best_in_words
        else f"<b>{better} is the better one for recognition</b>, by {abs(gap):.4f} {where}: "
        f"{a.best_in_words} against {b.best_in_words.rpartition(' ')[2]}."
    )
    both = " ".join(
        f'<span class="serfiq-letter-{letter}">{letter}</span> {escape(name)}'
        for letter, name in zip("AB", names, strict=True)
    )
    return (
        f'<p class="serfiq-names">{both}</p><p>{verdict} Their comparison score, the cosine of '
        f'the plain embeddings, is <b class="serfiq-cosine">{cosine:.3f}</b> (1: the same; '
        f"0: strangers). It compares identity; the quality says how far it can be relied on.</p>"
    )
