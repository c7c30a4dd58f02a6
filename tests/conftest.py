"""Fixtures: the reference runtime, the shared models and data, and scorers."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "sample_images"
SHARED = Path(__file__).parents[2] / "shared"

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


def sample(name: str) -> Path:
    return SAMPLES / f"{name}.jpg"


@pytest.fixture(scope="session", autouse=True)
def no_models_of_ones_own(tmp_path_factory):
    """A calibration or a download of whoever runs the tests changes nothing in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERFIQ_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture
def elsewhere():
    """Runs in a thread of its own: the browser tests leave an event loop running in this one."""

    def run(function):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function).result()

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with models and data is absent")
    return SHARED


@pytest.fixture(scope="session")
def mx():
    from serfiq_widgets.engines import mxnet
    from serfiq_widgets.errors import EngineUnavailable

    try:
        return mxnet._import()
    except EngineUnavailable:
        pytest.skip("mxnet is not installed here")


@pytest.fixture(scope="session")
def y1(shared) -> Path:
    return shared / "models" / "mobilefacenet-y1" / "model-symbol.json"


@pytest.fixture(scope="session")
def scorer():
    from serfiq_widgets import Scorer

    return Scorer(engine="onnxruntime")


@pytest.fixture
def state(scorer):
    """The state of an explorer that shows the first sample."""
    from serfiq_widgets.widgets.state import ExplorerState

    state = ExplorerState(scorer)
    state.image = sample("collins")
    return state


@pytest.fixture
def group(tmp_path) -> Path:
    """A photo of two people, the larger and more central one first."""
    photo = Image.new("RGB", (900, 600), (90, 100, 110))
    with Image.open(sample("collins")) as one, Image.open(sample("hopper")) as two:
        photo.paste(one.resize((480, 600)), (200, 0))
        photo.paste(two.resize((200, 234)), (690, 180))
    path = tmp_path / "group.png"
    photo.save(path)
    return path


@pytest.fixture(scope="session")
def y1_scorer(y1):
    from serfiq_widgets import Scorer

    return Scorer(y1, engine="onnxruntime")


@pytest.fixture(scope="session")
def lfw(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lfw")
    with zipfile.ZipFile(shared / "data" / "lfw112-dev.zip") as archive:
        archive.extractall(folder)
    return folder / "lfw112-dev"


@pytest.fixture(scope="session")
def lfw_faces(lfw):
    """One aligned face of each of the first hundred people."""
    from serfiq_widgets import find_face

    people = sorted(p for p in lfw.iterdir() if p.is_dir())[:100]
    return [find_face(min(person.glob("*.jpg")), aligned=True) for person in people]


@pytest.fixture(scope="session")
def sample_faces():
    """Aligned pixels of all samples."""
    from serfiq_widgets import find_face

    return [find_face(path).pixels for path in sorted(SAMPLES.glob("*.jpg"))]


@pytest.fixture(scope="session")
def aligned_folder(sample_faces, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("aligned")
    for i, face in enumerate(sample_faces):
        Image.fromarray(face).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def bundled_weights():
    """What the bundled network's file holds, as float32."""
    from serfiq_widgets.checkpoints.params import read_params
    from serfiq_widgets.models.cards import MODELS

    arrays = read_params(MODELS / "mini-0000.params")
    return {name: value.astype("f4") for name, value in arrays.items()}
