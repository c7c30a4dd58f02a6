"""Attack the websocket of `serfiq demo --public` while a witness goes on using the page.

    python tools/fuzz_socket.py [--minutes 20] [--attackers 4] [--seed 0]

Starts the server. Attackers enter as visitors do and then speak wrongly: other protocols, frames
that lie about their length, messages that no page sends, closes that are never answered, sockets
that are opened and left, or not read. A witness moves the slider all the while. Prints its answer
times, the server's memory before and after, and how long SIGTERM takes in the middle of an attack.
The exit code is 1 if the witness lost its session, an answer took longer than 300 ms (95 %), the
memory moved by more than a fifth, or the server took longer than 3 s to end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from visitor import PROTOCOL, Gone, Visitor, pack

TEXT, BINARY = 1, 2
SHORT, MEDIUM = 126, 2**16
MAX_P95_S, MAX_GROWTH, MAX_END_S = 0.3, 0.2, 3.0
MEGABYTE = 1e6
MOVE_S = 0.25
TOUCH_S = 60
WARM_UP_S = 120  # until buffers and caches have been as full as they get


def frame(kind: int, payload: bytes, *, length: int | None = None, flags: int = 0x80) -> bytes:
    """Return a client's frame; ``length`` is what it states, if that is not its payload's."""
    size = len(payload) if length is None else length
    head = bytes([flags | kind])
    if size < SHORT:
        head += bytes([0x80 | size])
    elif size < MEDIUM:
        head += bytes([0x80 | SHORT]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | (SHORT + 1)]) + struct.pack("!Q", size)
    return head + bytes(4) + payload  # a mask of zeros changes nothing


class Peer:
    """A websocket spoken by hand, so that it can be spoken wrongly. Close frames go unanswered.

    Parameters
    ----------
    visitor : Visitor
        Whose page and cookie it uses.
    protocol : str
        What it offers.
    buffer : int, optional
        Bytes that arrive and wait to be read, before the server has to wait.

    Attributes
    ----------
    status : int
        What the handshake was answered with, as a context begins: 101 if the websocket stands.
    """

    def __init__(self, visitor: Visitor, protocol: str = PROTOCOL, buffer: int = 0) -> None:
        self._visitor, self._protocol, self._buffer = visitor, protocol, buffer
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.status = 0

    async def __aenter__(self) -> Self:
        """Shake hands."""
        where = urlsplit(self._visitor.address)
        wire = socket.socket()
        if self._buffer:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        wire.setblocking(False)  # noqa: FBT003  # its name
        await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", where.port or 80))
        self._reader, self._writer = await asyncio.open_connection(sock=wire)
        path = f"/api/kernels/{self._visitor.kernel}/channels"
        lines = [
            f"GET {path}?session_id={self._visitor.session} HTTP/1.1",
            f"Host: {where.netloc}",
            f"Origin: {self._visitor.address}",
            f"Cookie: {self._visitor.cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Sec-WebSocket-Protocol: {self._protocol}",
        ]
        self.send("\r\n".join([*lines, "", ""]).encode())
        try:
            answer = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 20)
        except BaseException:
            self._writer.transport.abort()
            raise
        self.status = int(answer.split()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Vanish."""
        if self._writer is not None:
            self._writer.transport.abort()
            with suppress(OSError):
                await self._writer.wait_closed()

    def send(self, content: bytes) -> None:
        """Write bytes as they are, if the server has not gone."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(content)

    def say(self, kind: str, content: dict[str, object], **header: object) -> None:
        """Send a message of the page's form."""
        self.send(frame(BINARY, self.message(kind, content, **header)))

    def message(self, kind: str, content: dict[str, object], **header: object) -> bytes:
        """Return a message of the page's form."""
        head = {
            "date": "2000-01-01T00:00:00.000Z",
            "msg_id": os.urandom(8).hex(),
            "msg_type": kind,
            "session": self._visitor.session,
            "username": "",
            "version": "5.2",
            **header,
        }
        return pack("shell", *(json.dumps(part).encode() for part in (head, {}, {}, content)))

    def choose(self, sample: int) -> None:
        """Click a sample, which the kernel answers with pictures and arrays."""
        data = {"method": "update", "state": {"chosen": sample}, "buffer_paths": []}
        self.say("comm_msg", {"comm_id": self._visitor.gallery, "data": data})

    def download(self, kind: str = "csv") -> None:
        """Click a download, which the kernel answers with a buffer."""
        model = self._visitor.find(lambda state: state.get("offers"))
        data = {"method": "custom", "content": {"kind": kind}}
        self.say("comm_msg", {"comm_id": model, "data": data})

    async def ended(self, timeout_s: float = 20) -> bool:
        """Wait until the server has cut the connection."""
        if self._reader is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                while await self._reader.read(2**16):
                    pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


