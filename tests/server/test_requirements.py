"""Where kernels' sockets lie, and where Jupyter writes."""

import os
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("voila")

import zmq

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.server import requirements
from serfiq_widgets.server.dashboard import checked_base


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)  # it is found once
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def test_sockets_lie_where_their_paths_are_short_enough(tmp_path, monkeypatch):
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # short
    for folder, wanted in ((short, str(short)), (tmp_path / ("x" * 100), "/tmp")):  # noqa: S108
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        found = requirements.kernel_sockets()
        assert found == {
            "KernelManager": {"transport": "ipc"},
            "Voila": {"connection_dir_root": wanted},
        }
        # what jupyter_client makes of it, on the strictest system
        made = f"{wanted}/voila_12345678/kernel-{'0' * 36}-ipc-5"
        assert len(made) <= requirements.MAX_PATH
    short.rmdir()


def test_without_ipc_there_are_ports_of_this_machine_alone(monkeypatch):
    monkeypatch.setattr(zmq, "has", lambda _: False)
    found = requirements.kernel_sockets()["KernelManager"]
    assert found == {"transport": "tcp", "ip": "127.0.0.1"}


def test_jupyter_gets_folders_of_its_own_where_home_cannot_be_written(monkeypatch):
    for name in requirements.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/nobody")
    requirements.folders_to_write_in()
    folders = [Path(os.environ[name]) for name in requirements.FOLDERS]
    assert all(folder.parent.is_dir() for folder in folders)
    assert folders[0].parent.stat().st_mode & 0o077 == 0
    for name in requirements.FOLDERS:
        monkeypatch.delenv(name)


def test_where_home_can_be_written_nothing_changes(monkeypatch, tmp_path):
    for name in requirements.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    requirements.folders_to_write_in()
    assert not any(name in os.environ for name in requirements.FOLDERS)


@pytest.mark.parametrize("given", ["user/me/proxy/8866", "/user/me/proxy/8866/"])
def test_a_base_has_a_slash_at_both_ends(given):
    assert checked_base(given) == "/user/me/proxy/8866/"


@pytest.mark.parametrize("given", ["/a b/", "/a?b", "http://x/", "/a//b", "/<x>/"])
def test_what_is_no_path_is_no_base(given):
    with pytest.raises(BadSetting, match="--base-url"):
        checked_base(given)
