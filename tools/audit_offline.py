"""Look for known holes in the locked packages, without a connection.

    python tools/audit_offline.py ADVISORIES.zip requirements/with-mxnet.txt ...

ADVISORIES.zip holds one JSON file a record in the OSV format, such as the archive of all records
for PyPI that osv.dev offers. The exit code is 1 if a locked version is affected.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def locked(files: list[Path]) -> set[tuple[str, Version]]:
    """Return name and version of each package that the files pin."""
    found = (pin for file in files for pin in LOCKED.findall(file.read_text(encoding="utf-8")))
    return {(canonicalize_name(name), Version(version)) for name, version in found}


def records(archive: Path) -> Iterator[dict[str, Any]]:
    """Yield the records that were not withdrawn."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".json"):
                record: dict[str, Any] = json.loads(opened.read(name))
                if "withdrawn" not in record:
                    yield record


def affected(record: dict[str, Any]) -> set[tuple[str, Version]]:
    """Return name and version of each package release that a record lists."""
    found = set()
    for entry in record.get("affected", []):
        package = entry.get("package", {})
        if package.get("ecosystem") == "PyPI":
            for version in entry.get("versions", []):
                try:
                    found.add((canonicalize_name(package["name"]), Version(version)))
                except InvalidVersion:
                    continue  # of the time before versions had a form
    return found


def findings(archive: Path, files: list[Path]) -> list[str]:
    """Return one line for each locked package that a record affects.

    Raises
    ------
    ValueError
        The archive has no records.
    """
    pins, lines, count = locked(files), [], 0
    for count, record in enumerate(records(archive), 1):  # noqa: B007  # the last one is the count
        listed = affected(record)
        for name, version in sorted(pin for pin in pins if pin in listed):
            also = ", ".join(record.get("aliases", []))
            lines.append(f"{name} {version}: {record['id']} ({also}) {record.get('summary', '')}")
    if not count:
        raise ValueError(f"'{archive}' holds no records.")
    print(f"{len(pins)} locked releases compared with {count} records")
    return sorted(lines)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("advisories", type=Path)
    parser.add_argument("locks", type=Path, nargs="+")
    given = parser.parse_args()
    lines = findings(given.advisories, given.locks)
    print("\n".join(lines) or "none is affected")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
