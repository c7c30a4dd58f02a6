"""Checks of this machine: versions, engines, devices, and how to install what is missing."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from serfiq_widgets._version import __version__
from serfiq_widgets.engines import Runtime, runtimes
from serfiq_widgets.engines.hardware import gpu_names
from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.faces.detectors import DETECTORS, open_detector
from serfiq_widgets.images import confinement

LIBRARIES = ("numpy", "pillow", "onnx")
GPU_REMEDIES = {
    "torch": "NVIDIA or Apple silicon: pip uninstall torch; pip install 'serfiq_widgets[gpu]'",
    "onnxruntime": "NVIDIA: pip uninstall onnxruntime; pip install onnxruntime-gpu",
    "mxnet": "NVIDIA, Linux x86-64: pip uninstall mxnet; pip install mxnet-cu117 'numpy<2'",
}
WIDGETS = ("ipywidgets", "anywidget", "plotly", "jupyterlab", "voila")


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis; ``needed`` marks what scoring requires."""

    what: str
    version: str
    remark: str = ""
    works: bool = True
    needed: bool = False


def needed() -> Iterator[Check]:
    """Check what scoring requires."""
    for name in LIBRARIES:
        yield _package(name, f"pip install {name}", needed=True)
    yield _opencv()
    yield _detector(DETECTORS[0])
    yield _model()


def diagnose() -> Iterator[Check]:
    """Check Python, libraries, engines, detectors, and the files of models, in this order."""
    yield Check("serfiq_widgets", __version__)
    machine = f"{platform.system()} {platform.machine()}"
    yield Check("python", platform.python_version(), machine)
    for name in LIBRARIES:
        yield _package(name, f"pip install {name}", needed=True)
    yield _opencv()
    for name in WIDGETS:
        yield _package(name, "pip install 'serfiq_widgets[demo]'", needed=False)
    found = list(runtimes())
    for one in found:
        remark = one.problem or f"devices: {', '.join(one.devices)}"
        yield Check(f"engine {one.name}", one.version, remark, works=not one.problem)
    yield from _gpus(found)
    yield _confinement()
    yield from map(_detector, DETECTORS)
    yield _model()
    yield from _files()


def _gpus(found: Sequence[Runtime]) -> Iterator[Check]:
    """Report the GPUs, and the runtimes that can use them."""
    names = next((one.gpus for one in found if one.gpus), ()) or gpu_names()
    nobodys = "none is seen here, so all runs on the CPU; with one:"
    yield Check("GPU", "", ", ".join(names) or nobodys, works=bool(names))
    for one in found:
        if one.name not in GPU_REMEDIES:  # OpenVINO is here for CPUs
            continue
        devices = ", ".join(device for device in one.devices if device != "cpu")
        remark = f"works: {devices}" if devices else f"for {GPU_REMEDIES[one.name]}"
        yield Check(f"GPU by {one.name}", one.version, remark, works=bool(devices))


def _package(name: str, remedy: str, *, needed: bool) -> Check:
    try:
        return Check(name, version(name), needed=needed)
    except PackageNotFoundError:
        return Check(name, "", remedy, works=False, needed=needed)


def _opencv() -> Check:
    from serfiq_widgets.images.opencv import import_cv2

    try:
        return Check("opencv", import_cv2().__version__, needed=True)
    except SerfiqError as error:
        return Check("opencv", "", str(error), works=False, needed=True)


def _confinement() -> Check:
    works = confinement.works_here()
    remark = "nothing else is allowed there" if works else "limits alone; Linux: libseccomp"
    return Check("photos decoded apart", "", remark, works=works)


def _detector(name: str) -> Check:
    needed = name == DETECTORS[0]
    try:
        open_detector(name)
    except SerfiqError as error:
        return Check(f"detector {name}", "", str(error), works=False, needed=needed)
    return Check(f"detector {name}", "", needed=needed)


def _model() -> Check:
    from serfiq_widgets.scoring.scorer import Scorer

    try:
        scorer = Scorer()
    except SerfiqError as error:
        return Check("model mini", "", str(error), works=False, needed=True)
    return Check(
        "model mini",
        scorer.network.sha256[:12],
        f"opens on {scorer.engine.name}, {scorer.engine.device}",
        needed=True,
    )


def _files() -> Iterator[Check]:
    """Report the SHA-256 of every installed model file, and whether its card has the same."""
    from serfiq_widgets.faces.detectors import centerface, mtcnn
    from serfiq_widgets.models.cards import BUNDLED, INSTALLED, cards

    for card in cards().values():
        if card.state in (BUNDLED, INSTALLED):
            for file in card.files:
                digest = _digest(card.folder / file.name)
                remark = "" if digest == file.sha256 else f", not its card's {file.sha256}"
                yield Check(f"file {file.name}", "", f"{digest}{remark}", works=not remark)
    others = [centerface.FILE, *sorted(mtcnn.files_folder().glob("det*"))]
    for path in filter(Path.is_file, others):
        yield Check(f"file {path.name}", "", _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
