"""Scores: the published method's numbers, repeatable, and the running score of every t."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serfiq_widgets import Ruin, Scorer, find_face
from serfiq_widgets import robustness as rb
from serfiq_widgets.errors import (
    BadSetting,
    CorruptModel,
    EngineUnavailable,
    SerfiqError,
    UnknownModel,
)
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.scoring.estimates import AUTO_PASSES, NARROW

COLLINS = folder("sample_images") / "collins.jpg"

# Embeddings are float32: a distance near d = 0.3 carries an error of about eps/d, and a product of
# another shape may sum in another order.
FLOAT32_SCORE = 1e-6


@pytest.fixture(scope="module")
def collins(scorer):
    return scorer.score(COLLINS, passes=200)


@settings(max_examples=30)
@given(st.integers(2, 200))
def test_every_running_entry_equals_a_fresh_score(scorer, collins, t):
    fresh = scorer.score(collins.face, passes=t)
    assert collins.running[t - 1] == pytest.approx(fresh.raw, abs=FLOAT32_SCORE)
    np.testing.assert_allclose(
        collins.running_interval[t - 1], fresh.interval, atol=10 * FLOAT32_SCORE
    )
    then = collins.at(t)
    assert then.raw == collins.running[t - 1]
    assert abs(then.quality - fresh.quality) <= 1
    assert len(then.embeddings) == then.passes == t


def test_the_score_is_the_papers_formula(collins):
    distances = [
        np.linalg.norm(a.astype(float) - b)
        for i, a in enumerate(collins.embeddings)
        for b in collins.embeddings[:i]
    ]
    assert collins.raw == pytest.approx(2 / (1 + np.exp(np.mean(distances))), abs=FLOAT32_SCORE)
    assert collins.mean_distance == pytest.approx(np.mean(distances), abs=FLOAT32_SCORE * 10)
    published = 1 / (1 + np.exp(-60 * (collins.raw - 0.765)))
    assert collins.published_quality == round(100 * published)
    assert collins.best == collins.controlled
    scaled = 1 / (1 + np.exp(-60 * (collins.best - 0.765)))
    assert collins.scaled == pytest.approx(scaled)
    assert collins.quality == round(100 * scaled)
    ends = 100 / (1 + np.exp(-60 * (np.array(collins.best_interval) - 0.765)))
    assert collins.quality_margin == pytest.approx(np.ptp(ends) / 2)
    np.testing.assert_allclose(np.linalg.norm(collins.embeddings, axis=1), 1, atol=1e-6)


def test_scores_repeat_and_seeds_differ(scorer):
    face = find_face(COLLINS)
    assert scorer.score(face).raw == pytest.approx(scorer.score(face).raw, rel=1e-6)
    other = Scorer(seed=1).score(face)
    assert abs(other.raw - scorer.score(face).raw) > 1e-4
    one = scorer.score(face)
    assert other.interval[0] < one.interval[1]
    assert one.interval[0] < other.interval[1]


@pytest.mark.slow
def test_score_many_equals_one_by_one_and_goes_on(scorer):
    images = [*sample_images(), "no/such.jpg", COLLINS, b"broken"] * 3
    results = list(scorer.score_many(images, passes=50))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        if isinstance(result, SerfiqError):
            assert image in ("no/such.jpg", b"broken")
        else:
            # a batch may take another path through the convolutions
            assert result.raw == pytest.approx(scorer.score(image, 50).raw, abs=1e-5)


@pytest.mark.parametrize("passes", [2, 3, 100])
def test_the_road_of_datasets_gives_the_same_numbers(scorer, passes):
    faces = [find_face(path) for path in sample_images()[:4]]
    scores = scorer.score_batch(faces, passes)
    for i, one in enumerate(scorer.score_many(faces, passes)):
        # the same float32 embeddings; the moments' products of float32 depend on the batch
        names = ("raw", "low", "high", "controlled", "controlled_low", "controlled_high")
        numbers = [getattr(scores, name)[i] for name in (*names, "closed_form", "scaled")]
        wanted = (one.raw, *one.interval, one.controlled, *one.controlled_interval)
        np.testing.assert_allclose(numbers, (*wanted, one.closed_form, one.scaled), 1e-6)
        assert (scores.quality[i], scores.passes[i]) == (one.quality, passes)
        assert scores.margin[i] == pytest.approx(one.quality_margin, rel=1e-6)


def test_as_many_passes_are_made_as_the_interval_needs(scorer):
    faces = [find_face(path) for path in sample_images()]
    scores = scorer.score_batch(faces, "auto")
    assert len(set(scores.passes)) > 1  # some faces need more than others
    ends = np.stack([scores.controlled_low, scores.controlled_high], axis=1)
    margins = rb.quality_margin(ends, scorer.card.alpha, scorer.card.r)
    assert (margins <= NARROW).all()
    for face, passes, controlled, margin in zip(
        faces, scores.passes, scores.controlled, margins, strict=True
    ):
        result = scorer.score(face, passes)
        assert result.controlled == pytest.approx(controlled, rel=1e-6)  # another batch
        assert result.quality_margin == pytest.approx(margin, rel=1e-3)
        fewer = [t for t in AUTO_PASSES if t < passes]
        assert all(result.at(t).quality_margin > NARROW for t in fewer)


def test_five_controlled_passes_say_what_two_hundred_do(scorer):
    for path in sample_images():
        many = scorer.score(path, 200)
        few = many.at(5)
        # both intervals are true of 95 in 100 faces; here no face may miss by more than their sum
        assert abs(few.best - many.best) <= np.ptp(few.best_interval) + np.ptp(many.best_interval)
        assert np.ptp(few.best_interval) < np.ptp(many.interval)  # narrower than 200 plain ones


@pytest.mark.slow
def test_ruined_samples_score_below_their_originals(scorer, y1_scorer):
    for one in (scorer, y1_scorer):
        limits = {path.stem: one.score(path, 200) for path in sample_images()}
        for name, result in limits.items():
            person, _, ruin = name.partition("_")
            if ruin:
                assert result.raw < limits[person].raw, name
                assert result.limit < limits[person].limit, name


def test_ruined_samples_score_below_their_originals_with_the_bundled_model(scorer):
    scores = {path.stem: scorer.score(path).raw for path in sample_images()}
    assert len(scores) >= 8
    for name, raw in scores.items():
        assert name in ("collins", "hopper") or raw < scores[name.partition("_")[0]], name


@pytest.mark.slow
def test_the_references_examples_rank_as_in_the_reference(shared, scorer, y1_scorer):
    portrait, masked = (shared / "data" / f"{name}.jpeg" for name in ("test_img", "test_img2"))
    for one in (scorer, y1_scorer):
        first, second = one.score(portrait), one.score(masked)
        assert first.interval[0] > second.interval[1]
        assert first.limit > second.limit


@pytest.mark.slow
@pytest.mark.parametrize("which", ["scorer", "y1_scorer"])
def test_the_exact_limit_is_where_two_thousand_passes_go(which, request, lfw_faces):
    one = request.getfixturevalue(which)
    ratios = []
    for face in lfw_faces[:50]:
        result = one.score(face, passes=2000)
        limit = np.log(2 / result.limit - 1)
        ratios.append(limit / result.mean_distance - 1)
    assert abs(np.mean(ratios)) < 0.003


@pytest.mark.parametrize("passes", [0, 1, -1, 10**9, 2001, "ten", 2.5, None, True, float("nan")])
def test_impossible_passes(scorer, passes):
    with pytest.raises(BadSetting, match=r"passes=.* 2 to 2000"):
        scorer.score(COLLINS, passes=passes)


@pytest.mark.parametrize("seed", [-1, "a", 1.5, 2**80])
def test_impossible_seeds(seed):
    with pytest.raises(BadSetting, match="seed="):
        Scorer(seed=seed)


def test_numpy_integers_are_passes_too(scorer):
    assert scorer.score(COLLINS, passes=np.int64(10)).passes == 10


@pytest.mark.parametrize(
    ("settings_", "error", "hint"),
    [
        ({"model": "minni"}, UnknownModel, "mini"),
        ({"model": "no/such/model.onnx"}, UnknownModel, "model.onnx"),
        ({"model": COLLINS}, CorruptModel, "collins.jpg"),
        ({"engine": "tensorflow"}, BadSetting, "onnxruntime"),
        ({"device": "toaster"}, BadSetting, "cuda"),
        ({"device": "cuda:x"}, BadSetting, "cuda"),
        ({"device": "cpu:1"}, BadSetting, "cpu"),
        ({"engine": "onnxruntime", "device": "cuda"}, EngineUnavailable, "onnxruntime-gpu"),
    ],
)
def test_impossible_settings_say_what_is_possible(settings_, error, hint):
    with pytest.raises(error, match=hint):
        Scorer(**settings_)


def test_an_onnx_file_scores_like_its_checkpoint(y1, y1_scorer, tmp_path, collins):
    from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
    from serfiq_widgets.checkpoints.params import read_params

    model = to_onnx(y1.read_bytes(), read_params(y1.with_name("model-0000.params")))
    file = tmp_path / "y1.onnx"
    file.write_bytes(model.SerializeToString())
    expected = y1_scorer.score(collins.face).raw
    assert Scorer(file).score(collins.face).raw == pytest.approx(expected, rel=1e-6)


def test_broken_onnx_files(tmp_path):
    for content in (b"", b"text, not a graph", bytes(range(256)) * 10):
        file = tmp_path / "face.onnx"
        file.write_bytes(content)
        with pytest.raises(CorruptModel, match=r"face\.onnx"):
            Scorer(file)


def test_half_a_checkpoint_says_which_half_is_missing(y1, tmp_path):
    (tmp_path / "half-symbol.json").write_bytes(y1.read_bytes())
    with pytest.raises(CorruptModel, match=r"half-0000\.params"):
        Scorer(tmp_path / "half-symbol.json")
    (tmp_path / "rest-0000.params").write_bytes(b"x")
    with pytest.raises(CorruptModel, match=r"rest-symbol\.json"):
        Scorer(tmp_path / "rest")


def test_results_trace_back(collins, scorer):
    assert collins.model == "mini"
    assert collins.model_sha256 == scorer.network.sha256
    assert (collins.engine, collins.device, collins.seed) == ("onnxruntime", "cpu", 0)
    assert set(collins.timings) == {"face", "trunk", "passes", "spread", "limit"}
    assert rb.quality_component(collins.scaled) == collins.quality
    assert collins.interval[0] < collins.raw < collins.interval[1]


def test_what_is_printed_is_one_line_of_numbers_without_the_face(scorer, collins):
    result, face = collins.at(5), collins.face
    for shown, parts in {
        repr(result): (f"quality={result.quality}", f"raw={result.raw:.4f}", "passes=5", "'mini'"),
        repr(face): (repr(face.name), "face 1 of 1", "centerface"),
        repr(replace(face, detector="")): ("given aligned",),
        repr(scorer): ("Scorer('mini'", "rate=0.4", "seed=0"),
    }.items():
        assert all(part in shown for part in parts), shown
        assert len(shown) < 300
        assert "array" not in shown
        assert "\n" not in shown


def test_shared_masks_steady_versions_of_one_photo_and_not_other_faces(scorer):
    collins, hopper = (find_face(COLLINS.with_name(f"{who}.jpg")) for who in ("collins", "hopper"))
    noisy = replace(collins, pixels=Ruin(noise=12).apply(collins.pixels))
    a, b, c = (scorer.reseeded_scores(face, 10, 400) for face in (collins, noisy, hopper))
    assert np.corrcoef(a, b)[0, 1] > 0.8
    assert np.corrcoef(a, c)[0, 1] < 0.4  # 0.19 ± 0.05, a standard error of 400 draws
