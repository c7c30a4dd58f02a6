"""Calibration: the rule, what it makes of real faces, and where it is kept, shown and dropped."""

import json
import math
import re
import shutil
import tomllib

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serfiq_widgets import Scorer
from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.models import cards
from serfiq_widgets.resources import folder
from serfiq_widgets.scoring.calibration import RULE, calibrate, fit
from serfiq_widgets.scoring.network import forget_stretch, own_stretch, save_card

COLLINS = folder("sample_images") / "collins.jpg"
PEOPLE = 24
EASY = {"passes": 20}  # for tests that are not about the scores

raw_scores = arrays(np.float64, st.integers(20, 80), elements=st.floats(0.391, 1.0))


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A folder of models of one's own."""
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="session")
def crops(lfw, tmp_path_factory):
    """Aligned faces of some people, and a broken file."""
    to = tmp_path_factory.mktemp("crops")
    for person in sorted(p for p in lfw.iterdir() if p.is_dir())[:PEOPLE]:
        shutil.copy(min(person.glob("*.jpg")), to)
    (to / "broken.jpg").write_bytes(COLLINS.read_bytes()[:999])
    return to


@pytest.fixture
def network(y1, tmp_path):
    """A checkpoint without a card, in a folder of its own."""
    for path in y1.parent.glob("model-*"):
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path / y1.name


def spread(raw):
    low, high = np.quantile(raw, [0.05, 0.95])
    return high - low


@given(raw_scores)
def test_the_quantiles_get_quality_ten_and_ninety(raw):
    assume(spread(raw) > 1e-3)
    stretch = fit(raw)
    ends = np.quantile(raw, [0.05, 0.95])
    assert list(stretch.qualities(ends)) == [10, 90]
    assert stretch.qualities(ends.mean()) == 50
    assert 0 <= stretch.qualities(raw).min() <= 10
    assert 90 <= stretch.qualities(raw).max() <= 100
    assert (np.diff(stretch.qualities(np.sort(raw))) >= 0).all()


@given(raw_scores, st.floats(0.2, 5), st.floats(-1, 1))
def test_qualities_do_not_depend_on_where_raw_scores_crowd(raw, scale, shift):
    assume(spread(raw) > 1e-2)
    other = scale * raw + shift
    # an integer apart where a score lies on the edge between two
    difference = fit(raw).qualities(raw) - fit(other).qualities(other)
    assert np.abs(difference).max() <= 1


def test_the_logistic_through_two_points():
    raw = np.linspace(0.6, 0.8, 101)  # quantiles at 0.61 and 0.79
    stretch = fit(raw)
    assert stretch.r == pytest.approx(0.7)
    assert stretch.alpha == pytest.approx(2 * math.log(9) / 0.18)
    assert fit(raw, 0.25, 0.75).alpha == pytest.approx(2 * math.log(9) / 0.1)


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ([], "0 faces are too few"),
        (np.linspace(0, 1, 19), "19 faces are too few"),
        ([*np.linspace(0, 1, 30), np.nan], "not finite"),
        ([*np.linspace(0, 1, 30), np.inf], "not finite"),
        ([0.89] * 30, "nearly all equal"),
        ([0.5, *[0.89] * 50, 0.9], "nearly all equal"),
    ],
)
def test_what_cannot_be_fitted_is_said(raw, hint):
    with pytest.raises(BadSetting, match=hint):
        fit(raw)


def test_quantiles_must_rise():
    with pytest.raises(BadSetting, match="rise"):
        fit(np.linspace(0, 1, 30), 0.9, 0.1)


def test_a_bad_file_is_counted(scorer, crops):
    calls = []
    images = sorted(crops.iterdir())
    done = calibrate(
        scorer, images, aligned=True, name="crops", progress=lambda *at: calls.append(at)
    )
    assert len(done.raw) == PEOPLE
    (error,) = done.errors
    assert "broken.jpg" in error
    assert calls == [(PEOPLE + 1, PEOPLE + 1)]  # they are one chunk
    assert done.population == f"{PEOPLE} faces of crops; {RULE}, T=100"
    assert (done.before.alpha, done.before.r) == (60, 0.765)
    good = [path for path in images if path.name != "broken.jpg"]
    alone = [scorer.score(path, aligned=True) for path in good]
    # a batch may take another path through the convolutions
    np.testing.assert_allclose(done.raw, [result.best for result in alone], atol=1e-5)
    assert np.abs(done.qualities[0] - [result.quality for result in alone]).max() <= 1
    assert done.after == fit(done.raw)


