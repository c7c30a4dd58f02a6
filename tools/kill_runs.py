"""End runs of the commands that write files at random moments, and check what is left.

    python tools/kill_runs.py [--kills 200] [--seed 0] [COMMAND ...]

A folder holds good outputs of earlier runs, photos, and files of others with the names that
temporary files might have. Runs with other settings are ended in three ways: SIGKILL, half of them
while a file is being written; a full disk; a folder that becomes read-only. Where root can mount,
the outputs lie in a small tmpfs; elsewhere the file size is limited (RLIMIT_FSIZE) and the folder's
permission is taken. After each run every output must be the old one, byte for byte, or a whole new
one, and every other file as it was. Now and then the same command runs undisturbed, among what the
others left behind, and must give the whole new output. The exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from serfiq_widgets import find_face
from serfiq_widgets.datasets.tables import read_table
from serfiq_widgets.images.files import find_images
from serfiq_widgets.resources import sample_images

FOLDER, MODELS = "out", "models"
DISK = 48 << 20  # bytes of the small file system
EVERY = 10  # so many runs are ended before one runs undisturbed
BEFORE, AFTER = "2", "3"  # passes of the good outputs, and of the runs that are ended
LIMIT_S = 120
KILL, FULL, READ_ONLY = "killed", "disk full", "read-only"
WRITING = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # names of atomic.replacing
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # of plotly's elements
OTHERS = ("scores.part.csv", "x.csv.journal", "report.html.new", "table.npz.part", ".report.html")
PEOPLE = ("people", "--aligned")
OF_PEOPLE = (*PEOPLE, "--passes", "{passes}")


@dataclass
class Command:
    """A command line with ``{passes}`` in it, the files that it writes, and what these held."""

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    old: dict[str, bytes] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def line(self, passes: str) -> list[str]:
        """Return what is to be run."""
        return [sys.executable, "-m", "serfiq_widgets"] + [
            part.format(passes=passes) for part in self.arguments
        ]


COMMANDS = {
    "score": Command(("score", *OF_PEOPLE, "--out", "out/scores.csv"), ("out/scores.csv",)),
    "score-parquet": Command(("score", *OF_PEOPLE, "--out", "out/s.parquet"), ("out/s.parquet",)),
    "score-json": Command(("score", *OF_PEOPLE, "--out", "out/s.json"), ("out/s.json",)),
    "evaluate": Command(
        ("evaluate", *OF_PEOPLE, "--fmr", "0.1", "--plot", "out/p.html", "--save", "out/t.npz"),
        ("out/p.html", "out/t.npz"),
    ),
    "report": Command(("report", *OF_PEOPLE, "--out", "out/report.html"), ("out/report.html",)),
    "calibrate": Command(
        ("calibrate", "mini", *OF_PEOPLE, "--plot", "out/c.html", "--name", "{passes}"),
        ("out/c.html", f"{FOLDER}/{MODELS}/mini/mini.card.toml"),
    ),
    "bias": Command(("bias", *OF_PEOPLE, "--by", "model", "--save", "out/b.npz"), ("out/b.npz",)),
}


def content(path: Path) -> str:
    """Return what a whole file says, without what differs between equal runs; fail on a half."""
    if path.suffix == ".html":
        return hashlib.sha256(UUID.sub("", path.read_text(encoding="utf-8")).encode()).hexdigest()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return str({name: arrays[name].tolist() for name in arrays.files})
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    elif path.suffix == ".parquet":
        rows = read_table(path).to_dict("records")
    else:
        return path.read_text(encoding="utf-8")
    return str([{name: row[name] for name in row if name != "ms"} for row in rows])


class Workplace:
    """The folder where the runs happen: photos, outputs, files of others.

    Parameters
    ----------
    root : Path
        An empty folder.
    mounted : bool
        Its folder of outputs is a file system of its own.
    """

    def __init__(self, root: Path, *, mounted: bool) -> None:
        self.root, self.mounted, self.out = root, mounted, root / FOLDER
        self._environment = {**os.environ, "SERFIQ_MODELS": str(self.out / MODELS)}
        for number, photo in enumerate(sample_images()):
            face = Image.fromarray(find_face(photo).pixels)
            to = root / "people" / f"person {number % 2}"
            to.mkdir(parents=True, exist_ok=True)
            face.save(to / f"{photo.stem}.png")
            ImageOps.mirror(face).save(to / f"{photo.stem} mirrored.png")
        for name in OTHERS:
            (self.out / name).write_text(f"{name} of somebody else\n", encoding="utf-8")
        self._others = self._digests()

    def _digests(self) -> dict[Path, str]:
        files = (*find_images([self.root / "people"]), *(self.out / name for name in OTHERS))
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def start(self, line: list[str], most: int = 0) -> subprocess.Popen[bytes]:
        """Start a run, whose files may have ``most`` bytes each if that is given."""

        def limit() -> None:
            if most:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        with (self.root / "log").open("wb") as log:
            return subprocess.Popen(
                line,
                cwd=self.root,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=limit,  # noqa: PLW1509  # this process has no threads
            )

    def whole(self, command: Command, passes: str) -> None:
        """Run undisturbed."""
        start = time.monotonic()
        code = self.start(command.line(passes)).wait(LIMIT_S)
        command.seconds = time.monotonic() - start
        if code:
            raise SystemExit((self.root / "log").read_text(errors="replace"))

    def learn(self, command: Command) -> None:
        """Make the good old outputs, and from there, as the ended runs do, the new ones."""
        self.forget_card()
        self.whole(command, BEFORE)
        command.old = {name: (self.root / name).read_bytes() for name in command.outputs}
        self.whole(command, AFTER)
        command.new = {name: content(self.root / name) for name in command.outputs}

    def restore(self, command: Command) -> None:
        """Put the good old outputs in their places."""
        self.forget_card()
        for name, old in command.old.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(old)

    def forget_card(self) -> None:
        """Take a calibration away: it would change what other commands give."""
        shutil.rmtree(self.out / MODELS, ignore_errors=True)

    def left_behind(self) -> list[Path]:
        """List temporary files and journals."""
        files = (path for path in self.out.rglob("*") if path.is_file())
        return [
            path
            for path in files
            if path.name not in OTHERS
            and (WRITING.fullmatch(path.name) or path.suffix == ".journal")
        ]

    def problems(self, command: Command) -> Iterator[str]:
        """Yield what is wrong after a run."""
        if self._digests() != self._others:
            yield "a file of somebody else, or a photo, has changed"
        for name, old in command.old.items():
            path = self.root / name
            if not path.exists():
                yield f"{name} is lost"
            elif path.read_bytes() != old and self._is_half(path, command.new[name]):
                yield f"{name} is neither the old one nor a whole new one"
        known = {self.root / name for one in COMMANDS.values() for name in one.outputs}
        known |= {self.out / name for name in OTHERS} | set(self.left_behind())
        yield from (
            f"{path.name} was not there before"
            for path in self.out.rglob("*")
            if path.is_file() and path not in known
        )
        if find_images([self.out]):
            yield "something left behind counts as an image"
        if "Traceback" in (self.root / "log").read_text(errors="replace"):
            yield "a traceback"

    def _is_half(self, path: Path, new: str) -> bool:
        try:
            return content(path) != new
        except Exception:  # noqa: BLE001  # whatever a reader meets in half a file
            return True

    def outcome(self, command: Command) -> str:
        """Return whether the outputs are old, new, or, one by one, both."""
        old = [(self.root / name).read_bytes() == was for name, was in command.old.items()]
        return "old" if all(old) else "some new" if any(old) else "new"

    @contextmanager
    def nearly_full(self, free: int) -> Iterator[None]:
        """Leave so many bytes free on the file system of the outputs."""
        filler = self.out / ".filler"
        with filler.open("wb") as file:
            room = os.statvfs(self.out).f_bavail * os.statvfs(self.out).f_frsize
            file.write(bytes(max(0, room - free)))
        yield
        filler.unlink()

    def read_only(self, *, yes: bool) -> bool:
        """Make the folder of outputs read-only or writable; False while a file is being written."""
        if self.mounted:
            way = "remount,ro" if yes else "remount,rw"
            done = subprocess.run(["mount", "-o", way, self.out], capture_output=True, check=False)
            return done.returncode == 0
        for path in (self.out, *(path for path in self.out.rglob("*") if path.is_dir())):
            path.chmod(0o555 if yes else 0o755)
        return True


def kill(place: Workplace, command: Command, chance: random.Random) -> None:
    """Kill a run: at any moment, or soon after it has begun to write."""
    run = place.start(command.line(AFTER))
    before, writing = set(place.left_behind()), chance.random() < 0.5  # noqa: PLR2004  # half of them
    end = time.monotonic() + (LIMIT_S if writing else chance.uniform(0, command.seconds))
    while run.poll() is None and time.monotonic() < end:
        if writing and set(place.left_behind()) - before:
            time.sleep(chance.uniform(0, 0.03))
            break
        time.sleep(0.001)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def fill(place: Workplace, command: Command, chance: random.Random) -> None:
    """Let a run meet a disk that is nearly full."""
    size = chance.randrange(1, sum(map(len, command.old.values())) + 1)
    if place.mounted:
        with place.nearly_full(size):
            place.start(command.line(AFTER)).wait(LIMIT_S)
    else:
        place.start(command.line(AFTER), size).wait(LIMIT_S)


def lock(place: Workplace, command: Command, chance: random.Random) -> None:
    """Make the folder read-only under a run, or before it."""
    run = place.start(command.line(AFTER))
    time.sleep(chance.uniform(0, command.seconds))
    while run.poll() is None and not place.read_only(yes=True):
        time.sleep(0.001)
    run.wait(LIMIT_S)
    place.read_only(yes=False)


WAYS: dict[str, Callable[[Workplace, Command, random.Random], None]] = {
    KILL: kill,
    FULL: fill,
    READ_ONLY: lock,
}
WEIGHTS = (3, 1, 1)


@contextmanager
def workplace() -> Iterator[Workplace]:
    """Make the folder, with a file system of its own in it where that is allowed."""
    with tempfile.TemporaryDirectory(prefix="kill-runs-") as folder:
        out = Path(folder) / FOLDER
        out.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(out)]
        mounted = (
            shutil.which("mount") is not None
            and not subprocess.run(line, capture_output=True, check=False).returncode
        )
        try:
            yield Workplace(Path(folder), mounted=mounted)
        finally:
            if mounted:
                subprocess.run(["umount", str(out)], check=True)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311  # no secret
    names = given.commands or list(COMMANDS)
    counts: Counter[tuple[str, str, str]] = Counter()
    problems: list[str] = []
    with workplace() as place:
        print(f"outputs in {'a tmpfs' if place.mounted else 'a folder'}; seed {given.seed}")
        for name in names:
            place.learn(COMMANDS[name])
        left = whole = 0
        for number in range(given.kills):
            name = names[number % len(names)]
            command = COMMANDS[name]
            (way,) = chance.choices(list(WAYS), WEIGHTS)
            place.restore(command)
            WAYS[way](place, command, chance)
            found = list(place.problems(command))
            problems += [f"run {number}, {name}, {way}: {one}" for one in found]
            counts[name, way, "wrong" if found else place.outcome(command)] += 1
            if number % EVERY == EVERY - 1:
                place.restore(command)
                place.whole(command, AFTER)
                found = [f"{way} before: {one}" for one in place.problems(command)]
                if place.outcome(command) != "new":
                    found.append("an undisturbed run gave the old output")
                problems += [f"after run {number}, {name}, {one}" for one in found]
                whole += 1
                for path in place.left_behind():
                    path.unlink()
                    left += 1
    for (name, way, outcome), count in sorted(counts.items()):
        print(f"{name:14} {way:10} {outcome:9} {count:4}")
    print(
        f"{given.kills} runs ended, {len(problems)} problems; {left} temporary files and journals"
    )
    print(f"were left behind, among which {whole} undisturbed runs gave the whole new output")
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
