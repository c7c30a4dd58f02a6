"""Strip outputs, counts and volatile metadata from notebooks, or check that there are none.

Usage: clean_notebooks.py [--check] FOLDER ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def clean(text: str) -> str:
    """Return a notebook's JSON without what running it leaves behind."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k == "tags"}
    notebook["metadata"]["language_info"] = {"name": "python"}
    notebook["metadata"].pop("widgets", None)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Clean or check; return 1 if a check found something."""
    check = "--check" in arguments
    dirty = 0
    for folder in (a for a in arguments if a != "--check"):
        for path in sorted(Path(folder).rglob("*.ipynb")):
            text = path.read_text(encoding="utf-8")
            if (cleaned := clean(text)) == text:
                continue
            if check:
                dirty += 1
                print(f"{path} has outputs or stray metadata: run {Path(__file__).name} on it")
            else:
                path.write_text(cleaned, encoding="utf-8")
    return int(dirty > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