def test_too_few_good_files_names_a_bad_one(scorer, crops):
    images = sorted(crops.iterdir())
    with pytest.raises(BadSetting, match=r"^5 faces are too few"):
        calibrate(scorer, images[:5], aligned=True)
    bad = [b"not an image"] * 10
    with pytest.raises(BadSetting, match=r"^10 faces.* Not scored: 10 of 20 images.*not an image"):
        calibrate(scorer, [*bad, *images[:10]], aligned=True, **EASY)


@pytest.mark.slow
def test_an_own_network_is_calibrated_used_and_reset(network, crops):
    card = network.with_name("model.card.toml")
    save_card(network, title="our y1", rate=0.4)
    before = card.read_text()
    command = ("score", crops, "--aligned", "--model", network, "--passes", 20)
    first = run(*command)
    assert f"serfiq calibrate {network} FOLDER" in first.stderr
    assert first.stderr.count("is not calibrated") == 1
    assert " \N{EN DASH} " in first.stdout

    result = run("calibrate", network, crops, "--aligned", "--name", 'Our "LFW"', "--passes", 20)
    assert result.exit_code == 0, result.output
    assert f"Not scored: 1 of {PEOPLE + 1} images. 'broken.jpg'" in result.output
    said = tomllib.loads(card.read_text())
    assert said["title"] == "our y1"
    assert said["population"] == f'{PEOPLE} faces of Our "LFW"; {RULE}, T=20'

    scorer = Scorer(network)
    assert (scorer.card.alpha, scorer.card.r) == (said["alpha"], said["r"])
    assert scorer.card.population == said["population"]
    files = [path for path in sorted(crops.iterdir()) if path.name != "broken.jpg"]
    results = list(scorer.score_many(files, 20, aligned=True))
    qualities = np.array([result.quality for result in results])
    low, high = np.quantile([result.best for result in results], [0.05, 0.95])
    assert {(result.alpha, result.r) for result in results} == {(said["alpha"], said["r"])}
    assert qualities.min() <= 10
    assert qualities.max() >= 90
    assert said["alpha"] == pytest.approx(2 * math.log(9) / (high - low))
    again = run(*command)
    assert "calibrate" not in again.stderr
    assert " \N{EN DASH} " not in again.stdout

    dropped = run("calibrate", network, "--forget")
    assert "is deleted" in dropped.output
    assert card.read_text() == before
    assert "There is no calibration" in run("calibrate", network, "--forget").output
    assert not Scorer(network).card.calibrated


def test_a_named_network_is_calibrated_on_this_machine_only(crops, store):
    result = run("calibrate", "mini", crops, "--aligned", "--sample", 24, "--passes", 30)
    assert result.exit_code == 0, result.output
    said = own_stretch("mini")
    drawn = 24 - ("broken.jpg" in result.output)
    population = f"{drawn} faces of {crops.name}, drawn from {PEOPLE + 1}; {RULE}, T=30"
    assert said["population"] == population
    assert list(store.rglob("*.toml")) == [store / "mini" / "mini.card.toml"]
    mine = Scorer("mini")
    assert (mine.card.alpha, mine.card.r) == (said["alpha"], said["r"])
    assert mine.card.population == said["population"]
    assert mine.card.notes == ()
    # what is given on the spot goes first, and its origin is not the population
    for given_ in (Scorer("mini", alpha=70), Scorer("mini", card={"alpha": 70})):
        assert given_.card.alpha == 70
        assert given_.card.r == said["r"]
        assert given_.card.population == cards.GIVEN

    shown = " ".join(run("models", "show", "mini").output.split())
    assert "stretch alpha 60, r 0.765" in shown
    assert f"yours alpha {said['alpha']:.6g}, r {said['r']:.6g} ({said['population']})" in shown
    assert "serfiq calibrate mini --forget" in shown

    assert run("calibrate", "mini", "--forget").exit_code == 0
    assert not list(store.rglob("*.toml"))
    assert "yours" not in run("models", "show", "mini").output
    assert (Scorer("mini").card.alpha, Scorer("mini").card.r) == (60, 0.765)


