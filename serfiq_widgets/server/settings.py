"""The settings of a public demo: read, checked and summarised."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from serfiq_widgets.errors import BadSetting

DEFAULTS = Path(__file__).parent / "public.toml"
MIN_TOKEN = 12
AUTO = "auto"  # a token is generated at the start
RANGES = {
    "port": (1, 65535),
    "most_visitors": (1, 1000),
    "warm": (1, 20),
    "keep_free_mb": (0, 10**6),
    "kernel_mb": (200, 10**6),
    "idle_s": (5, 86400),
    "gone_s": (2, 3600),
    "connect_s": (2, 3600),
    "message_mb": (2, 10),
    "messages_per_s": (10, 10**4),
    "megabytes_per_s": (1, 1000),
    "kiosk_idle_s": (5, 86400),
    "warning_s": (1, 3600),
}


@dataclass(frozen=True)
class Public:
    """The settings that ``public.toml`` describes; numbers are within `RANGES`."""

    address: str
    port: int
    hosts: tuple[str, ...]
    token: str
    most_visitors: int
    warm: int
    keep_free_mb: int
    kernel_mb: int
    idle_s: int
    gone_s: int
    connect_s: int
    message_mb: int
    messages_per_s: int
    megabytes_per_s: int
    kiosk: bool
    kiosk_idle_s: int
    warning_s: int

    @property
    def unused_s(self) -> int:
        """Seconds without activity after which a session ends."""
        return self.kiosk_idle_s if self.kiosk else self.idle_s


def read_public(file: Path | None = None, **given: Any) -> Public:
    """Return the settings: the defaults, replaced by those of a file, then by those given.

    Raises
    ------
    BadSetting
        The file cannot be read, or a setting is unknown or impossible; the text names it.
    """
    values = _parse(DEFAULTS)
    said = {**(_parse(file) if file else {}), **{k: v for k, v in given.items() if v is not None}}
    for name, value in said.items():
        if name not in values:
            raise BadSetting(f"There is no setting '{name:.40}'. Known: {', '.join(values)}.")
        values[name] = _checked(name, value, values[name])
    public = Public(**{**values, "hosts": tuple(host.lower() for host in values["hosts"])})
    _check_address(public.address)
    if public.token not in ("", AUTO) and len(public.token) < MIN_TOKEN:
        raise BadSetting(f"The token is too short. Use {MIN_TOKEN} characters or more, or 'auto'.")
    if public.kiosk and public.warning_s >= public.kiosk_idle_s:
        raise BadSetting("warning_s must be less than kiosk_idle_s.")
    return public


def with_token(public: Public, token: str) -> Public:
    """Return the settings with this token in the place of "auto"."""
    return replace(public, token=token) if public.token == AUTO else public


CONFINED = "decoded in a process that can do nothing else"
NOT_CONFINED = (
    "WARNING: decoded in a process with limits alone: this machine filters no system calls "
    "(Linux with libseccomp does)"
)


def summary(public: Public, *, confined: bool) -> str:
    """Summarise the settings in a few lines; ``confined``: whether decoding is (`confinement`)."""
    local = ip_address(public.address).is_loopback
    lines = {
        "listens": f"{public.address}, port {public.port} "
        f"({'this machine only' if local else 'others can reach it'})",
        "admits": "visitors with the token" if public.token else "everyone who reaches the page",
        "visitors": f"{public.most_visitors} at once; the next ones see a page that waits for them",
        "memory": f"{public.kernel_mb} MB for one visitor at most; {public.keep_free_mb} MB stay "
        "free",
        "ends": f"{public.gone_s} s after the page has gone, {public.unused_s} s after the last "
        "touch",
        "photos": CONFINED if confined else NOT_CONFINED,
        "closed": "code, files, other visitors' kernels, all other pages and host names",
        "logs": "errors only: no address, no name, no image",
    }
    return "\n".join(f"  {name:9} {text}" for name, text in lines.items())


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"'{path}' cannot be read as TOML: {error}") from error


def _checked(name: str, value: Any, usual: Any) -> Any:
    if type(value) is not type(usual):
        raise BadSetting(f"{name} = {value!r:.60} is not possible: write it like {usual!r}.")
    least, most = RANGES.get(name, (None, None))
    if least is not None and not least <= value <= most:
        raise BadSetting(f"{name} = {value} is not possible: give {least} to {most}.")
    if name == "hosts" and not all(isinstance(host, str) for host in value):
        raise BadSetting('hosts holds names, such as ["faces.example.org"].')
    return value


def _check_address(address: str) -> None:
    try:
        ip_address(address)
    except ValueError as error:
        raise BadSetting(
            f"address = {address!r:.60} is not an IP address. Use 127.0.0.1 for this machine only, "
            "or 0.0.0.0 for all its networks."
        ) from error
