"""A public demo's settings, and what its gate lets a page say to a kernel."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.server.protocol import Gate, Refused, answered, split
from serfiq_widgets.server.settings import DEFAULTS, read_public, summary


@pytest.fixture
def pack():
    pytest.importorskip("tornado")
    from visitor import pack

    return pack


def test_the_documented_file_is_what_holds_when_nothing_is_said():
    assert read_public(DEFAULTS) == read_public()
    assert read_public().address == "127.0.0.1"


def test_a_file_and_then_options_change_what_they_name(tmp_path):
    file = tmp_path / "booth.toml"
    file.write_text('most_visitors = 7\nhosts = ["Faces.Example.org"]\nport = 9000\n')
    public = read_public(file, port=9001, token=None)
    assert (public.most_visitors, public.port, public.token) == (7, 9001, "auto")
    assert public.hosts == ("faces.example.org",)
    assert "7 at once" in summary(public, confined=True)
    assert "WARNING" not in summary(public, confined=True)
    assert "WARNING: decoded in a process with limits alone" in summary(public, confined=False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("visitors = 3", "no setting 'visitors'"),
        ("most_visitors = 0", "give 1 to 1000"),
        ('most_visitors = "many"', "write it like 50"),
        ("most_visitors = true", "write it like 50"),
        ('address = "example.org"', "not an IP address"),
        ('token = "1234"', "12 characters"),
        ("hosts = [3]", "holds names"),
        ("kiosk = true\nkiosk_idle_s = 20", "less than kiosk_idle_s"),
        ("most_visitors = ", "cannot be read as TOML"),
    ],
)
def test_an_impossible_setting_is_named(tmp_path, text, says):
    file = tmp_path / "booth.toml"
    file.write_text(text)
    with pytest.raises(BadSetting, match=says):
        read_public(file)


HEADER = {"msg_id": "a", "msg_type": "comm_msg", "session": "s", "username": "", "version": "5.2"}
MOVE = {"comm_id": "c", "data": {"method": "update", "state": {"value": 99}}}


def message(pack, kind="comm_msg", content=None, channel="shell", **header):
    parts = (HEADER | {"msg_type": kind} | header, {}, {}, MOVE if content is None else content)
    return pack(channel, *(json.dumps(part).encode() for part in parts))


def test_a_pages_own_messages_pass(pack):
    gate = Gate()
    assert gate.read(message(pack)).kind == "comm_msg"
    gate.read(message(pack, "kernel_info_request", {}))
    control = {"comm_id": "x", "target_name": "jupyter.widget.control", "data": {}}
    gate.read(message(pack, "comm_open", control))
    gate.read(message(pack, "comm_close", {"comm_id": "x", "data": {}}))


@pytest.mark.parametrize(
    "odd",
    [
        {"kind": "execute_request", "content": {"code": "1"}},
        {"kind": "_text"},
        {"kind": "read"},
        {"channel": "control"},
        {"channel": "stdin"},
        {"content": {"comm_id": "c", "data": {"method": "echo_update"}}},
        {"content": {"comm_id": 3, "data": {"method": "update"}}},
        {"content": ["comm_id"]},
        {"content": {"comm_id": "c" * 300, "data": {"method": "update"}}},
        {"content": {"comm_id": "c", "data": {"method": "update", "state": "x" * 300_000}}},
        {"kind": "comm_open", "content": {"comm_id": "c", "target_name": "jupyter.widget"}},
        {"kind": "comm_close", "content": {"comm_id": "not opened", "data": {}}},
        {"subshell_id": "other"},
        {"extra": "field"},
        {"msg_id": "a" * 300},
    ],
)
def test_what_no_page_says_is_refused(pack, odd):
    with pytest.raises(Refused):
        Gate().read(message(pack, **odd))


def test_nested_json_is_refused(pack):
    deep = b"[" * 100_000
    with pytest.raises(Refused):
        Gate().read(pack("shell", json.dumps(HEADER).encode(), b"{}", b"{}", deep))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_or_read(content):
    try:
        parts = split(content)
    except Refused:
        return
    assert sum(map(len, parts)) < len(content)


@pytest.mark.parametrize("count", [0, 5, 41, 2**31, 2**63])
def test_a_claimed_number_of_parts_costs_nothing(count):
    with pytest.raises(Refused):
        split(struct.pack("<Q", count) + bytes(64))


def test_an_answer_is_known_by_the_kernels_idle_status(pack):
    status = [{"msg_type": "status"}, {"msg_id": "a"}, {}, {"execution_state": "idle"}]
    assert answered(pack("iopub", *(json.dumps(part).encode() for part in status))) == "a"
    status[3]["execution_state"] = "busy"
    assert answered(pack("iopub", *(json.dumps(part).encode() for part in status))) is None
