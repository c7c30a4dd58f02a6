"""Folders of notebooks, sample images, tables and the page, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return a folder of the project: inside the wheel, or beside the package in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def sample_images() -> list[Path]:
    """Return the sample photos: each original before its degraded versions."""
    return sorted(folder("sample_images").glob("*.jpg"), key=lambda p: p.stem.replace("_", " "))


def bundled() -> Path:
    """Return the evaluation that is part of the package: LFW with the network `mini`.

    It has only numbers; `docs/evaluation.md` has the command that created it.
    """
    return PACKAGE / "bundled" / "lfw-mini.npz"
