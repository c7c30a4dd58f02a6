"""Cards that are sound, models that are installed, imported, accepted and opened."""

import os
import re
import shutil
import socket
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from serfiq_widgets import Scorer
from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import CorruptModel, UnknownModel
from serfiq_widgets.models import cards, download
from serfiq_widgets.models.files import import_file
from serfiq_widgets.resources import folder
from serfiq_widgets.scoring.network import open_network

COLLINS = folder("sample_images") / "collins.jpg"
CARDS = cards.cards()
MINI = CARDS["mini"]
DOWNLOADED = {name: card for name, card in CARDS.items() if not card.bundled}


def run(*arguments, **options):
    return CliRunner().invoke(main, ["models", *(str(a) for a in arguments)], **options)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A folder of models of one's own."""
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "store"))
    monkeypatch.delenv("SERFIQ_OFFLINE", raising=False)
    return tmp_path / "store"


@pytest.fixture
def own(monkeypatch):
    """Another card for the bundled network, which is not bundled: returns how to change it."""

    def make(**changes):
        card = replace(MINI, name="own", bundled=False, **changes)
        monkeypatch.setattr(cards, "cards", lambda: {"mini": MINI, "own": card})
        return card

    make()
    return make


def files():
    return [cards.MODELS / file.name for file in MINI.files]


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_is_sound(card):
    assert re.fullmatch(r"[a-z0-9-]+", card.name)
    assert card.kind in ("recognition", "detector")
    assert card.title
    assert card.licence
    assert card.origin
    assert card.figures
    assert card.files
    assert card.state in (cards.BUNDLED, cards.AVAILABLE, cards.BY_HAND)
    assert (card.state == cards.BY_HAND) == bool(card.placing)
    if card.kind == "recognition":
        assert card.weights.name in [file.name for file in card.files]
        assert card.size == 112
        assert card.dimensions >= 128
        assert card.trained_with_dropout == (card.rate is not None)
        assert (card.alpha, card.r) == (130, 0.88) or card.bundled
    for file in card.files:
        assert file.part in ("symbol", "params", "model")
        assert re.fullmatch(r"[\w.-]+", file.name)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.bytes > 0
        assert bool(file.member) == file.url.endswith(".zip") == (file.archive_bytes > 0)
        if file.url:
            download._check_address(file.url, download.PATIENT)


@pytest.mark.parametrize("card", DOWNLOADED.values(), ids=DOWNLOADED)
def test_hashes_and_sizes_are_those_of_the_design(card, shared):
    text = (shared / "DESIGN.md").read_text()
    for file in card.files:
        assert file.sha256 in text
        if file.part != "symbol":
            row = next(line for line in text.splitlines() if line.startswith(f"| {card.name} "))
            assert f" {file.bytes} " in row


def test_the_references_graph_is_the_one_of_its_card(shared):
    from serfiq_widgets.models.files import is_genuine

    symbol, _ = CARDS["arcface-r100-mxnet"].files
    assert is_genuine(shared / "models" / "lresnet100e-ir" / "model-symbol.json", symbol)


@pytest.mark.parametrize("name", ["mini", "sface"])
def test_a_bundled_card_says_what_its_network_is(name):
    card, network = open_network(name)
    assert card.state == cards.BUNDLED
    assert card.calibrated
    assert (card.size, card.size) == network.input_size
    assert card.dimensions == network.n_dimensions
    assert card.rate == pytest.approx(network.rate or card.rate)
    paths = [cards.MODELS / file.name for file in card.files]
    assert card.bytes == sum(path.stat().st_size for path in paths)


def test_the_network_of_others_comes_with_its_licence():
    text = (cards.MODELS / "sface-LICENSE.txt").read_text()
    assert CARDS["sface"].files[0].name in text
    assert "Apache License" in text
    assert not CARDS["sface"].noncommercial


def test_only_what_is_here_can_be_used():
    assert list(cards.usable()) == ["mini", "sface"]
    for name, card in DOWNLOADED.items():
        hint = "detector" if card.kind == "detector" else f"serfiq models download {name}"
        with pytest.raises(UnknownModel, match=hint):
            open_network(name)
    with pytest.raises(UnknownModel, match="mini"):
        open_network("nobody")


def test_the_settings_offer_only_what_is_here(state, own):
    card = own()
    pytest.importorskip("ipywidgets")
    from serfiq_widgets.widgets.settings import SettingsPanel
    from serfiq_widgets.widgets.take_home import TakeHomePanel

    choice = SettingsPanel(state=state)._scorer["model"]
    assert choice.options == ("mini",)
    TakeHomePanel(state=state).apply("model=own")
    assert state.scorer.card.name == "mini"
    run("import", card.name, *files(), "--accept-licence")
    TakeHomePanel(state=state).apply("model=own")
    assert state.scorer.card.name == choice.value == "own"
    assert choice.options == ("mini", "own")  # without a new panel
    choice.value = "mini"
    assert state.scorer.card.name == "mini"


