"""The messages that a dashboard's page may send to its kernel: changes of its own widgets.

A page speaks the binary protocol v1.kernel.websocket.jupyter.org: a channel and the parts of a
Jupyter message. Any message that the page would not send is refused before it reaches the kernel.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

PROTOCOL = "v1.kernel.websocket.jupyter.org"
CONTROL = "jupyter.widget.control"
METHODS = ("update", "custom", "request_state", "request_states")
HEADER = {"date", "msg_id", "msg_type", "session", "username", "version", "subshell_id"}
MAX_PARTS, MAX_TEXT, MAX_JSON = 40, 200, 256 * 2**10
WORD = 8  # bytes of an offset
PLAIN_PARTS = 6  # channel, header, parent header, metadata, content: six offsets


class Refused(Exception):
    """A message that the dashboard's page never sends."""


@dataclass(frozen=True)
class Message:
    """A message to a kernel."""

    kind: str
    name: str


def split(message: bytes, most_parts: int = MAX_PARTS) -> list[bytes]:
    """Return channel, header, parent header, metadata, content and buffers.

    The number of parts in a message is compared with its actual length before it is used.

    Raises
    ------
    Refused
        The offsets do not describe the message.
    """
    if len(message) < WORD:
        raise Refused("too short")
    (count,) = struct.unpack_from("<Q", message)
    if not PLAIN_PARTS <= count <= most_parts or len(message) < WORD * (count + 1):
        raise Refused("odd number of parts")
    offsets = struct.unpack_from(f"<{count}Q", message, WORD)
    if offsets[0] != WORD * (count + 1) or offsets[-1] != len(message):
        raise Refused("odd offsets")
    if any(start > end for start, end in pairwise(offsets)):
        raise Refused("odd offsets")
    return [message[start:end] for start, end in pairwise(offsets)]


class Gate:
    """Checks the messages of one page, and records which comms the page opened."""

    def __init__(self) -> None:
        self._controls: set[str] = set()

    def read(self, message: bytes | str) -> Message:
        """Return the parsed message.

        Raises
        ------
        Refused
            The dashboard's page never sends such a message.
        """
        if not isinstance(message, bytes):
            raise Refused("not binary")
        channel, *parts = split(message)
        header, _, _, content = (_object(part) for part in parts[:4])
        if channel != b"shell":
            raise Refused("not on the shell channel")
        if not set(header) <= HEADER or header.get("subshell_id") is not None:
            raise Refused("odd header")
        texts = [value for value in header.values() if value is not None]
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
            raise Refused("odd header")
        kind, name = header.get("msg_type", ""), header.get("msg_id", "")
        check = getattr(self, f"_{kind}", None) if kind in KINDS else None
        if check is None:
            raise Refused("a page does not ask this")
        check(content)
        return Message(kind, name)

    def _kernel_info_request(self, _: dict[str, Any]) -> None:
        """Accept it: the answer contains only versions."""

    _comm_info_request = _kernel_info_request

    def _comm_open(self, content: dict[str, Any]) -> None:
        if content.get("target_name") != CONTROL or len(self._controls) >= MAX_PARTS:
            raise Refused("a page opens no such comm")
        self._controls.add(_text(content.get("comm_id")))

    def _comm_close(self, content: dict[str, Any]) -> None:
        name = _text(content.get("comm_id"))
        if name not in self._controls:
            raise Refused("not the page's comm")
        self._controls.discard(name)

    def _comm_msg(self, content: dict[str, Any]) -> None:
        _text(content.get("comm_id"))
        data = content.get("data")
        if not isinstance(data, dict) or data.get("method") not in METHODS:
            raise Refused("no message to a widget")


KINDS = ("kernel_info_request", "comm_info_request", "comm_open", "comm_close", "comm_msg")


def header(message: bytes) -> dict[str, Any]:
    """Return the header of a message, however many buffers it has; empty if it has none."""
    if len(message) < WORD * (PLAIN_PARTS + 1):
        return {}
    count, _, start, end = struct.unpack_from("<4Q", message)
    if not WORD * (count + 1) <= start <= end <= len(message):
        return {}
    try:
        return _object(message[start:end])
    except Refused:
        return {}


def answered(message: bytes) -> str | None:
    """Return the name of the request whose answer this message of the kernel completes."""
    if b'"status"' not in message[:2000]:
        return None
    try:
        channel, header, parent, _, content, *_ = split(message)
        idle = _object(content).get("execution_state") == "idle"
        if channel == b"iopub" and _object(header).get("msg_type") == "status" and idle:
            return str(_object(parent).get("msg_id"))
    except (Refused, ValueError):
        pass
    return None


def _object(part: bytes) -> dict[str, Any]:
    if len(part) > MAX_JSON:
        raise Refused("too much text")
    try:
        value = json.loads(part)
    except (ValueError, RecursionError) as error:
        raise Refused("no JSON") from error
    if not isinstance(value, dict):
        raise Refused("no object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise Refused("no name")
    return value