def test_a_dry_run_shows_everything_and_saves_nothing(crops, store, tmp_path):
    pytest.importorskip("plotly")
    page = tmp_path / "before_after.html"
    result = run(
        *("calibrate", "mini", crops, "--aligned", "--passes", 20, "--dry-run", "--plot", page)
    )
    assert result.exit_code == 0, result.output
    assert not store.exists()
    for part in (RULE, "alpha 60, r 0.765", "raw", "quality before", "quality after", "\u2588"):
        assert part in result.output
    report = result.output.partition("Before and after")[0]  # paths stay in one piece
    assert max(map(len, report.splitlines())) <= 80
    bars = re.findall(
        r"^(\d+)-(\d+) +[\u2588-\u258f]* *([\d.]+)% +[\u2588-\u258f]* *([\d.]+)%$",
        report,
        re.MULTILINE,
    )
    assert [int(low) for low, *_ in bars] == list(range(0, 100, 10))
    for column in (2, 3):  # ten shares, each rounded to a tenth
        assert sum(float(bar[column]) for bar in bars) == pytest.approx(100, abs=0.5)
    html = page.read_text(encoding="utf-8")
    assert "before: \\u03b1 60, r 0.765" in html  # as JSON writes it
    assert not re.search(r"<(script|link)[^>]+(src|href)=", html)


def test_the_picture_shows_all_faces_under_both_stretches(scorer, lfw_faces):
    pytest.importorskip("plotly")
    from serfiq_widgets.figures import calibration_figure

    done = calibrate(scorer, lfw_faces[:30], **EASY)
    raw, curve, before, other_curve, after = calibration_figure(done).data
    for bars in (raw, before, after):
        assert sum(bars.y) == pytest.approx(100)
    for bars, qualities in ((before, done.qualities[0]), (after, done.qualities[1])):
        expected = np.histogram(qualities, np.arange(0, 105, 5))[0] / len(qualities)
        np.testing.assert_allclose(bars.y, 100 * expected)
    low, high = np.quantile(done.raw, [0.05, 0.95])
    np.testing.assert_allclose(np.interp([low, high], curve.x, other_curve.y), [10, 90], atol=0.5)
    assert before.marker.pattern.shape != after.marker.pattern.shape  # besides the colour


def test_the_reference_network_keeps_its_own(crops):
    refused = run("calibrate", cards.REFERENCE, crops)
    assert refused.exit_code == 2
    assert "alpha 130 and r 0.88" in refused.output
    assert "--override-reference" in refused.output
    for option in ("--override-reference", "--dry-run"):  # these get as far as the weights
        assert "not installed" in run("calibrate", cards.REFERENCE, crops, option).output
    card = cards.cards()[cards.REFERENCE]
    assert (card.alpha, card.r, card.calibrated) == (130, 0.88, True)


