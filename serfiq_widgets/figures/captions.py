"""Texts of the widgets with their numbers: pure functions that return HTML."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from serfiq_widgets import robustness
from serfiq_widgets.scoring.results import NO_QUALITY, shown_margin

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

SPREAD = (
    "Each dot: this face, seen with other features switched off. "
    "<b>A tight cloud is a robust face: good quality.</b>"
)
SHARE = "This plane shows {:.0%} of the spread, which has many more directions."
SPHERE = (
    "Each dot keeps its true angle to the mean of all. In so many dimensions nearly all lie "
    "equally far from it. <b>A small ring is good quality.</b>"
)
DISTANCES = (
    "How far apart two such embeddings lie, for every pair. "
    "<b>The score uses only their mean: the further left, the better.</b>"
)
RUNNING = (
    "The score after each pass. <b>As published it wanders; controlled it is level from the fifth "
    "pass:</b> what is known of the masks exactly is subtracted from each distance."
)
ABOUT_FORMULA = (
    "From distances to quality as it is published, <b>with the numbers of this face.</b> The large "
    "number uses the controlled distances instead."
)
CONSENT = (
    "<b>Your own photo or camera?</b> It is scored on the machine that serves this page, in memory "
    "only: neither stored nor sent on, and gone when you press <i>Erase now</i> or leave. "
    "Show others only if they agree."
)
COMPUTED = (
    "The network looks at the face many times, each time with other features switched off "
    "(SER-FIQ, Terh\u00f6rst et al., CVPR 2020). "
    "<b>The more these looks agree, the better the photo.</b>"
)
READINGS = (
    "What stands behind the large number. <b>As published,</b> it comes from the distances as they "
    "are; controlled, what is known of the masks exactly is subtracted first."
)
FOUND = (
    "The face is found, turned upright and cut to 112 by 112 pixels: "
    "<b>all that the network sees.</b>"
)
CHOOSE = (
    "Green: the newest pass; cross: the mean. Click a dot, or use the arrow keys, to ask about it."
)


DETAILS = """\
<div class="serfiq-details"><dl>
  <dt>as published, {passes} passes</dt>
  <dd><span class="serfiq-published">{published}</span></dd>
  <dt>raw score, {kind}</dt>
  <dd><span class="serfiq-best">{best}</span></dd>
  <dt>raw score, as published</dt>
  <dd><span class="serfiq-raw">{raw}</span></dd>
  <dt>closed form, T \u2192 \u221e</dt>
  <dd><span class="serfiq-limit">{limit}</span></dd>
</dl>
<small>{interval}. The quality is that of the {kind} score.</small></div>"""
NUMBERS = f"""\
<div class="serfiq-numbers">
  <div><span class="serfiq-quality">{{quality}}</span>
  <span class="serfiq-margin">{{margin}}</span> <span>{{scale}}</span></div>
  {{meter}}
  {DETAILS}
</div>"""
METER = '<meter min="0" max="100" value="{}" aria-label="quality"></meter>'
SCALE = "of 100<br>quality"
NO_SCALE = "no quality: this network<br>is not calibrated"
NO_LIMIT = "none: several layers"
NO_INTERVAL = "an interval needs three passes"
UNSAFE = "{} (not safe here)"


def readings(result: QualityResult) -> dict[str, list[str]]:
    """Return the numbers after 2, 3, ... T passes, as the templates of this module hold them."""
    t = np.arange(2, result.passes + 1)
    pairs = t * (t - 1) // 2
    raw, best = result.running[1:], result.running_best[1:]
    mean = np.log(2.0 / raw - 1.0)
    plain, scaled = (robustness.scaled_score(x, result.alpha, result.r) for x in (raw, best))
    ends = result.running_best_interval[1:]
    margins = robustness.quality_margin(ends, result.alpha, result.r)

    def written(values: Iterable[float], form: str) -> list[str]:
        return [format(value, form) for value in values]

    def always(text: str) -> list[str]:
        return [text] * len(t)

    own = result.calibrated
    none = always(NO_QUALITY)
    quality = [str(robustness.quality_component(value)) for value in scaled]
    published = [str(robustness.quality_component(value)) for value in plain]
    return {
        "quality": quality if own else none,
        "margin": [plus_minus(value) if own else "" for value in margins],
        "scale": always(SCALE if own else NO_SCALE),
        "meter": [METER.format(value) if own else "" for value in quality],
        "passes": written(t, "d"),
        "published": published if own else none,
        "kind": always("controlled" if result.is_controlled else "published"),
        "best": written(best, ".4f"),
        "raw": written(raw, ".4f"),
        "limit": always(_closed_form(result)),
        "interval": [
            NO_INTERVAL
            if np.isnan(low)
            else f"95 % interval of the raw score: {low:.4f} to {high:.4f}"
            for low, high in ends
        ],
        "total": written(mean * pairs, ".1f"),
        "pairs": written(pairs, ","),
        "mean": written(mean, ".4f"),
        "alpha": always(format(result.alpha, "g")),
        "r": always(format(result.r, "g")),
        "scaled": written(plain, ".4f") if own else none,
        "hundredfold": written(100 * plain, ".2f") if own else none,
    }


def plus_minus(margin: float) -> str:
    """Return half an interval of a quality with its sign; "" if it is not known."""
    text = shown_margin(margin)
    return text and f"\u00b1 {text}"


def _closed_form(result: QualityResult) -> str:
    if np.isnan(result.closed_form):
        return NO_LIMIT
    text = f"{result.closed_form:.4f}"
    return text if result.closed_form_is_safe else UNSAFE.format(text)


def filled(template: str, numbers: dict[str, list[str]], passes: int) -> str:
    """Fill a template with the numbers after some passes, as ``static/readout.js`` does."""
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
    """SER-FIQ's formula as MathML, in symbols and with a placeholder for each number."""
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
            "published",
        ),
    ]
    return f'<dl class="serfiq-formula">{"".join(rows)}</dl>'


FORMULA = _formula()


def one_pass(result: QualityResult, chosen: int) -> str:
    """Describe one pass: its mean distance to the others, and the score without it."""
    if not 0 <= chosen < result.passes:
        return CHOOSE
    if result.passes <= 2:  # noqa: PLR2004  # one pass has no pair
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
    """Say which of two faces is better, by how much, and how similar their embeddings are."""
    a, b = results
    gap = a.best - b.best
    better = "A" if gap > 0 else "B"
    verdict = (
        "Both are equally good for this network."
        if a.in_words == b.in_words
        else f"<b>{better} is the better one for recognition</b>, by {abs(gap):.4f}: "
        f"{a.in_words} against {b.in_words.rpartition(' ')[2]}."
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
