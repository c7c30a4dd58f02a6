"""Folders of a killed server go at the next start; those of running ones and of others stay."""

import os
import subprocess
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("there are no such locks", allow_module_level=True)

from serfiq_widgets.server.temporary_folders import LOCK, claim, remove_abandoned

HOLD = (
    "import sys; from pathlib import Path; "
    "from serfiq_widgets.server.temporary_folders import claim; "
    "claim(Path(sys.argv[1])); print('claimed', flush=True); sys.stdin.read()"
)


@pytest.fixture
def hold():
    """Starts a process that claims a folder; returns it once it has."""
    started = []

    def start(folder):
        folder.mkdir()
        (folder / "kernel-1.json").write_text('{"key": "secret"}')
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"claimed\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_servers_folder_goes_and_a_running_ones_stays(tmp_path, hold):
    dead, running = tmp_path / "voila_dead", tmp_path / "voila_runs"
    killed = hold(dead)
    hold(running)
    remove_abandoned([tmp_path])
    assert (dead / "kernel-1.json").exists()
    killed.kill()
    killed.wait()
    remove_abandoned([tmp_path])
    assert not dead.exists()
    assert (running / "kernel-1.json").exists()


def test_ones_own_folder_stays(tmp_path):
    own = tmp_path / "serfiq_own"
    own.mkdir()
    claim(own)
    remove_abandoned([tmp_path])
    assert own.exists()


def test_folders_of_others_stay(tmp_path, monkeypatch):
    for name in ("voila_other", "other_locked", "target", "voila_pipe"):
        (tmp_path / name).mkdir()
    (tmp_path / "other_locked" / LOCK).touch()
    (tmp_path / "target" / LOCK).touch()
    (tmp_path / "voila_link").symlink_to(tmp_path / "target")
    (tmp_path / "voila_file").touch()
    os.mkfifo(tmp_path / "voila_pipe" / "elsewhere")
    (tmp_path / "voila_pipe" / LOCK).symlink_to(tmp_path / "target" / LOCK)
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned([tmp_path])
    assert sorted(tmp_path.rglob("*")) == before

    (tmp_path / "voila_other" / LOCK).touch()
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    remove_abandoned([tmp_path])
    assert (tmp_path / "voila_other").exists()
    monkeypatch.undo()
    remove_abandoned([tmp_path])
    assert not (tmp_path / "voila_other").exists()
