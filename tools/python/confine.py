"""Confine the process that runs this: limits, another user, Landlock, a system call filter; in that order.

The source of this file is sent to the worker, which executes it before it has seen any code of a model, so
it imports nothing but the standard library and knows nothing of the rest of this package. Whatever cannot
be established ends the process: `SystemExit` with one line that says what the machine lacks. Namespaces
and mounts are not made here (bubblewrap does that from outside), nor is the filter assembled here.
"""

import _socket
import ctypes
import os
import resource
import struct
import sys
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER, _SIGKILL = 2, 9

# Landlock's system calls have these numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE, _MAKE_LINK, _MOVE = (
    1 << 4,
    1 << 5,
    1 << 7,
    1 << 8,
    1 << 12,
    1 << 13,
)
_ON_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR
_CHANGE = _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_LINK | _MOVE
_RIGHTS_SINCE = ((1, 13), (2, 14), (3, 15), (5, 16))  # Landlock version, how many file system rights it knows


def confine(
    *,
    limits: Sequence[tuple[int, int]],
    readable: Sequence[str],
    writable: Sequence[str],
    user: int | None,
    landlock_required: bool,
    system_calls: bytes,
) -> None:
    """Give up every right but those named; there is no way back.

    `limits` are pairs of a resource and its bound, `readable` and `writable` paths that stay open,
    `user` the id to run as (None keeps the caller's), `system_calls` a seccomp program. Landlock may be
    missing only where `landlock_required` is false: where mounts already hide everything else.
    """
    for kind, bound in limits:
        _, most = resource.getrlimit(kind)
        bound = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (bound, bound))
    ruleset = _landlock_ruleset(readable, writable)
    if ruleset is None and landlock_required:
        raise SystemExit(
            "this kernel has no Landlock (it needs Linux 5.13 or later, with landlock in its lsm= list)"
        )
    if user is not None:
        _become(user)
    _prctl(_PR_SET_DUMPABLE, 0)
    die_with_parent()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if ruleset is not None:
        _check(
            _libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)), "landlock_restrict_self"
        )
        os.close(ruleset)
    _install(system_calls)
    _prove()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; a later change of user would undo it."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def _check(result: int, call: str) -> int:
    if result < 0:
        raise SystemExit(f"the kernel refused {call}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(option: int, value: int) -> None:
    unused = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), unused, unused, unused), f"prctl({option})")


def _landlock_ruleset(readable: Sequence[str], writable: Sequence[str]) -> int | None:
    """A Landlock ruleset that allows these paths and nothing else; None where the kernel has no Landlock."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return None
    handled = (1 << max(rights for since, rights in _RIGHTS_SINCE if since <= version)) - 1
    # From version 4 also TCP, from 6 also signals and abstract sockets beyond this process.
    attributes = struct.pack("=QQQ", handled, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    _check(ruleset, "landlock_create_ruleset")
    for paths, rights in ((readable, _READ), (writable, _READ | _CHANGE)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    return int(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= _ON_FILES
    rule = struct.pack("=Qi", rights, beneath)
    _check(
        _libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), 1, rule, ctypes.c_uint(0)),
        f"a Landlock rule for {path}",
    )
    os.close(beneath)


def _become(user: int) -> None:
    """Run as another user, with no group and no capability, and keep the standard library importable.

    The interpreter may live where only root may go (/root/.pyenv). Its folders are then reached through
    descriptors opened before the change, as /proc/self/fd/N: no capability has to be kept for it.
    """
    folders = {path: os.open(path, os.O_PATH) for path in sys.path if os.path.isdir(path)}
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as error:
        raise SystemExit(
            f"root may not become another user here ({error.strerror}); run as an ordinary user"
        ) from error
    for path, descriptor in folders.items():
        if os.access(path, os.R_OK | os.X_OK):
            os.close(descriptor)
        else:
            _reach(path, f"/proc/self/fd/{descriptor}")
    if not os.access(os.getcwd(), os.R_OK | os.W_OK | os.X_OK):
        raise SystemExit(f"{os.getcwd()} cannot be entered by other users; set TMPDIR to a folder that can")


def _reach(path: str, through: str) -> None:
    sys.path[:] = [through if entry == path else entry for entry in sys.path]
    sys.path_importer_cache.clear()
    for module in list(sys.modules.values()):
        if isinstance(package := getattr(module, "__path__", None), list):
            package[:] = [
                through + entry[len(path) :] if entry.startswith(path + "/") else entry for entry in package
            ]


def _install(system_calls: bytes) -> None:
    """Switch the filter on; nothing has started a thread yet, so it holds for all there will be."""
    instructions = ctypes.create_string_buffer(system_calls, len(system_calls))
    program = struct.pack("@HP", len(system_calls) // 8, ctypes.addressof(instructions))
    _check(
        _libc.prctl(
            _PR_SET_SECCOMP,
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            program,
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        ),
        "a seccomp filter",
    )


def _prove() -> None:
    """Try what must fail; a kernel that only pretends to confine ends the process here."""
    for name, attempt in (
        ("open a socket", lambda: _socket.socket(_socket.AF_UNIX)),
        ("read /etc/passwd", lambda: os.open("/etc/passwd", os.O_RDONLY)),
        ("start a process", os.fork),
    ):
        try:
            attempt()
        except OSError:
            continue
        os.write(2, f"the confined worker could still {name}; nothing was run\n".encode())
        os._exit(1)
