"""The exercises of lessons 1 to 6: `check` judges an answer and gives hints.

The numbers are those of the bundled network and samples. The solutions in the notebooks are open
to everybody, so nothing is hidden here. `tools/lesson_answers.py` has wrong answers to each, and
the tests try them and each solution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.lessons.answers import Exercise, Numbers, Slip, Verdict, check_with

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
    >>> from serfiq_widgets.lessons.exercises import check
    >>> check("1.2", 1.25)
    This is the other way round: too small means a factor below 1.
    """
    if number not in EXERCISES:
        raise BadSetting(f"No exercise {number!r:.20}; there are: {', '.join(EXERCISES)}.")
    if hints not in range(3):
        raise BadSetting(f"hints must be 0, 1 or 2, not {hints!r:.20}.")
    return check_with(EXERCISES[number], answer, hints)


def _order(answer: Any) -> str | None:
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


def _raises_hopper(answer: Any) -> str | None:
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


def _best_factor(answer: Any) -> str | None:
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


EXERCISES = {
    "1.1": Exercise(
        "the raw score of hopper.jpg",
        Numbers(
            [0.7793],
            [0.0005],
            [
                Slip([0.4490], "This is the mean distance; step 2 turns it into the raw score."),
                Slip([0.7811], "Is the diagonal of the distances in your mean? See exercise 2."),
                Slip([0.7923], "This is the score of collins.jpg; you still use its embeddings."),
                Slip([70], "This is a quality; the raw score comes before it."),
                Slip([67], "This is a quality; the raw score comes before it."),
            ],
        ),
        (
            "Three steps: all pairs of rows, their mean distance, the formula of step 2.",
            "Take the cell *by hand* and score samples / 'hopper.jpg' with passes=100 as its z.",
        ),
    ),
    "1.2": Exercise(
        "the factor by which the mean over all cells is wrong, for T = 5",
        Numbers(
            [0.8],
            [0.001],
            [
                Slip([1.25], "This is the other way round: too small means a factor below 1."),
                Slip([0.2], "This is the share of the zeros; what share of the cells is left?"),
                Slip([0.4], "Count both halves of the table: each pair stands in it twice."),
            ],
        ),
        (
            "How many cells has the table for T = 5, and how many of them are 0 for sure?",
            "The sum is the same in both means. Only what it is divided by differs.",
        ),
    ),
    "1.3": Exercise(
        "a list of the ten file names, best first",
        _order,
        (
            "Which photos hide a part of the face, and which only lack fine detail?",
            "Score one you are sure about and one you are not: scorer.score(samples / name).",
        ),
    ),
    "2.1": Exercise(
        "two numbers of passes: for an interval narrower than 0.01, and than 0.005",
        Numbers(
            [46, 147],
            [0.5, 0.5],
            [
                Slip([45, 146], "Count from 1: the first row is the score after one pass."),
                Slip([18, 46], "The width goes from end to end; this is half of it."),
                Slip([46, 184], "Four times is what the rule says. Count it for this run."),
            ],
        ),
        (
            "result.running_interval has the two ends after each pass.",
            "np.diff(..., axis=1) gives the widths; np.argmax of a comparison the first True.",
        ),
    ),
    "2.2": Exercise(
        "how often the clean face wins, in percent: with the same masks, with masks of its own",
        Numbers(
            [90.5, 66.5],
            [3, 3],
            [
                Slip(
                    [90.5, 90.5],
                    "For masks of its own compare each draw of one with all draws of the other.",
                ),
                Slip([100, 92.8], "This is with 100 passes; ten are asked for."),
            ],
        ),
        (
            "scorer.reseeded_scores(face, 10, 200) gives the scores under 200 draws of the masks.",
            "Same masks: (a > b).mean(). Own masks: compare a[:, None] with b.",
        ),
    ),
    "2.3": Exercise(
        "the four raw scores, for p = 0.1, 0.2, 0.4 and 0.8",
        Numbers(
            [0.912, 0.870, 0.795, 0.597],
            [0.01] * 4,
            [
                Slip([0.795] * 4, "All alike: was the rate passed on? Scorer(rate=...)."),
                Slip([0.176, 0.263, 0.416, 0.854], "These are the mean distances, not the scores."),
            ],
        ),
        (
            "A scorer with another rate: Scorer(rate=0.1).",
            "Loop over the rates, score collins.jpg, take .raw (or .controlled).",
        ),
    ),
    "2.4": Exercise(
        "the factor with the lowest variance, and True or False: does the mean change with it?",
        _best_factor,
        (
            "Multiply what is subtracted by the factor; repeat it for 400 seeds.",
            "The error of a mean of 400 is its scatter divided by 20. Compare the means with that.",
        ),
    ),
    "3.1": Exercise(
        "two strengths: the blur in px, and the resolution in px, that halve the quality",
        Numbers(
            [2.3, 24.5],
            [0.2, 3],
            [
                Slip([1, 47], "There hardly anything has happened yet."),
                Slip([4, 12], "There the quality is 0 already. Go back."),
            ],
        ),
        (
            "Draw the curve in the lab, or use sweep(scorer, face, name, points=105).",
            "Look for the mildest strength whose quality is below half of the curve's maximum.",
        ),
    ),
    "3.2": Exercise(
        "what is left with the glasses' shape in grey 128, and with the strip in grey 25",
        Numbers(
            [60, 53],
            [0.9, 0.9],
            [
                Slip(
                    [55, 52], "You changed the colours: grey for the glasses, black for the strip."
                ),
                Slip(
                    [61, 52], "These are the two from above. Change one thing of each: the colour."
                ),
            ],
        ),
        (
            "The difference has two parts: where it is hidden, and in which grey.",
            "Where Ruin(cover='sunglasses') changes a pixel is its shape; fill it with 128.",
        ),
    ),
    "3.3": Exercise(
        "a Ruin that raises the quality of hopper.jpg",
        _raises_hopper,
        (
            "The curve above shows one.",
            "Move the sliders of the lab only a little. Which way did Hopper's curve of blur go?",
        ),
    ),
    "3.4": Exercise(
        "three qualities: the plain photo dimmed; dimmed and lit again; the dark photo lit",
        Numbers(
            [34, 85, 14],
            [3, 2, 3],
            [
                Slip(
                    [34, 85, 1], "The dark photo is still dark in the third: multiply its pixels."
                ),
                Slip([86, 86, 14], "Was the plain photo dimmed? Its mean grey must be 13."),
                Slip([61, 85, 14], "Three stops are a little too few for a mean grey of 13."),
            ],
        ),
        (
            "A stop is a factor of 2. How many stops lie between the means 134 and 13?",
            "Ruin(brightness=-3.4) dims; pixels * 2**3.4, clipped to 255, gives the light back.",
        ),
    ),
    "4.1": Exercise(
        "what is left of FNMR after a discard of 30 %, in percent, at FMR 0.01, 0.001, 0.0001",
        Numbers(
            [19, 32, 48],
            [1, 1, 1],
            [
                Slip([81, 68, 52], "This is what is gained. What is left?"),
                Slip([0.36, 2.2, 7.73], "This is FNMR after the discard; divide by that before."),
                Slip([1.9, 6.9, 16.0], "This is FNMR before any discard."),
            ],
        ),
        (
            "discard_curve(compared, quality, fmr) for each FMR.",
            "curve.at([0, 0.3]) gives both ends; their ratio is wanted.",
        ),
    ),
    "4.2": Exercise(
        "pAUC at 30 % of the mixture with the norm, and the mean one with random numbers",
        Numbers(
            [0.0386, 0.0491],
            [0.0002, 0.0025],
            [
                Slip([0.0477, 0.0683], "These are the rivals alone; add their ranks to SER-FIQ's."),
                Slip([0.0386, 0.0683], "The second is a random number alone; mix it, too."),
                Slip([0.0382, 0.0491], "The first is SER-FIQ alone."),
            ],
        ),
        (
            "rankdata makes two qualities comparable, whatever their units are.",
            "discard_curve(compared, rankdata(quality) + rankdata(other), FMR).pauc(0.3).",
        ),
    ),
    "4.3": Exercise(
        "the person's share of the comparisons in percent, FNMR without, FNMR with all alike",
        Numbers(
            [66, 0.1117, 0.1578],
            [1, 0.001, 0.001],
            [
                Slip([6.9, 0.1117, 0.1578], "The first is the share of images. Count comparisons."),
                Slip([66, 0.0687, 0.1578], "The second is FNMR with that person."),
                Slip([66, 0.1117, 0.0687], "The third still weighs each comparison alike."),
            ],
        ),
        (
            "compared.people[compared.first] is the person of each genuine comparison.",
            "np.bincount(owner) counts comparisons, np.bincount(owner, missed) errors.",
        ),
    ),
    "5.1": Exercise(
        "how many of them, and both ends of Wilson's interval in percent",
        Numbers(
            [16, 7.0, 17.4],
            [0.1, 0.1, 0.1],
            [
                Slip([16, 6.0, 16.4], "This is the simple interval, symmetric around the share."),
                Slip([16, 0.070, 0.174], "Give the ends in percent."),
                Slip([143, 7.0, 17.4], "The first is the number of people, not of those below 50."),
            ],
        ),
        (
            "quality[age >= 90] are their qualities.",
            "wilson_interval(hits, number) of serfiq_widgets.evaluation.bias.",
        ),
    ),
    "5.2": Exercise(
        "Cliff's delta of the group Asian: over all ages, and for adults from 20 to 59",
        Numbers(
            [-0.46, -0.48],
            [0.006, 0.006],
            [
                Slip([-0.18, -0.35], "This is another group."),
                Slip([14.3, 5.8], "These are discard rates. Delta lies between -1 and 1."),
                Slip([-0.46, -0.46], "The adults are compared with the adults of the others only."),
            ],
        ),
        (
            "cliffs_delta(quality[own], quality[~own]) of serfiq_widgets.evaluation.bias.",
            "For the adults both sides need & adult.",
        ),
    ),
    "5.3": Exercise(
        "in percent of the tries, something 'significant': with the correction, and without",
        Numbers(
            [3, 20],
            [5, 10],
            [
                Slip([20, 3], "The correction makes it rarer: these are swapped."),
                Slip(
                    [5, 5],
                    "Five groups are tested in each try; without a correction each has "
                    "its own chance.",
                ),
                Slip([100, 100], "Were the groups shuffled? labels(...)._replace(codes=...)."),
            ],
        ),
        (
            "Shuffle the codes of the groups; then every difference is chance.",
            "Sixty times: the smallest p_holm and the smallest p of group_scores(...).rows(0.75).",
        ),
    ),
    "6.1": Exercise(
        "the mean cosine within one person and between two, with the wrong pixels",
        Numbers(
            [0.84, 0.71],
            [0.01, 0.01],
            [
                Slip([0.957, 0.186], "These are the right pixels. Try RGB, 0 to 255."),
                Slip([0.875, 0.729], "Blue first still. The colours, too, should be wrong."),
            ],
        ),
        (
            "The table of the trials has a row for these pixels, and the warning says it as well.",
            "Scorer(MODEL, card={'colour': 'RGB', 'mean': 0, 'scale': 1}).",
        ),
    ),
    "6.2": Exercise(
        "the lowest raw score of the ten photos, for p = 0.1, 0.2 and 0.7",
        Numbers(
            [0.792, 0.709, 0.478],
            [0.005] * 3,
            [
                Slip([0.912, 0.870, 0.660], "These are the highest."),
                Slip([0.595, 0.595, 0.595], "The rate did not change: it is the fourth argument."),
            ],
        ),
        (
            "No new scorer is needed: robustness.limit_distances(features, A, c, rate).",
            "robustness.raw_score turns distances into raw scores; take .min().",
        ),
    ),
    "6.3": Exercise(
        "by how many percent the first order is too large: the least and the most of ten photos",
        Numbers(
            [0.38, 1.15],
            [0.03, 0.03],
            [
                Slip([0, 0], "The two orders are the same here: order=1 and order=2."),
                Slip([-1.14, -0.38], "This is how much the second is below the first."),
            ],
        ),
        (
            "limit_distances(..., order=1) and order=2.",
            "100 * (one / two - 1), its .min() and .max().",
        ),
    ),
}