def test_the_list_fits_a_small_terminal():
    result = run()
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.strip()}
    assert set(CARDS) <= set(rows)
    assert max(map(len, result.output.splitlines())) <= 80
    for name, parts in {
        "mini": ("bundled", "11.6", "112", "128", "0.4", "non-commercial"),
        "sface": ("bundled", "10.7", "112", "128", "0.4", "Apache-2.0"),
        "arcface-r100-mxnet": ("by hand", "261.2", "512"),
        "arcface-r100-onnx": ("available", "Apache-2.0"),
        "w600k-mbf": ("available", "13.6", "without"),
        "yunet": ("(detector)", "MIT"),
    }.items():
        for part in parts:
            assert part in rows[name]
    assert "--model PATH" in result.output


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_shown_whole(name, store):
    card, result = CARDS[name], run("show", name)
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for part in (card.title, card.licence, card.state, *(file.sha256 for file in card.files)):
        assert " ".join(part.split()) in text
    assert all(file.url in result.output for file in card.files)
    assert str(cards.MODELS if card.bundled else store / name) in result.output


def test_the_bundled_network_says_what_it_was_trained_on():
    shown = " ".join(run("show", "mini").output.split())
    card = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for text in (shown, card):
        assert "UTKFace" in text
        assert "second stage" in text.lower()
        assert "fitted" in text
        assert "MobileFaceNet-y1" in text


@pytest.mark.parametrize("command", ["show", "download", "import"])
def test_an_unknown_name_lists_the_names(command):
    result = run(command, "nobody", *([COLLINS] if command == "import" else []))
    assert result.exit_code == 2
    assert "w600k-r50" in result.output


def test_the_references_network_is_placed_by_its_user():
    result = run("download", "arcface-r100-mxnet")
    assert result.exit_code == 1
    assert "github.com/pterhoer/FaceImageQuality" in result.output
    assert "LResNet100E-IR,ArcFace@ms1m-refine-v2" in result.output
    command = "serfiq models import arcface-r100-mxnet model-symbol.json model-0000.params"
    assert command in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "socket", "device"])
def test_what_is_no_regular_file_is_not_imported(own, store, tmp_path, monkeypatch, kind):
    """To read a pipe would take for ever, and so would a device."""
    card = own()
    monkeypatch.chdir(tmp_path)  # a path of a socket is short
    path = Path("odd.params")
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mkfifo("pipe")
        path.symlink_to("pipe")
    symbol = next(one for one in files() if one.suffix == ".json")
    result = run("import", "own", symbol, path, "--accept-licence")
    assert "not a regular file" in result.output
    assert result.exit_code != 0
    assert not any(one.suffix == ".params" for one in store.rglob("*"))
    with pytest.raises(CorruptModel, match="not a regular file"):
        import_file(path, card.files[-1], store)


def test_a_licence_is_shown_and_accepted_once(own, store):
    card = own()
    refused = run("import", "own", *files(), input="n\n")
    assert refused.exit_code == 1
    assert card.licence in refused.output
    assert "--accept-licence" in refused.output
    assert not store.exists()
    nobody_there = run("import", "own", *files(), input="")
    assert nobody_there.exit_code == 1
    assert run("import", "own", *files(), input="y\n").exit_code == 0
    again = run("import", "own", *files(), input="")
    assert again.exit_code == 0
    assert card.licence not in again.output
    own(licence="another one")
    assert "another one" in run("import", "own", *files(), input="").output


def test_files_placed_by_hand_wait_for_their_licence(own, store):
    (store / "own").mkdir(parents=True)
    for path in files():
        shutil.copy(path, store / "own")
    assert own(noncommercial=False).state == cards.INSTALLED
    assert own().state == cards.BY_HAND
    with pytest.raises(UnknownModel, match="serfiq models download own"):
        open_network("own")


def test_an_imported_model_scores_as_the_same_files_do(own):
    card = own()
    assert run("import", "own", *reversed(files()), "--accept-licence").exit_code == 0
    assert sorted(path.name for path in card.folder.iterdir()) == sorted(
        [*(path.name for path in files()), "licence-accepted.txt"]
    )
    assert "installed" in run().output
    one, other = Scorer("own").score(COLLINS), Scorer("mini").score(COLLINS)
    assert (one.model, one.quality) == ("own", other.quality)
    assert one.raw == pytest.approx(other.raw, rel=1e-6)


