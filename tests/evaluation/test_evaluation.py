"""Error versus discard: by hand, by brute force, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serfiq_widgets.errors import BadSetting, BadTable
from serfiq_widgets.evaluation import (
    Table,
    accuracy,
    brightness,
    chance,
    compare_all,
    compare_pairs,
    det,
    discard_curve,
    embedding_norm,
    evaluate,
    fnmr_at,
    load,
    oracle,
    read_pairs,
    resample,
    save,
    sharpness,
    threshold_at,
)
from serfiq_widgets.evaluation import comparisons as room
from serfiq_widgets.evaluation.verification import folds_of

# Four people a, b, c, d with two images each, and four impostor comparisons.
#         a0-a1 b0-b1 c0-c1 d0-d1 | a0-b0 a0-c0 b0-c0 c0-d0
FIRST = [0, 2, 4, 6, 0, 0, 2, 4]
SECOND = [1, 3, 5, 7, 2, 4, 4, 6]
SCORES = [0.9, 0.4, 0.7, 0.3, 0.5, 0.1, 0.2, 0.0]
GENUINE = [1, 1, 1, 1, 0, 0, 0, 0]
QUALITY = [8, 7, 2, 6, 5, 4, 1, 3]  # d0 is the worst, then b0, then d1


@pytest.fixture
def by_hand():
    return compare_pairs(FIRST, SECOND, SCORES, GENUINE)


def test_a_threshold_accepts_what_is_at_or_above_it(by_hand):
    # one of four impostors may pass: 0.5 does, 0.2 must not
    level = threshold_at(by_hand, 0.25)
    assert np.float32(0.2) < level < 0.2001
    assert fnmr_at(by_hand, level) == 0
    # none may pass: 0.5 is rejected, and with it 0.4 and 0.3
    strict = threshold_at(by_hand, 0.2)
    assert np.float32(0.5) < strict < 0.5001
    assert fnmr_at(by_hand, strict) == 0.5
    assert fnmr_at(by_hand, np.float32(0.7)) == 0.5
    assert threshold_at(by_hand, 1) == -math.inf


def test_the_curve_by_hand(by_hand):
    curve = discard_curve(by_hand, QUALITY, 0.2)
    # missed: b0-b1 and d0-d1. Without d0: b of a, b, c. Without b0 too: none of a, c.
    assert curve.at([0, 0.12, 0.125, 0.25, 0.5]).tolist() == [0.5, 0.5, 1 / 3, 0, 0]
    assert curve.at(0.99) == 0  # one image alone: no comparison, no error
    # 1/8 of the way at 1/2, another at 1/3, the rest at 0
    assert curve.pauc(0.25) == pytest.approx((0.5 + 1 / 3) / 2)
    assert curve.pauc(0.2) == pytest.approx((0.5 * 0.125 + 0.075 / 3) / 0.2)
    assert curve.pauc() == pytest.approx((0.5 + 1 / 3) / 8)
    # the theoretical best falls from 1/2 to 0 at a discard of 1/2: an area of 1/8
    assert curve.pauc(above_best=True) == pytest.approx((0.5 + 1 / 3) / 8 - 1 / 8)
    assert curve.pauc(0.2, above_best=True) == pytest.approx(curve.pauc(0.2) - 0.4)


def test_by_comparison_the_share_is_that_of_the_genuine_comparisons(by_hand):
    curve = discard_curve(by_hand, QUALITY, 0.2, by="comparison")
    assert curve.at([0, 0.24, 0.25, 0.49, 0.5, 1]).tolist() == [0.5, 0.5, 1 / 3, 1 / 3, 0, 0]


def test_thresholds_derived_anew_follow_the_impostors_that_are_left(by_hand):
    # without d0 and b0 the impostor 0.5 is gone: 0.1 is the highest
    curve = discard_curve(by_hand, [8, 7, 2, 6, 5, 4, 1, 3], 0.2, threshold="re-derived")
    assert curve.at([0, 0.125, 0.25]).tolist() == [0.5, 1 / 3, 0]
    # c0 and a0 go first: only d and b are left, and no impostor: everything is accepted
    curve = discard_curve(by_hand, [1, 7, 5, 6, 0, 4, 3, 3], 0.2, threshold="re-derived")
    assert curve.at(0.25) == 0
    assert discard_curve(by_hand, [1, 7, 5, 6, 0, 4, 3, 3], 0.2).at(0.25) == 1


def test_equal_qualities_go_together(by_hand):
    curve = discard_curve(by_hand, [1, 1, 0, 0, 1, 1, 0, 0], 0.2)
    assert curve.discard.tolist() == [0, 0.5]
    assert curve.at([0.49, 0.5]).tolist() == [0.5, 0]
    unscored = discard_curve(by_hand, [5, 6, np.nan, 7, 8, 9, -1, 2], 0.2)
    assert unscored.at(0.125) == pytest.approx(1 / 3)  # the image without a score goes first


def test_the_oracle_discards_the_image_with_most_errors_first():
    # image 0 fails against 1, 2 and 3; 4 against 5
    compared = compare_pairs(
        [0, 0, 0, 1, 4, 6], [1, 2, 3, 2, 5, 4], [0.1, 0.1, 0.1, 0.9, 0.1, 0.5], [1, 1, 1, 1, 1, 0]
    )
    assert oracle(compared, 0.1).tolist() == [0, 6, 6, 6, 1, 6, 6]
    curve = discard_curve(compared, oracle(compared, 0.1), 0.1)
    assert curve.at([0, 1 / 7, 2 / 7]).tolist() == [0.8, 0.5, 0]


def brute_force(embeddings, people, quality, fmr, by, threshold):
    """The definition, comparison by comparison: shares and FNMR at each distinct quality."""
    pairs = [
        (embeddings[i] @ embeddings[j], people[i] == people[j], min(quality[i], quality[j]))
        for i in range(len(people))
        for j in range(i + 1, len(people))
    ]

    def level(least):
        impostors = sorted((s for s, same, q in pairs if not same and q >= least), reverse=True)
        count = math.floor(fmr * len(impostors) + 1e-9)
        return impostors[count] if count < len(impostors) else -math.inf

    whole = level(-math.inf)
    genuine = [(s, q) for s, same, q in pairs if same]
    for least in sorted(set(quality)):
        bound = whole if threshold == "fixed" else level(least)
        left = [s for s, q in genuine if q >= least]
        gone = sum(q < least for q in quality) if by == "image" else len(genuine) - len(left)
        share = gone / (len(quality) if by == "image" else len(genuine))
        yield share, sum(s <= bound for s in left) / max(len(left), 1)


@st.composite
def data_sets(draw):
    images = draw(st.integers(4, 14))
    # of length 1 and few directions: scores are -1, -0.5, 0, 0.5 or 1, exactly, and tie
    embeddings = draw(arrays(np.float32, (images, 4), elements=st.sampled_from([-0.5, 0.5])))
    people = draw(arrays(np.int64, images, elements=st.integers(0, 3)))
    people[:3] = 0, 0, 1
    quality = draw(arrays(np.int64, images, elements=st.integers(0, 8)))
    return embeddings, people, quality


@given(
    data_sets(),
    st.sampled_from([0.01, 0.1, 1 / 3, 0.5, 1.0]),
    st.sampled_from(["image", "comparison"]),
    st.sampled_from(["fixed", "re-derived"]),
)
@settings(max_examples=150)
def test_curves_are_those_of_the_definition(data, fmr, by, threshold):
    embeddings, people, quality = data
    compared = compare_all(embeddings, people, tail=1)
    curve = discard_curve(compared, quality, fmr, by=by, threshold=threshold)
    wanted = list(brute_force(embeddings, people, quality, fmr, by, threshold))
    assert np.allclose(np.column_stack([curve.discard, curve.fnmr]), wanted, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def crowd():
    """300 images of 40 people, some of them blurred towards others; their quality knows it."""
    rng = np.random.default_rng(5)
    people = rng.integers(0, 40, 300)
    noise = rng.uniform(0.2, 1.5, 300)
    embeddings = rng.normal(size=(40, 16))[people] + noise[:, None] * rng.normal(size=(300, 16))
    return embeddings.astype("f4"), people, -noise


def all_scores(embeddings, people):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    i, j = np.triu_indices(len(unit), 1)
    return (unit @ unit.T)[i, j], people[i] == people[j]


@pytest.mark.parametrize("rows", [7, 64, 512])
def test_blocks_give_what_one_matrix_gives(crowd, rows, monkeypatch):
    monkeypatch.setattr(room, "ROWS", rows)
    embeddings, people, _ = crowd
    compared = compare_all(embeddings, people, tail=0.01)
    scores, same = all_scores(embeddings, people)
    # products of blocks round their last bit otherwise
    assert np.allclose(np.sort(compared.genuine), np.sort(scores[same]), rtol=0, atol=1e-6)
    highest = np.sort(scores[~same])[::-1][: math.ceil(0.01 * (~same).sum())]
    assert np.allclose(compared.tail, highest, rtol=0, atol=1e-6)
    assert compared.impostors == (~same).sum() == compared.impostor_bins.sum()
    assert compared.genuine_bins.sum() == same.sum()
    assert (people[compared.tail_first] != people[compared.tail_second]).all()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    again = np.einsum("nd,nd->n", unit[compared.tail_first], unit[compared.tail_second])
    assert np.allclose(again, compared.tail, rtol=0, atol=1e-6)
    edges = compared.edges.astype("f4")
    off = np.abs(np.histogram(scores[~same], edges)[0] - compared.impostor_bins).sum()
    assert off <= 2  # a score within rounding of an edge


@pytest.mark.slow
def test_the_roc_is_scikit_learns(crowd):
    metrics = pytest.importorskip("sklearn.metrics")
    embeddings, people, _ = crowd
    compared = compare_all(embeddings, people, tail=1)
    scores = np.concatenate([compared.genuine, compared.tail])
    same = np.arange(len(scores)) < len(compared.genuine)
    false, true, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    for fmr in (1e-4, 1e-3, 0.01, 0.1, 0.5):
        best = true[false <= fmr].max()
        assert fnmr_at(compared, threshold_at(compared, fmr)) == pytest.approx(1 - best)
    ours = dict(zip(*det(compared), strict=True))
    theirs = {}
    for fmr, tpr in zip(false, true, strict=True):
        theirs[fmr] = max(tpr, theirs.get(fmr, 0))
    known = [fmr for fmr in ours if fmr > 0]
    assert [ours[fmr] for fmr in known] == pytest.approx(
        [1 - true[np.flatnonzero(false == fmr)].min() for fmr in known]
    )


def test_beyond_the_tail_a_threshold_keeps_to_the_fmr_within_a_bin(crowd):
    embeddings, people, _ = crowd
    whole, short = (compare_all(embeddings, people, tail=t) for t in (1, 0.01))
    for fmr in (0.005, 0.05, 0.3, 0.9):
        exact, near = threshold_at(whole, fmr), threshold_at(short, fmr)
        assert 0 <= near - exact <= 2 / room.BINS
        assert (whole.tail >= near).mean() <= fmr
    assert threshold_at(whole, 0.005) == threshold_at(short, 0.005)


def test_a_short_tail_says_where_it_ends(crowd):
    embeddings, people, quality = crowd
    whole, short = (compare_all(embeddings, people, tail=t) for t in (1, 0.02))
    full = discard_curve(whole, quality, 0.01, threshold="re-derived")
    part = discard_curve(short, quality, 0.01, threshold="re-derived")
    known = np.isfinite(part.fnmr)
    assert known[:10].all()
    assert (part.fnmr[known] == full.fnmr[known]).all()
    assert np.isfinite(full.fnmr).all()


def test_weights_are_what_repeated_people_give(crowd):
    """A person drawn twice counts as two persons."""
    embeddings, people, quality = crowd
    compared = compare_all(embeddings, people, tail=1)
    shares = np.array([0, 0.1, 0.3, 0.5])
    for by in ("image", "comparison"):
        drawn = resample(compared, {"q": quality}, 0.01, shares=shares, by=by, draws=3, seed=1)["q"]
        rng = np.random.default_rng(1)
        weights = rng.multinomial(40, np.full(40, 1 / 40), size=3)
        missed = compared.genuine < threshold_at(compared, 0.01)
        for draw, weight in enumerate(weights):
            images = np.repeat(np.arange(300), weight[compared.people])
            pairs = np.repeat(
                np.arange(len(compared.genuine)), weight[compared.people[compared.first]]
            )
            lower = np.minimum(quality[compared.first], quality[compared.second])[pairs]
            for place, share in enumerate(shares):
                pool = quality[images] if by == "image" else lower
                least = np.sort(pool)[math.floor(share * len(pool) + 1e-9)]
                wanted = missed[pairs][lower >= least].mean() if (lower >= least).any() else 0
                assert drawn.fnmr[draw, place] == pytest.approx(wanted)


def test_an_evaluation_tells_good_from_random(crowd):
    embeddings, people, quality = crowd
    table = Table(compare_all(embeddings, people), {"good": quality}).with_baselines(0.01)
    result = evaluate(table, 0.01, draws=50)
    said = result.as_dict()
    assert (said["genuine"], said["impostor"]) == (
        len(table.comparisons.genuine),
        table.comparisons.impostors,
    )
    assert said["qualities"]["good"]["fnmr"][0] == said["fnmr"] > 0
    areas = {name: said["qualities"][name]["pauc"]["0.3"] for name in table.qualities}
    assert areas["oracle"] < areas["good"] < areas["random"]
    _, low, high = result.difference("good", "random")
    assert low < high < 0
    for (low, high), fnmr in zip(
        said["qualities"]["good"]["fnmr_band"], said["qualities"]["good"]["fnmr"], strict=True
    ):
        assert low <= fnmr <= high
    assert said["det"]["fnmr"] == sorted(said["det"]["fnmr"], reverse=True)


def test_a_saved_table_gives_the_same_numbers_and_no_name(crowd, tmp_path):
    embeddings, people, quality = crowd
    names = tuple(f"somebody_{i}" for i in range(300))
    table = Table(compare_all(embeddings, people), {"q": quality}, names, {"model": "m"})
    save(tmp_path / "table.npz", table, tail=200)
    again = load(tmp_path / "table.npz")
    assert b"somebody" not in (tmp_path / "table.npz").read_bytes()
    assert (again.names, again.about) == ((), {"model": "m"})
    assert (again.comparisons.first == table.comparisons.first).all()
    # a step of the scores is 2/65535 wide: at most that much lies between them and the threshold
    assert threshold_at(again.comparisons, 1e-3) == pytest.approx(
        threshold_at(table.comparisons, 1e-3), abs=2 / 65535
    )
    before, after = (evaluate(t, 1e-3, draws=0).curves["q"] for t in (table, again))
    shares = np.linspace(0, 0.5, 20)
    near = np.abs(table.comparisons.genuine - threshold_at(table.comparisons, 1e-3)) < 4 / 65535
    most = (near.sum() + 0.5) / (len(near) / 10)  # so many are left at half of the images
    assert np.abs(before.at(shares) - after.at(shares)).max() <= most
    with pytest.raises(BadSetting, match="keep the threshold fixed"):
        evaluate(again, threshold="re-derived")
    (tmp_path / "broken.npz").write_bytes(b"no table")
    for name in ("broken.npz", "missing.npz"):
        with pytest.raises(BadTable, match=name):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compare_all(np.ones((3, 2)), [0, 1]), "3 embeddings, but 2 identities"),
        (lambda: compare_all(np.ones((3, 2)), [0, 1, 2]), "no genuine comparison"),
        (lambda: compare_all(np.ones((3, 2)), [0, 0, 0]), "no impostor comparison"),
        (lambda: compare_all(np.eye(3, 2), [0, 0, 1]), "Embedding 2 is all zeros"),
        (lambda: compare_all([[np.nan, 1]], [0]), "finite"),
        (lambda: compare_pairs([0], [1], [np.inf], [1]), "finite"),
        (lambda: compare_pairs([0], [1], [1, 2], [1]), "differ in number"),
        (lambda: threshold_at(compare_pairs(FIRST, SECOND, SCORES, GENUINE), 0), "FMR=0 .*above 0"),
        (lambda: discard_curve(compare_pairs(FIRST, SECOND, SCORES, GENUINE), [1, 2]), "8 images"),
    ],
)
def test_what_cannot_be_evaluated_is_said(call, words):
    with pytest.raises(BadSetting, match=words):
        call()


def test_ten_folds_by_hand():
    scores = np.array([0.8, 0.9, 0.1, 0.2] * 10)
    same = np.array([True, True, False, False] * 10)
    assert folds_of(same).tolist() == [f for f in range(10) for _ in range(4)]
    assert accuracy(scores, same).mean == 1
    scores[0] = 0.15  # a miss in fold 0: its level is that of the others
    found = accuracy(scores, same)
    assert found.mean == pytest.approx(1 - 0.25 / 10)
    assert found.best == pytest.approx(1 - 1 / 40)
    assert found.deviation == pytest.approx(0.25 / 10)  # one of ten differs: std / sqrt(10)
    assert folds_of(same[::-1]).tolist() == [i % 10 for i in range(40)]


@given(
    arrays(np.float32, 60, elements=st.integers(0, 12).map(float)),
    arrays(bool, 60),
)
@settings(max_examples=50)
def test_folds_take_the_best_threshold_of_the_others(scores, same):
    folds = np.arange(60) % 10
    right = []
    for fold in range(10):
        test = folds == fold
        levels = np.unique(scores[~test])
        rates = [((scores[~test] >= level) == same[~test]).mean() for level in levels]
        level = levels[int(np.argmax(rates))]
        right.append(((scores[test] >= level) == same[test]).mean())
    assert accuracy(scores, same, folds).mean == pytest.approx(np.mean(right))


def test_pairs_files_are_read(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text("10\t300\nA_B\t1\t12\nA_B\t2\tC\t3\n")
    assert read_pairs(file) == [
        ("A_B/A_B_0001.jpg", "A_B/A_B_0012.jpg", True),
        ("A_B/A_B_0002.jpg", "C/C_0003.jpg", False),
    ]
    file.write_text("one two three\n")
    with pytest.raises(BadTable, match=r"pairs\.txt"):
        read_pairs(file)
    file.write_text("A\tone\ttwo\n")
    with pytest.raises(BadTable, match=r"pairs\.txt"):
        read_pairs(file)


def test_baselines_say_what_their_names_promise():
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    flat = np.full((112, 112, 3), 90, np.uint8)
    assert sharpness(noisy) > sharpness(flat) == pytest.approx(0, abs=1e-9)
    assert brightness(flat) == pytest.approx(90)
    assert embedding_norm([[3, 4], [0, 1]]).tolist() == [5, 1]
    assert (chance(5) == chance(5)).all()


def test_sharpness_is_opencvs(sample_faces):
    cv2 = pytest.importorskip("cv2")
    for face in sample_faces:
        grey = face @ np.array([0.299, 0.587, 0.114])
        assert sharpness(face) == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var())