async def two_frames(visitor: Visitor, rng: random.Random) -> None:
    """Ask for large answers, send what is refused, and leave the close unanswered."""
    async with Peer(visitor) as peer:
        peer.choose(rng.randrange(1, 8))
        peer.download(rng.choice(["csv", "json", "html"]))
        peer.say("execute_request", {"code": "1"})
        await asyncio.sleep(rng.uniform(0, 2))


async def replaced(visitor: Visitor, rng: random.Random) -> None:
    """Open more sockets than a page may have, none of which answers that it is replaced."""
    async with AsyncExitStack() as stack:
        for _ in range(rng.randrange(3, 7)):
            peer = await stack.enter_async_context(Peer(visitor))
            peer.choose(rng.randrange(1, 8))
            peer.download()
        await asyncio.sleep(rng.uniform(0, 1))


async def other_protocol(visitor: Visitor, rng: random.Random) -> None:
    """Offer what only looks like the protocol, and then speak the older format."""
    word = rng.choice([f"x-{PROTOCOL}", f"{PROTOCOL}x", "v2", "", f"a,{PROTOCOL}.b", "\u00e9"])
    async with Peer(visitor, word) as peer:
        parts = [struct.pack("!I", 2 ** rng.randrange(8, 31)), rng.randbytes(163)]
        peer.send(frame(BINARY, b"".join(parts)))
        await asyncio.sleep(0.2)


async def lies(visitor: Visitor, rng: random.Random) -> None:
    """State lengths that never arrive, in the frame and in the message."""
    async with Peer(visitor) as peer:
        offsets = struct.pack("<8Q", *(rng.choice([0, 6, 2**31, 2**56, 2**63]) for _ in range(8)))
        length = rng.choice([None, 2**16, 2**40, 2**63 - 1])
        peer.send(frame(rng.choice([TEXT, BINARY]), offsets, length=length))
        await asyncio.sleep(rng.uniform(0, 1))


async def noise(visitor: Visitor, rng: random.Random) -> None:
    """Send frames of random kinds, flags and content, in pieces."""
    async with Peer(visitor) as peer:
        for _ in range(rng.randrange(1, 30)):
            kind, flags = rng.randrange(16), rng.choice([0x80, 0x80, 0, 0xC0, 0xF0])
            content = rng.randbytes(rng.randrange(200))
            if rng.random() < 0.5:  # noqa: PLR2004  # every other one nearly sound
                sound = bytearray(peer.message("comm_msg", {"comm_id": "x", "data": {}}))
                sound[rng.randrange(len(sound))] ^= 1 << rng.randrange(8)
                content = bytes(sound)
            peer.send(frame(kind, content, flags=flags))
            await asyncio.sleep(rng.choice([0, 0, 0.05]))


async def one_name(visitor: Visitor, rng: random.Random) -> None:
    """Give many messages one name, so that they would count as one."""
    async with Peer(visitor) as peer:
        for _ in range(rng.randrange(2, 60)):
            peer.say("kernel_info_request", {}, msg_id="same")
        await asyncio.sleep(rng.uniform(0, 1))


async def half_open(visitor: Visitor, rng: random.Random) -> None:
    """Stop in the middle of a frame, and neither speak nor go for a while."""
    async with Peer(visitor) as peer:
        whole = frame(BINARY, peer.message("kernel_info_request", {}))
        peer.send(whole[: rng.randrange(1, len(whole))])
        await asyncio.sleep(rng.uniform(0, 3))


async def deaf(visitor: Visitor, rng: random.Random) -> None:
    """Ask for all states again and again, and read nothing."""
    async with Peer(visitor, buffer=4096) as peer:
        control = os.urandom(8).hex()
        name = {"comm_id": control, "target_name": "jupyter.widget.control", "data": {}}
        peer.say("comm_open", name)
        for _ in range(rng.randrange(5, 40)):
            peer.say("comm_msg", {"comm_id": control, "data": {"method": "request_states"}})
        await asyncio.sleep(rng.uniform(0, 3))


ATTACKS: tuple[Callable[[Visitor, random.Random], object], ...] = (
    two_frames,
    replaced,
    other_protocol,
    lies,
    noise,
    one_name,
    half_open,
    deaf,
)


@asynccontextmanager
async def visiting(address: str, query: str, *, politely: bool = True) -> AsyncIterator[Visitor]:
    """Enter as a visitor who knows the page's widgets, and leave in the end, whatever happened."""
    visitor = Visitor(address)
    try:
        await visitor.enter(query)
        await visitor.connect()
        await visitor.show()
        yield visitor
    except BaseException:
        politely = False
        raise
    finally:
        await visitor.leave(politely=politely)


