"""The plotly library for pages, as one compressed JavaScript module.

Our own server hands it out, so that browsers fetch it while the page loads, and keep it. Elsewhere,
as in JupyterLab, a widget carries it.
"""

from __future__ import annotations

import gzip
import pkgutil
from functools import cache

PATH = "/plotly.js"
ADDRESS = "SERFIQ_PLOTLY"  # set to that path in the environment of kernels whose page fetches it
# It hides a loader on the page (RequireJS) from the library, which would register with it.
HEAD = b"const module = { exports: {} }, exports = module.exports, define = undefined;\n"
TAIL = b"\nexport default module.exports;"


@cache
def module() -> bytes:
    """Return the module, compressed by gzip."""
    source = pkgutil.get_data("plotly", "package_data/plotly.min.js")
    return gzip.compress(HEAD + (source or b"") + TAIL, 9, mtime=0)