def test_a_card_that_cannot_be_written_is_refused_before_the_work(
    network, crops, monkeypatch, tmp_path
):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "taken"))
    folder_there = network.with_name("model.card.toml")
    folder_there.mkdir()  # in the card's place: even root cannot write there
    beside = run("calibrate", network, crops, "--aligned", "--passes", 2)
    assert beside.exit_code == 2
    assert f"'{folder_there}' cannot be written" in beside.output
    refused = run("calibrate", "mini", crops, "--aligned", "--passes", 20)
    assert refused.exit_code == 2
    assert "cannot be written" in refused.output
    assert "--dry-run" in refused.output
    assert "quantile" not in refused.output
    result = run("calibrate", "mini", crops, "--aligned", "--passes", 20, "--dry-run")
    assert result.exit_code == 0
    lines = re.findall(r"^(?:alpha|r|population) = .*\n", result.output, re.MULTILINE)
    by_hand = tmp_path / "by_hand.toml"
    by_hand.write_text("".join(lines))
    card = Scorer("mini", card=by_hand).card
    assert card.population == f"{PEOPLE} faces of {crops.name}; {RULE}, T=20"
    assert f"alpha {card.alpha:.6g}, r {card.r:.6g}" in result.output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["mini"], "FOLDER"),
        (["nobody", "."], "no model 'nobody'"),
        (["nobody", "--forget"], "no model 'nobody'"),
        (["mini", "no/such/folder"], "does not exist"),
        (["mini", ".", "--passes", 1], "2 to 2000"),
        (["mini", ".", "--plot", "x.png"], "ends in .html"),
        (["mini", ".", "--plot", "no/such/x.html"], "no such folder"),
        (["mini", "."], "0 faces are too few"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("calibrate", *arguments)
    assert result.exit_code == 2
    assert hint in result.output
    assert "Traceback" not in result.output


def test_a_card_that_says_only_numbers_is_not_the_references(network):
    save_card(network, alpha=90, r=0.6)
    card = Scorer(network).card
    assert (card.alpha, card.r, card.population, card.calibrated) == (90, 0.6, cards.GIVEN, True)
    assert forget_stretch(network)
    assert not network.with_name("model.card.toml").exists()


@settings(max_examples=30)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_name_survives_the_card(text):
    from serfiq_widgets.scoring.network import as_toml

    assert tomllib.loads(as_toml({"population": text})) == {"population": text}


def test_a_network_without_a_calibration_is_given_no_quality(network, crops):
    file = next(path for path in sorted(crops.iterdir()) if path.name != "broken.jpg")
    scorer = Scorer(network)
    result = scorer.score(file, 20, aligned=True)
    assert (scorer.calibrated, result.calibrated, result.shown_quality) == (False, False, "\u2013")
    assert not result.at(5).calibrated
    assert f"serfiq calibrate {scorer.card.name} FOLDER" in scorer.card.uncalibrated
    said = run("score", file, "--aligned", "--model", network, "--passes", 20, "--format", "json")
    (row,) = json.loads(said.stdout)
    assert (row["quality"], row["scaled"], row["calibrated"]) == (None, None, False)
    assert row["raw"] == pytest.approx(result.raw, rel=1e-6)
    assert "is not calibrated" in said.stderr


@pytest.mark.parametrize("stretch", [{"alpha": 90.0, "r": 0.6}, {"population": "ours"}])
def test_a_network_with_a_stretch_has_a_quality(network, crops, stretch):
    save_card(network, **stretch)
    file = next(path for path in sorted(crops.iterdir()) if path.name != "broken.jpg")
    result = run("score", file, "--aligned", "--model", network, "--passes", 20)
    assert result.exit_code == 0
    assert "calibrate" not in result.stderr
    scored = Scorer(network).score(file, 20, aligned=True)
    assert scored.calibrated
    assert scored.shown_quality == str(scored.quality)


def test_the_explorer_shows_where_the_stretch_comes_from(network):
    pytest.importorskip("ipywidgets")
    from serfiq_widgets.widgets.explorer import Explorer
    from serfiq_widgets.widgets.settings import SettingsPanel

    save_card(network, alpha=89.9, r=0.633, population="9 faces of <b>us</b>")
    explorer = Explorer(COLLINS, model=network, engine="onnxruntime")
    assert (explorer.result.alpha, explorer.result.r) == (89.9, 0.633)
    panel = SettingsPanel(state=explorer.state)
    assert "\u03b1 89.9, r 0.633: 9 faces of &lt;b&gt;us&lt;/b&gt;." in panel._about.value
    assert "RGB, 0 to 255: found by a probe" in panel._about.value
    assert "states no dropout layer" in panel._about.value
    panel._scorer["alpha"].value = 120
    assert f"\u03b1 120, r 0.633: {cards.GIVEN}." in panel._about.value
    panel._scorer["model"].value = "mini"
    assert cards.cards()["mini"].population in panel._about.value
    assert "found by a probe" not in panel._about.value
