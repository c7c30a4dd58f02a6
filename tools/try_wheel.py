"""Install a wheel into a fresh environment and score a sample there, as a new user would.

    python tools/try_wheel.py dist/serfiq_widgets-0.1.0-py3-none-any.whl

The commands run in another folder than the checkout, with a home folder that cannot be written to
(root can write everywhere, so for root the home does not exist).
"""

import os
import stat
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SCORE = """
from serfiq_widgets import Scorer, samples
result = Scorer().score(samples()["collins"])
assert 80 <= result.quality <= 90, result
print(result)
"""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def main(wheel: Path) -> None:
    """Install the wheel with [headless], then run the library, the module and the command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        python = str(programs / "python")
        install = [python, "-m", "pip", "install", "-qq", f"{wheel.resolve()}[headless]"]
        subprocess.run(install, check=True)
        home, work = folder / "home", folder / "work"
        work.mkdir()
        if os.name == "nt" or os.geteuid():
            home.mkdir()
            home.chmod(stat.S_IRUSR | stat.S_IXUSR)
        hidden = {"PYTHONPATH", "XDG_CACHE_HOME", *PROXIES}
        clean = {name: value for name, value in os.environ.items() if name not in hidden}
        clean |= {"HOME": str(home), "USERPROFILE": str(home), "SERFIQ_OFFLINE": "1"}
        serfiq = str(programs / "serfiq")
        for command in (
            [python, "-c", SCORE],
            [python, "-m", "serfiq_widgets", "--version"],
            [serfiq, "doctor", "--needed"],
            [serfiq, "models"],
        ):
            subprocess.run(command, cwd=work, env=clean, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
