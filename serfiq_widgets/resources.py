"""Folders of notebooks, sample images, tables and the page, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent
PEOPLE = {"collins": "Eileen Collins", "hopper": "Grace Hopper"}
RUINED = {
    "bar": "eyes hidden",
    "blur": "blurred",
    "dark": "dark",
    "glare": "overexposed",
    "jpeg": "compressed",
    "mask": "masked",
    "noise": "noisy",
    "tiny": "tiny",
}


def folder(name: str) -> Path:
    """Return a folder of the project: inside the wheel, or beside the package in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def sample_images() -> list[Path]:
    """Return the sample photos: each original before its degraded versions."""
    return sorted(folder("sample_images").glob("*.jpg"), key=lambda p: p.stem.replace("_", " "))


def sample_name(photo: Path) -> str:
    """Return what users read for a sample photo: who it shows, or in which way it is ruined."""
    person, _, ruin = photo.stem.partition("_")
    return RUINED[ruin].capitalize() if ruin else PEOPLE[person]


def bundled() -> Path:
    """Return the evaluation that is part of the package: LFW with the network `mini`.

    It has only numbers; `docs/evaluation.md` has the command that created it.
    """
    return PACKAGE / "bundled" / "lfw-mini.npz"
