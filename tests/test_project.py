"""The rules of the house: arrows between modules, light import, files that cannot drift."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "serfiq_widgets"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

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
    "Stage",
}
RUNTIMES = {"mxnet", "onnxruntime", "openvino", "torch"}


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


def test_runtimes_are_imported_by_the_engines_alone():
    for path in PACKAGE.rglob("*.py"):
        if path.parent != PACKAGE / "engines":
            assert RUNTIMES.isdisjoint(name.split(".")[0] for name in imports(path)), path


def test_files_stay_short():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, path


def test_the_house_stays_low():
    pytest.importorskip("grimp")
    from tools.rooms import arrows_between_rooms, floors_of

    arrows = arrows_between_rooms()
    assert max(floors_of(arrows).values()) <= 13
    assert sum(map(len, arrows.values())) <= 100


def test_no_public_name_is_lost():
    pytest.importorskip("ipywidgets")
    from tools.public_names import public_names

    known = (ROOT / "tests" / "public_names.txt").read_text().split("\n")
    assert public_names() == [name for name in known if name]


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

    assert version("serfiq_widgets") == serfiq_widgets.__version__
    assert f"## {serfiq_widgets.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {serfiq_widgets.__version__}\n" in (ROOT / "CITATION.cff").read_text()


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


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_readmes_commands_run(command, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from serfiq_widgets.cli.main import main

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
