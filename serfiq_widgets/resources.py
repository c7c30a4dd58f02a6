"""Where notebooks, sample images, tables and the page lie, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return a folder that ships with the project: inside the wheel, else beside the package."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def sample_images() -> list[Path]:
    """Return the sample photos: each original before its ruined versions."""
    return sorted(folder("sample_images").glob("*.jpg"), key=lambda p: p.stem.replace("_", " "))


def bundled() -> Path:
    """Return the evaluation that ships with the package: LFW with the bundled network.

    Numbers alone; `docs/evaluation.md` says which command made it.
    """
    return PACKAGE / "bundled" / "lfw-mini.npz"
