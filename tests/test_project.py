"""The rules of the house: arrows between modules, light import, files that cannot drift."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "serfiq_widgets"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# module: what it may import of the package, besides errors
ARROWS = {
    "__init__": (
        "bias_explorer camera compare datasets degrade evaluation_explorer explorer faces images "
        "lab predict results scorer sensitivity views"
    ),
    "__main__": "cli",
    "atomic": "image_files",
    "batch": "__init__ faces images results scorer",
    "benchmark": "engines explorer faces images resources results robustness scorer",
    "bias": "",
    "bias_explorer": "bias bias_state figures parts state views",
    "bias_groups": "atomic bias",
    "bias_state": "bias bias_groups resources state",
    "booth": "guard notices nursery places plotly_js public server watchdog",
    "calibration": "faces images networks robustness scorer",
    "camera": "face_card parts photo privacy state views",
    "checkpoints": "",
    "cli": (
        "__init__ cli_benchmark cli_bias cli_calibrate cli_demo cli_evaluate cli_models "
        "cli_on_top cli_report cli_score doctor terminal"
    ),
    "cli_benchmark": "benchmark results terminal",
    "cli_bias": "atomic bias bias_groups terminal",
    "cli_calibrate": "atomic calibration figures image_files networks results terminal zoo",
    "cli_demo": "demo public",
    "cli_evaluate": (
        "atomic cli_on_top evaluation evaluation_files figures measurements results terminal"
    ),
    "cli_models": "download networks store terminal trial zoo",
    "cli_on_top": "atomic calibration engines faces networks on_top terminal zoo",
    "cli_report": (
        "atomic bias_groups calibration evaluation figures measurements report results terminal"
    ),
    "cli_score": "atomic batch cluster datasets image_files results sources tables terminal zoo",
    "cluster": "__init__ batch images results scorer zoo",
    "compare": "faces figures images parts photo privacy state views wording",
    "confinement": "",
    "containers": "formats orientation",
    "datasets": "atomic batch cluster detectors journal scorer sources tables zoo",
    "decoder": "confinement containers formats orientation",
    "degrade": "faces opencv",
    "demo": "booth confinement notices plotly_js public repeats resources server surroundings",
    "detectors": "checkpoints engines memory opencv store zoo",
    "doctor": "__init__ confinement detectors engines opencv scorer zoo",
    "download": "store",
    "engines": "checkpoints robustness",
    "errors": "",
    "evaluation": "atomic",
    "evaluation_explorer": (
        "evaluation evaluation_files evaluation_state faces figures images measurements parts "
        "resources scorer state views"
    ),
    "evaluation_files": "evaluation tables",
    "evaluation_state": "evaluation state",
    "explorer": (
        "bias_explorer camera compare degrade evaluation_explorer face_card faces images lab "
        "panels parts photo predict privacy resources results service state views wording"
    ),
    "export": "__init__ degrade figures parts results state tables wording",
    "face_card": "faces figures images opencv parts photo results sensitivity state",
    "faces": "detectors images opencv",
    "figures": "bias calibration degrade evaluation results robustness sensitivity",
    "formats": "",
    "guard": "messages notices places public server sockets",
    "image_files": "formats",
    "images": "containers decoder formats memory orientation sandbox",
    "journal": "",
    "lab": "degrade face_card faces figures parts sensitivity state views",
    "measurements": "evaluation image_files results scorer",
    "memory": "",
    "messages": "",
    "networks": "atomic checkpoints engines on_top store trial zoo",
    "notices": "",
    "nursery": "cluster confinement explorer service",
    "on_top": "atomic checkpoints robustness",
    "opencv": "",
    "orientation": "",
    "panels": "checkpoints engines export parts public resources scorer state views zoo",
    "parts": "containers figures images plotly_js",
    "photo": "containers formats images opencv sandbox",
    "places": "memory notices public",
    "plotly_js": "",
    "predict": "degrade faces figures parts resources results service state views",
    "privacy": "parts state wording",
    "public": "",
    "repeats": "",
    "report": "__init__ bias bias_groups figures images parts",
    "resources": "",
    "results": "faces robustness",
    "robustness": "",
    "sandbox": "containers decoder memory",
    "scorer": "checkpoints detectors engines faces images networks results robustness zoo",
    "sensitivity": "degrade faces robustness scorer",
    "server": "plotly_js sockets temporary_folders",
    "service": "cluster faces images photo results scorer",
    "sockets": "messages",
    "sources": "batch image_files images tables",
    "state": "degrade faces public resources results sandbox scorer service",
    "store": "atomic",
    "surroundings": "temporary_folders",
    "tables": "",
    "temporary_folders": "",
    "terminal": "atomic batch bias_groups image_files results scorer tables zoo",
    "trial": "checkpoints degrade engines faces resources robustness",
    "views": "faces figures images parts results service state wording",
    "watchdog": "",
    "wording": "results robustness state",
    "zoo": "checkpoints engines store",
}
WIDGETS = {
    "BiasExplorer",
    "Camera",
    "ComparePanel",
    "DegradationLab",
    "EvaluationExplorer",
    "Explorer",
    "PredictPanel",
    "RunningScoreView",
    "SpreadView",
}
RUNTIMES = {"mxnet", "onnxruntime", "torch"}


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Names of all modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "serfiq_widgets":
                yield from (f"serfiq_widgets.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_arrows(path):
    here = module_of(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top in RUNTIMES:
            assert here == "engines", f"{path.name} imports {name}"
        if top == "serfiq_widgets":
            to = rest[0] if rest and not rest[0].startswith("__version") else "__init__"
            assert to in {*ARROWS[here].split(), here, "errors"}, f"{path.name} imports {name}"


def test_files_stay_short():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, path


def test_import_is_light():
    heavy = ("mxnet", "torch", "cv2", "onnxruntime", "onnx", "plotly", "ipywidgets", "PIL", "numpy")
    code = f"import sys, serfiq_widgets; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    import serfiq_widgets

    for name in serfiq_widgets.__all__:
        if name in WIDGETS:
            pytest.importorskip("ipywidgets")
        assert getattr(serfiq_widgets, name).__doc__
    with pytest.raises(AttributeError, match="Bogus"):
        _ = serfiq_widgets.Bogus
    assert set(serfiq_widgets.__all__) <= set(dir(serfiq_widgets))


def test_versions_agree():
    import serfiq_widgets

    assert PROJECT["version"] == serfiq_widgets.__version__
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_environment_yml_is_pyproject():
    text = (ROOT / "environment.yml").read_text()
    listed = re.findall(r"^ {6}- (.+)$", text, re.MULTILINE)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["mxnet"], *extras["widgets"], *extras["demo"]]
    wanted = [line for line in wanted if not line.startswith("serfiq_widgets")]
    assert sorted(listed) == sorted([*wanted, "-e .[mxnet,widgets,demo]"])
    assert "  - python=3.11\n" in text
    users = "mxnet numpy opencv-python ipywidgets plotly jupyterlab voila pillow"
    assert set(users.split()) <= {re.split(r"[<>=;]", line)[0] for line in listed}


@pytest.mark.parametrize("name", ["with-mxnet", "without-mxnet"])
def test_locks_hold_every_requirement_and_no_host(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    locked = set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["widgets"] + extras["demo"] + extras["test"]
    names = {re.split(r"[\[<>=;]", line)[0].replace("_", "-") for line in wanted}
    assert (names | {"pip", "setuptools"}) - {"serfiq-widgets"} <= locked
    assert ("mxnet" in locked) == (name == "with-mxnet")


def test_sources_name_every_sample():
    text = (ROOT / "sample_images" / "SOURCES.md").read_text()
    for path in (ROOT / "sample_images").glob("*.jpg"):
        assert f"`{path.name}`" in text


README = (ROOT / "README.md").read_text()


def test_readmes_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(mentioned) <= targets


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("python"))
def test_readmes_python_runs(block, monkeypatch):
    if any(name in block for name in WIDGETS):
        pytest.importorskip("ipywidgets")
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102  # our own README


COMMANDS = [
    line
    for block in blocks("sh")
    if "train-on-top" not in block  # one after the other, with torch: tests/test_on_top.py
    for line in block.splitlines()
    if line.startswith("serfiq ") and "demo" not in line
]
# These need the net, or a file that the reader has: they get as far as that.
NEEDS = {"models download": "SERFIQ_OFFLINE is set", "models import": "does not exist"}


def readers_own_faces(folder):
    """Make a folder that the reader is to have: here the samples, as they are and mirrored."""
    folder.mkdir()
    for path in (ROOT / "sample_images").glob("*.jpg"):
        with Image.open(path) as photo:
            photo.save(folder / path.name)
            ImageOps.mirror(photo).save(folder / f"mirrored_{path.name}")


@pytest.mark.parametrize("command", COMMANDS)
def test_readmes_commands_run(command, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from serfiq_widgets.cli import main

    for name in ("sample_images",):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path))
    monkeypatch.setenv("SERFIQ_OFFLINE", "1")
    arguments = shlex.split(command, comments=True)[1:]
    if "faces" in arguments:
        readers_own_faces(tmp_path / "faces")
    if "people" in arguments:
        for name in ("collins", "hopper"):
            (tmp_path / "people" / name).mkdir(parents=True)
            for path in (ROOT / "sample_images").glob(f"{name}*.jpg"):
                (tmp_path / "people" / name / path.name).symlink_to(path)
    result = CliRunner().invoke(main, arguments, input="y")
    missing = NEEDS.get(" ".join(arguments[:2]))
    if missing:
        assert missing in result.output
    else:
        assert result.exit_code == 0, result.output


def test_the_command_runs_as_a_module():
    code = [sys.executable, "-m", "serfiq_widgets", "--help"]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: serfiq [OPTIONS] COMMAND")


@pytest.mark.parametrize("name", ["pyproject.toml", "environment.yml"])
def test_mxnet_is_asked_for_only_where_it_runs(name):
    lines = (ROOT / name).read_text().splitlines()
    asked = [line for line in lines if "mxnet==" in line]
    assert asked
    assert all("python_version < '3.12'" in line for line in asked)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("says", "lock"),
    [
        ("('linux', 'x86_64', True)", "with-mxnet"),
        ("('linux', 'x86_64', False)", "without-mxnet"),
        ("('linux', 'aarch64', True)", "without-mxnet"),
        ("('darwin', 'arm64', True)", "without-mxnet"),
    ],
)
def test_the_lock_goes_by_the_interpreter(tmp_path, says, lock):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "{says}"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [str(shutil.which("make")), "-n", "-B", "install", f"PYTHON={python}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"-r requirements/{lock}.txt" in done.stdout
