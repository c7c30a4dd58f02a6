"""What people take home: numbers that agree, pages that open offline, and never a face unasked."""

import base64
import csv
import io
import json

import pytest
from PIL import Image

pytest.importorskip("ipywidgets")

from serfiq_widgets import Ruin
from serfiq_widgets.resources import folder
from serfiq_widgets.widgets import take_home
from serfiq_widgets.widgets.state import ExplorerState
from serfiq_widgets.widgets.take_home import TakeHomePanel

COLLINS = folder("sample_images") / "collins.jpg"


@pytest.fixture
def state(scorer):
    state = ExplorerState(scorer)
    state.image = COLLINS
    state.passes = 2
    state.note()
    return state


def test_csv_and_json_hold_the_scores(state):
    rows = list(csv.DictReader(io.StringIO(take_home.scores_csv(state.entries).decode())))
    listed = json.loads(take_home.scores_json(state.entries))["scores"]
    assert len(rows) == len(listed) == 2
    for row, item, entry in zip(rows, listed, state.entries, strict=True):
        assert row["name"] == item["name"] == "collins.jpg"
        assert float(row["raw"]) == item["raw"] == entry.result["raw"]
        assert int(row["quality"]) == item["quality"]
    assert listed[1]["low"] is None  # two passes have no interval


@pytest.mark.parametrize("name", ["=1+1.jpg", "+x.jpg", "-x.jpg", "@x.jpg"])
def test_a_spreadsheet_computes_no_name(state, name):
    file = io.BytesIO(COLLINS.read_bytes())
    file.name = name
    state.image = file
    rows = list(csv.DictReader(io.StringIO(take_home.scores_csv(state.entries).decode())))
    assert rows[-1]["name"] == f"'{name}"


def test_the_page_is_self_contained_and_shows_no_photo_unless_ticked(state):
    panel = TakeHomePanel(state=state)
    name, kind, content = panel.make("html")
    page = content.decode()
    assert (name, kind) == ("serfiq.html", "text/html")
    assert f'<span class="serfiq-quality">{state.quality}</span>' in page
    assert page.count("Plotly.newPlot") == 3
    assert "<script src" not in page
    assert "<link" not in page
    assert "data:image" not in page.split("<h2>")[0]
    panel._photo.value = True
    with_photo = panel.make("html")[2].decode()
    encoded = with_photo.split("data:image/jpeg;base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (112, 112)


def test_before_any_photo_a_sentence_comes_instead(scorer):
    state = ExplorerState(scorer)
    panel = TakeHomePanel(state=state)
    panel._download._handle_custom_msg({"kind": "html"}, [])
    assert state.message == "Choose a photo first."
    panel._download._handle_custom_msg({"kind": "../../etc"}, [])
    panel._download._handle_custom_msg({}, [])


def test_settings_survive_the_round_trip():
    ruin = Ruin(blur=2, cover="square", x=10, side=50)
    query = take_home.settings_query(
        {
            "passes": 30,
            "seed": 4,
            "rate": None,
            "projection": "plane",
            **take_home.ruin_settings(ruin),
        }
    )
    assert take_home.parse_settings(query) == {
        "passes": 30,
        "seed": 4,
        "projection": "plane",
        "ruin": ruin,
    }
