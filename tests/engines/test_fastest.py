"""Which engine "auto" takes on a CPU: the fastest that is right, measured once."""

import time

import numpy as np
import pytest

from serfiq_widgets.engines import fastest as module
from serfiq_widgets.errors import CorruptModel, EngineUnavailable

RIGHT = np.ones((1, 8), np.float32)


class Engine:
    """Takes so many milliseconds, and is wrong by so much."""

    def __init__(self, ms=0.0, wrong=0.0):
        self.ms, self.wrong, self.runs = ms, wrong, 0

    def trunk(self, faces):
        self.runs += 1
        time.sleep(self.ms / 1e3)
        return RIGHT * np.float32(1 + self.wrong) * len(faces)


class Network:
    sha256 = "f00"


@pytest.fixture(autouse=True)
def both_installed(monkeypatch, tmp_path):
    """Both rivals are installed, and nothing is remembered."""
    monkeypatch.setattr(module, "_versions", lambda: ["onnxruntime 1", "openvino 2"])
    monkeypatch.setattr(module, "_file", lambda: tmp_path / "cache" / "engines.json")
    monkeypatch.setattr(module, "_known", {})


def chosen(**engines):
    def open_one(name):
        if name not in engines:
            raise EngineUnavailable(name)
        return engines[name]

    return module.fastest(Network(), open_one)


def test_the_faster_one():
    assert chosen(onnxruntime=Engine(20), openvino=Engine(1)) == "openvino"


def test_not_the_slower_one():
    assert chosen(onnxruntime=Engine(1), openvino=Engine(20)) == "onnxruntime"


@pytest.mark.parametrize("wrong", [0.01, np.nan])
def test_never_a_wrong_one(wrong):
    assert chosen(onnxruntime=Engine(20), openvino=Engine(1, wrong)) == "onnxruntime"


def test_the_only_one_that_opens():
    assert chosen(openvino=Engine()) == "openvino"


def test_none_at_all_leaves_the_errors_to_the_caller():
    assert chosen() == "onnxruntime"


def test_a_broken_network_leaves_its_error_to_the_caller():
    class Broken(Engine):
        def trunk(self, faces):
            raise CorruptModel(f"no {len(faces)}")

    assert chosen(onnxruntime=Broken(), openvino=Broken()) == "onnxruntime"


def test_it_is_measured_once_and_remembered_in_a_file(monkeypatch):
    slow, fast = Engine(20), Engine(1)
    assert chosen(onnxruntime=slow, openvino=fast) == "openvino"
    runs = slow.runs
    assert chosen(onnxruntime=slow, openvino=fast) == "openvino"
    monkeypatch.setattr(module, "_known", {})  # another process
    assert chosen(onnxruntime=slow, openvino=fast) == "openvino"
    assert slow.runs == runs
    monkeypatch.setattr(module, "_versions", lambda: ["onnxruntime 2", "openvino 2"])
    assert chosen(onnxruntime=Engine(1), openvino=Engine(20)) == "onnxruntime"


@pytest.mark.parametrize("content", ["", "[1]", '{"x": 1}', "\0"])
def test_a_broken_file_is_measured_again(content):
    module._file().parent.mkdir()
    module._file().write_text(content)
    assert chosen(onnxruntime=Engine(20), openvino=Engine(1)) == "openvino"


def test_without_openvino_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(module, "_versions", lambda: ["onnxruntime 1"])
    assert module.fastest(Network(), None) == "onnxruntime"
