"""Make sure that a Chromium is at hand for the browser tests, and print its path.

Looks on the PATH and in /usr/bin; else installs it: with apt when root on Debian, else
Playwright's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Path of an installed Chromium, or None; Playwright's own counts."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin"])
    for name in NAMES:
        if found := shutil.which(name, path=path):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install() -> None:
    """Install it with apt when root on Debian, else let Playwright download its own."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("Installing Chromium with apt ...", file=sys.stderr)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            ["apt-get", "-q", "install", "-y", "--no-install-recommends", "chromium"],
            check=True,
            env=env,
            stdout=subprocess.DEVNULL,
        )
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


if __name__ == "__main__":
    if find() is None:
        install()
    print(f"Chromium: {find()}")
