"""Joins the modules of a widget's JavaScript into the one that anywidget takes."""

from __future__ import annotations

import re
from pathlib import Path

IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?!default\b)", re.MULTILINE)


def joined(path: Path) -> str:
    """Return a module with those that it imports, each once and before its users, as one module.

    They share one scope: no two of them may define the same name at their top level, and imports
    have the form ``import { name } from "./file.js";``.
    """
    texts: dict[Path, str] = {}

    def add(module: Path) -> None:
        if module in texts:
            return
        text = module.read_text(encoding="utf-8")
        for name in IMPORT.findall(text):
            add(module.parent / name)
        texts[module] = EXPORT.sub("", IMPORT.sub("", text))

    add(path)
    return "".join(texts.values())
