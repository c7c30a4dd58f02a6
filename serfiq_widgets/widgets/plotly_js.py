"""The plotly library for pages, as one compressed JavaScript module.

The package's own server serves it, so that browsers fetch it while the page loads, and cache it.
Elsewhere, such as in JupyterLab, a widget contains it.
"""

from __future__ import annotations

import gzip
import pkgutil
from functools import cache

PATH = "/plotly.js"
ADDRESS = "SERFIQ_PLOTLY"  # environment variable with that path, for kernels whose page fetches it
# Hides the page's module loader (RequireJS) from the library, which would register with it.
HEAD = b"const module = { exports: {} }, exports = module.exports, define = undefined;\n"
TAIL = b"\nexport default module.exports;"


@cache
def module() -> bytes:
    """Return the module, compressed by gzip."""
    source = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    return gzip.compress(HEAD + (source or b"") + TAIL, 9, mtime=0)
