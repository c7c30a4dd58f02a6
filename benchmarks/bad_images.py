"""How long hostile files take, and how much memory: the worst of each way in.

Usage: bad_images.py [SHOWN]    (the 5 worst)

Peak memory is that of this process over what it had before the file, and for uploads that of the
process which decodes. Linux only.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
from hostile_images import corpus, ways  # noqa: E402  # scripts beside this one

from serfiq_widgets.images import sandbox  # noqa: E402


def peak(pid: int | str = "self") -> int:
    """Peak resident memory of a process in kB; what it ends with if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return int(text.partition("VmHWM:")[2].split()[0])


def forget_peak(pid: int | str = "self") -> int:
    """Begin anew, and return the resident memory now in kB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def measured(send: Callable[[], Any], pid: int) -> tuple[float, float, float, float]:
    """Return wall and processor seconds, and MB taken here and in the process that decodes."""
    before, childs = forget_peak(), forget_peak(pid) if pid else 0
    wall, busy = time.perf_counter(), time.process_time()
    send()
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    child = max(0, peak(pid) - childs) / 1e3 if pid else 0.0
    return wall, busy, (peak() - before) / 1e3, child


def main(arguments: list[str]) -> None:
    """Send each file each way and list the worst."""
    shown = int(arguments[0]) if arguments else 5
    rows: dict[str, list[Any]] = {"upload": [], "API": [], "CLI": []}
    with tempfile.TemporaryDirectory() as folder:
        upload, api, command = ways()
        for name, content in corpus():
            path = Path(folder) / name
            path.write_bytes(content)
            child = sandbox._child._process  # noqa: SLF001  # whose memory is asked for
            pid = child.pid if child and child.poll() is None else 0
            each = {
                "upload": lambda one=(name, content): upload(*one),
                "API": lambda one=(name, content): api(*one),
                "CLI": lambda path=path: command(path),
            }
            for way, send in each.items():
                rows[way].append((*measured(send, pid if way == "upload" else 0), name))
            path.unlink()
    for way, lines in rows.items():
        print(f"\n{way}: {len(lines)} files")
        for column, title in enumerate(("seconds", "busy seconds", "MB", "MB in the child")):
            worst = sorted(lines, key=lambda line: -line[column])[:shown]
            print(f"  most {title}: " + ", ".join(f"{one[column]:.2f} ({one[4]})" for one in worst))


if __name__ == "__main__":
    main(sys.argv[1:])