def test_an_import_must_be_the_cards_file(own, tmp_path):
    card = own()
    altered = tmp_path / "x.params"
    content = bytearray(files()[1].read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    result = run("import", "own", files()[0], altered, "--accept-licence")
    assert result.exit_code == 2
    assert "not the expected 'mini-0000.params'" in result.output
    assert not card.weights.exists()
    assert card.state == cards.BY_HAND
    result = run("import", "own", altered, "--accept-licence")
    assert result.exit_code == 2
    assert "ends in .json" in result.output


def test_an_import_touches_no_other_file(own, tmp_path):
    card = own()
    card.folder.mkdir(parents=True)
    for name in ("mini-0000.params.new", "mini-symbol.json.part"):
        (card.folder / name).write_text("mine", encoding="utf-8")
    assert run("import", "own", *files(), "--accept-licence").exit_code == 0
    assert (card.folder / "mini-0000.params.new").read_text(encoding="utf-8") == "mine"
    assert (card.folder / "mini-symbol.json.part").read_text(encoding="utf-8") == "mine"
    broken = tmp_path / "x.params"
    broken.write_bytes(b"no parameters")
    assert run("import", "own", files()[0], broken).exit_code == 2
    assert card.weights.read_bytes() == files()[1].read_bytes()  # the good one from before


def test_an_import_that_cannot_be_written_says_so(own):
    card = own()
    (card.folder / files()[0].name).mkdir(parents=True)  # in the file's place
    result = run("import", "own", *files(), "--accept-licence")
    assert result.exit_code == 1
    assert "mini-symbol.json' cannot be written: Is a directory" in result.output


def test_where_hashes_are_hearsay_another_file_is_a_warning(own, tmp_path):
    # a comment in the graph's attributes changes its bytes and nothing else
    symbol = tmp_path / "mine-symbol.json"
    symbol.write_text(files()[0].read_text() + "\n")
    card = own(exact=False)
    result = run("import", "own", symbol, files()[1], "--accept-licence")
    assert result.exit_code == 0
    assert "'mine-symbol.json' is not the published 'mini-symbol.json'" in result.output
    assert "mini-0000.params" not in result.output
    assert card.state == cards.INSTALLED
    assert Scorer("own").network.n_dimensions == 128


def test_an_archive_can_be_imported(own, tmp_path):
    symbol, params = MINI.files
    packed = replace(params, url="https://github.com/x.zip", member="net", archive_bytes=10**8)
    card = own(files=(symbol, packed))
    with zipfile.ZipFile(tmp_path / "Pack.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(files()[1], "pack/net")
    result = run("import", "own", files()[0], tmp_path / "Pack.ZIP", "--accept-licence")
    assert result.exit_code == 0
    assert card.state == cards.INSTALLED


def test_the_bundled_model_is_not_imported_over():
    assert run("import", "mini", *files()).exit_code == 2
    assert run("download", "mini").output.startswith("mini is bundled")


def test_an_altered_model_is_not_opened(own):
    card = own()
    run("import", "own", *files(), "--accept-licence")
    content = bytearray(card.weights.read_bytes())
    content[5_000_000] ^= 1
    card.weights.write_bytes(content)
    with pytest.raises(CorruptModel, match=r"mini-0000\.params.*altered.*models download own"):
        open_network("own")
    card.weights.write_bytes(content[:-1])
    with pytest.raises(UnknownModel, match="not installed"):
        open_network("own")
    assert "own" not in cards.usable()


def test_a_folder_that_cannot_be_written_is_said(own, tmp_path, monkeypatch):
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "taken"))
    (tmp_path / "taken").write_text("a file")
    own()
    result = run("import", "own", *files(), "--accept-licence")
    assert result.exit_code == 1
    assert "taken" in result.output
    assert "Traceback" not in result.output


def test_the_store_is_in_the_users_cache_unless_said_otherwise(monkeypatch, store):
    from platformdirs import user_cache_path

    from serfiq_widgets.models.files import models_folder

    assert models_folder() == store
    monkeypatch.setenv("SERFIQ_MODELS", "~/models")
    assert models_folder().is_absolute()
    monkeypatch.delenv("SERFIQ_MODELS")
    assert user_cache_path() in models_folder().parents
    assert "serfiq_widgets" in models_folder().parts


@pytest.fixture
def address(monkeypatch):
    """Where a web server offers the bundled files; the command may fetch them from there."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    local = partial(download.download, rules=download.Rules(tries=1, local=True))
    monkeypatch.setattr(download, "download", local)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=cards.MODELS))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_model_is_downloaded_mended_and_opened(own, address):
    card = own(files=tuple(replace(f, url=f"{address}/{f.name}") for f in MINI.files))
    assert card.state == cards.AVAILABLE
    result = run("download", "own", input="y\n")
    assert result.exit_code == 0
    assert "own is installed" in result.output
    assert "serfiq score IMAGE --model own" in result.output
    assert open_network("own")[1].n_dimensions == 128
    card.weights.write_bytes(bytes(card.weights.stat().st_size))
    assert run("download", "own").exit_code == 0
    assert open_network("own")[1].n_dimensions == 128


def test_a_failed_download_is_one_sentence_and_exit_code_one(own, address, monkeypatch):
    card = own(files=tuple(replace(f, url=f"{address}/nothing") for f in MINI.files))
    result = run("download", "own", "--accept-licence")
    assert result.exit_code == 1
    assert "answers 404" in result.output
    assert "serfiq models import own" in result.output
    monkeypatch.setenv("SERFIQ_OFFLINE", "1")
    assert "SERFIQ_OFFLINE" in run("download", "own").output
    assert card.state == cards.AVAILABLE
