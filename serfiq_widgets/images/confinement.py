"""What a process gives up before it decodes what strangers sent, and what it hides from others.

On Linux a system call that decoding does not need is refused: no file, folder, socket, program,
process or signal, no memory of others, no code that is written and then run. Threads may be started
(the reader of HEIC does). Elsewhere there are limits alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

if sys.platform != "win32":  # which knows no such limits: there is only the parent's patience
    import resource

NOBODY = 65534
NO_NEW_PRIVILEGES, DUMPABLE = 38, 4  # of prctl
RUNNABLE, THREAD = 4, 0x10000  # PROT_EXEC, CLONE_THREAD
NEEDED = (
    *("read", "write", "readv", "writev", "lseek", "fstat", "poll", "ppoll"),
    *("brk", "munmap", "mremap", "madvise", "futex", "membarrier", "rseq", "getrandom"),
    *(
        "rt_sigreturn",
        "rt_sigaction",
        "rt_sigprocmask",
        "restart_syscall",
        "sigaltstack",
        "exit",
        "exit_group",
    ),
    *("alarm", "setitimer", "getitimer", "times", "getrusage", "sched_yield"),
    *("clock_gettime", "clock_getres", "gettimeofday", "clock_nanosleep", "getpid", "gettid"),
    "set_robust_list",
)
"""System calls of a process that computes, reads its input and writes its output."""


def confine(memory: int) -> bool:
    """Give up whatever decoding does not need; whether system calls are filtered from now on.

    Parameters
    ----------
    memory : int
        Bytes that may be taken besides what the process has now.
    """
    if sys.platform == "win32":
        return False
    allowed = _filter()  # it is built while all may still be done
    _limit(memory)
    if os.geteuid() == 0:
        _become_nobody()
    hide()
    if allowed is not None and _prctl(NO_NEW_PRIVILEGES, 1):
        with suppress(OSError):  # a kernel without filters
            allowed.load()
            return True
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return False


def works_here() -> bool:
    """Whether a process of this machine can be confined with a filter: one tries."""
    code = f"from {__name__} import confine; raise SystemExit(not confine(10**8))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  # our own


def hide() -> bool:
    """Keep other processes of the same user from reading this one's memory; whether it worked."""
    return _prctl(DUMPABLE, 0)


def _limit(memory: int) -> None:
    used = 2**30
    with suppress(OSError):  # only Linux tells
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: used + memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # of files; pipes have no size
        resource.RLIMIT_NOFILE: 3,  # no more than the three that are open
    }
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # a stricter one is set already
            resource.setrlimit(limit, (value, value))


def _become_nobody() -> None:
    """Take a user of one's own, who owns nothing; where root may not, it stays root."""
    with suppress(OSError):
        os.setgroups([])
    with suppress(OSError):
        os.setresgid(NOBODY, NOBODY, NOBODY)
    with suppress(OSError):
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _filter() -> Any:
    """Return a filter of system calls, not yet in force; None where there is none."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):  # it, or the library that it calls
        return None
    made = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in NEEDED:
        with suppress(OSError):  # this processor's Linux has no such call
            made.add_rule(seccomp.ALLOW, name)
    for name in ("mmap", "mprotect"):
        runs = seccomp.Arg(2, seccomp.MASKED_EQ, RUNNABLE, 0)
        made.add_rule(seccomp.ALLOW, name, runs)
    made.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, THREAD, THREAD))
    made.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # then `clone` is called, which is read
    own = seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(1, seccomp.EQ, resource.RLIMIT_CPU)
    made.add_rule(seccomp.ALLOW, "prlimit64", *own)  # its own time, for each photo anew
    return made


def _prctl(what: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(what, value, 0, 0, 0) == 0)
