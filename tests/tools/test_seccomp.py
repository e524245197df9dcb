"""The filter, run by a small interpreter of its instructions, so that any machine tests every machine's."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.errors import SandboxUnavailableError
from harmony.tools.python import seccomp
from harmony.tools.python.seccomp import ALLOW, DONE, ENOSYS, ENOTSUP, EPERM, KILL, MACHINES

PID = 4242
TABLES = {
    seccomp.ALLOWED: ALLOW,
    seccomp.IGNORED: DONE,
    seccomp.UNSUPPORTED: ENOTSUP,
    seccomp.REFUSED: EPERM,
}
PROGRAMS = {name: seccomp.program(machine, PID) for name, machine in MACHINES.items()}
words = st.integers(0, 2**64 - 1)
machines = st.sampled_from(sorted(MACHINES))


def verdict(name: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the filter of a machine answers to a system call."""
    architecture = MACHINES[name].architecture if architecture is None else architecture
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("<HBBI", PROGRAMS[name]))
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += if_true if value == operand else if_false
        elif code == 0x45:
            at += if_true if value & operand else if_false
        else:
            assert code == 0x06
            return operand


def number_of(name: str, call: str) -> int:
    table = seccomp.ALLOWED + seccomp.CHECKED + seccomp.REFUSED
    return dict(seccomp.numbers(table, MACHINES[name]))[call]


@given(machines, st.integers(-(2**31), 2**31 - 1), st.lists(words, max_size=6), st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed(name: str, number: int, arguments: list[int], foreign: int) -> None:
    """A call of 32-bit code is never looked at."""
    if foreign != MACHINES[name].architecture:
        assert verdict(name, number, *arguments, architecture=foreign) == KILL


@given(machines, st.integers(-(2**31), 2**31 - 1) | st.integers(0, 500), st.lists(words, max_size=6))
def test_the_tables_decide(name: str, number: int, arguments: list[int]) -> None:
    """A call is answered as its table says whatever its arguments, and one in no table does not exist."""
    machine = MACHINES[name]
    if number in dict(map(reversed, seccomp.numbers(seccomp.CHECKED, machine))):
        return
    for table, answer in TABLES.items():
        if number in (listed for _, listed in seccomp.numbers(table, machine)):
            assert verdict(name, number, *arguments) == answer
            return
    assert verdict(name, number, *arguments) == ENOSYS


@given(machines, words)
def test_only_threads_are_cloned(name: str, flags: int) -> None:
    """clone makes threads of this process, in no new namespace, and nothing else."""
    thread, namespaces = flags & 0x10000, flags & 0x7E020000
    answer = verdict(name, number_of(name, "clone"), flags)
    assert answer == (ALLOW if thread and not namespaces and not flags & 0x80 else EPERM)


@given(machines, st.sampled_from(["kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"]), words)
def test_only_itself_is_signalled(name: str, call: str, pid: int) -> None:
    """A signal goes to the process itself, not to a group, to all, or to another."""
    assert verdict(name, number_of(name, call), PID) == ALLOW
    assert verdict(name, number_of(name, call), pid) == (ALLOW if pid & 0xFFFFFFFF == PID else EPERM)


@given(machines, words)
def test_only_plain_terminal_requests(name: str, request: int) -> None:
    """ioctl asks for size and state; it types nothing and configures no device."""
    allowed = {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}
    assert verdict(name, number_of(name, "ioctl"), 0, request) == (
        ALLOW if request & 0xFFFFFFFF in allowed else EPERM
    )
    assert verdict(name, number_of(name, "ioctl"), 0, 0x5412) == EPERM


@given(machines, words)
def test_emptying_needs_writing(name: str, flags: int) -> None:
    """O_TRUNC passes only with a mode that Landlock watches over."""
    empties_unseen = flags & 0x200 and flags & 3 in (0, 3)
    assert verdict(name, number_of(name, "openat"), 0, 0, flags) == (EPERM if empties_unseen else ALLOW)


@given(machines, words)
def test_nothing_is_sent_to_an_address(name: str, address: int) -> None:
    """sendto goes to the connected peer only."""
    assert verdict(name, number_of(name, "sendto"), 3, 0, 0, 0, address) == (EPERM if address else ALLOW)


@given(machines, st.integers(0, 50), words)
def test_pairs_are_streams(name: str, family: int, kind: int) -> None:
    """socketpair makes what can be connected to nothing else."""
    allowed = family == 1 and kind & 0xF == 1
    assert verdict(name, number_of(name, "socketpair"), family, kind) == (ALLOW if allowed else EPERM)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_no_call_is_in_two_tables(name: str) -> None:
    """Each system call is listed once."""
    every = "".join([*TABLES, seccomp.CHECKED])
    listed = list(seccomp.numbers(every, MACHINES[name]))
    assert len({call for call, _ in listed}) == len({number for _, number in listed}) == len(listed)


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_numbers_are_those_of_the_kernel(name: str) -> None:
    """The numbers agree with the kernel's own headers, where they are installed."""
    header = next((path for path in map(Path, HEADERS[name]) if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers here")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text()))
    known |= {"newfstatat": known["fstatat"]} if "fstatat" in known else {}
    for call, number in seccomp.numbers("".join([*TABLES, seccomp.CHECKED]), MACHINES[name]):
        if call in known:
            assert (call, number) == (call, int(known[call]))
    assert len(known) > 200


def test_an_unknown_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no table fits, the error names the machine and what would do."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SandboxUnavailableError, match=r"riscv64; use 64-bit Python on x86_64 or aarch64"):
        seccomp.this_machine()