async def attack(
    address: str, query: str, ends: float, rng: random.Random, done: Counter[str]
) -> None:
    """Attack until the time is up; enter again whenever the server has ended the session."""
    while time.monotonic() < ends:
        politely = rng.random() < 0.5  # noqa: PLR2004  # every other one
        with suppress(Gone, OSError, TimeoutError, StopIteration, asyncio.IncompleteReadError):
            async with visiting(address, query, politely=politely) as visitor:
                for _ in range(rng.randrange(1, 12)):
                    if time.monotonic() > ends:
                        break
                    chosen = rng.choice(ATTACKS)
                    await chosen(visitor, rng)
                    done[chosen.__name__] += 1


async def watch(witness: Visitor, ends: float, times: list[float]) -> None:
    """Move the slider until the time is up."""
    passes, touched = 100, time.monotonic()
    while time.monotonic() < ends:
        if time.monotonic() > touched + TOUCH_S:  # as a page does whose visitor is there
            touched = time.monotonic()
            await witness.get(f"/alive/{witness.kernel}?used=1")
        passes = 2 + (passes + 37) % 199
        times.append(await witness.set(witness.slider, value=passes))
        await asyncio.sleep(MOVE_S)


async def fuzz(
    address: str, seconds: float, attackers: int, seed: int = 0, query: str = ""
) -> tuple[list[float], Counter[str]]:
    """Let so many attack for so long; returns the witness's answer times, and the attacks.

    ``query`` is what the page's address needs, such as a token.

    Raises
    ------
    Gone, TimeoutError
        The witness lost its session, or got no answer for 30 s.
    """
    times: list[float] = []
    done: Counter[str] = Counter()
    async with visiting(address, query) as witness:
        ends = time.monotonic() + seconds
        crowd = [
            asyncio.ensure_future(attack(address, query, ends, random.Random(seed + number), done))  # noqa: S311  # repeatable
            for number in range(attackers)
        ]
        try:
            await watch(witness, ends, times)
        finally:
            for one in crowd:
                one.cancel()
            await asyncio.wait(crowd)
    return times, done


def serve(port: int, log: Path) -> psutil.Popen:
    """Start the server, and wait until it listens."""
    command = [sys.executable, "-m", "serfiq_widgets", "demo", "--public", "--open", "--no-browser"]
    with log.open("w") as output:
        server = psutil.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=subprocess.STDOUT
        )
    while "The dashboard is at" not in log.read_text():
        if server.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.1)
    return server


def judge(times: list[float], before: float, after: float) -> list[str]:
    """Print the witness's answer times and the server's memory; return what is wrong with them."""
    p95 = statistics.quantiles(times, n=20)[-1]
    print(f"witness: {len(times)} moves, median {statistics.median(times) * 1e3:.0f} ms, ", end="")
    print(f"p95 {p95 * 1e3:.0f} ms, longest {max(times) * 1e3:.0f} ms")
    print(f"server: {before:.0f} MB before, {after:.0f} MB after")
    waited = ["the witness waited"] if p95 > MAX_P95_S else []
    return [*waited, *(["the memory moved"] if abs(after / before - 1) > MAX_GROWTH else [])]


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=8898)
    given = parser.parse_args()
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    server = serve(given.port, log)
    address = f"http://localhost:{given.port}"
    problems = []

    async def all_of_it() -> tuple[list[float], float, float]:
        await fuzz(address, WARM_UP_S, given.attackers, given.seed)
        before = server.memory_info().rss / MEGABYTE
        times, done = await fuzz(address, 60 * given.minutes, given.attackers, given.seed + 1000)
        print(f"attacks: {dict(done)}")
        await asyncio.sleep(10)
        after = server.memory_info().rss / MEGABYTE
        last = asyncio.ensure_future(fuzz(address, 30, given.attackers, given.seed + 2000))
        await asyncio.sleep(10)
        server.terminate()
        start = time.monotonic()
        await asyncio.to_thread(server.wait, 60)
        print(f"SIGTERM in the middle of attacks: ended after {time.monotonic() - start:.2f} s")
        if time.monotonic() - start > MAX_END_S:
            problems.append("SIGTERM took too long")
        with suppress(Exception):  # whatever a visitor meets whose server went
            await asyncio.wait_for(last, 60)
        return times, before, after

    try:
        times, before, after = asyncio.run(all_of_it())
    finally:
        if server.poll() is None:
            server.kill()
    problems += judge(times, before, after)
    if "Traceback" in log.read_text():
        problems.append(f"tracebacks in {log}")
    sys.exit("; ".join(problems) or 0)


if __name__ == "__main__":
    main()
