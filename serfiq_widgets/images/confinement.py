"""Restrictions of a process that decodes files from visitors.

On Linux, system calls that decoding does not need are refused: the process can open no file, folder
or socket, start no program or process, send no signal, read no memory of other processes, and make
no memory executable. It may start threads (the HEIC decoder does). On other systems there are only
resource limits.
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

if sys.platform != "win32":  # Windows has no such limits, only the parent's timeout
    import resource

NOBODY = 65534
NO_NEW_PRIVILEGES, DUMPABLE = 38, 4  # options of prctl
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
"""System calls needed by a process that computes, reads its input and writes its output."""


def confine(memory: int) -> bool:
    """Restrict this process to what decoding needs; return whether system calls are filtered.

    Parameters
    ----------
    memory : int
        Bytes that the process may allocate in addition to what it has now.
    """
    if sys.platform == "win32":
        return False
    allowed = _filter()  # built before the restrictions apply
    _limit(memory)
    if os.geteuid() == 0:
        _become_nobody()
    hide()
    if allowed is not None and _prctl(NO_NEW_PRIVILEGES, 1):
        with suppress(OSError):  # this Linux kernel has no filters
            allowed.load()
            return True
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return False


def works_here() -> bool:
    """Return whether system calls can be filtered on this machine; a child process tries it."""
    code = f"from {__name__} import confine; raise SystemExit(not confine(10**8))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  # fixed


def hide() -> bool:
    """Hide this process's memory from other processes of the user; return whether it worked."""
    return _prctl(DUMPABLE, 0)


def _limit(memory: int) -> None:
    used = 2**30
    with suppress(OSError):  # only Linux has this file
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: used + memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # for files only, not for pipes
        resource.RLIMIT_NOFILE: 3,  # the three that are open already
    }
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # a stricter limit is set already
            resource.setrlimit(limit, (value, value))


def _become_nobody() -> None:
    """Switch from root to the user "nobody"; stay root where that is not permitted."""
    with suppress(OSError):
        os.setgroups([])
    with suppress(OSError):
        os.setresgid(NOBODY, NOBODY, NOBODY)
    with suppress(OSError):
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _filter() -> Any:
    """Return a system call filter that is not loaded yet; None if filters are not available."""
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError):  # pyseccomp or libseccomp is missing
        return None
    made = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in NEEDED:
        with suppress(OSError):  # this processor has no such system call
            made.add_rule(seccomp.ALLOW, name)
    for name in ("mmap", "mprotect"):
        runs = seccomp.Arg(2, seccomp.MASKED_EQ, RUNNABLE, 0)
        made.add_rule(seccomp.ALLOW, name, runs)
    made.add_rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, THREAD, THREAD))
    made.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # libc then uses `clone`
    own = seccomp.Arg(0, seccomp.EQ, 0), seccomp.Arg(1, seccomp.EQ, resource.RLIMIT_CPU)
    made.add_rule(seccomp.ALLOW, "prlimit64", *own)  # to reset its own time limit for each photo
    return made


def _prctl(what: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(what, value, 0, 0, 0) == 0)
