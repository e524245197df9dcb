"""The system calls that confined code may make, assembled into a seccomp program.

An allow-list: what is named in no table below does not exist for the worker (ENOSYS, so that the C library
falls back as on an older kernel). Covered: x86_64 and aarch64; another architecture's calls (32-bit code,
x32) never match, the first kills. Not covered: what a path means; that is left to Landlock and to mounts.
The tables list `name:number`, or `name:x86_64/aarch64` where they differ and `-` where one has no such call.
"""

import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harmony.errors import SandboxUnavailableError

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand: struct sock_filter

ALLOWED = """
read:0/63 write:1/64 close:3/57 futex:202/98 mmap:9/222 munmap:11/215 mprotect:10/226 mremap:25/216
madvise:28/233 brk:12/214 msync:26/227 mincore:27/232 membarrier:324/283 rseq:334/293
readv:19/65 writev:20/66 pread64:17/67 pwrite64:18/68 preadv:295/69 pwritev:296/70 preadv2:327/286
pwritev2:328/287 lseek:8/62 sendfile:40/71 copy_file_range:326/285 fsync:74/82 fdatasync:75/83
fallocate:285/47 ftruncate:77/46 fadvise64:221/223 flock:73/32 creat:85/-
stat:4/- fstat:5/80 lstat:6/- newfstatat:262/79 statx:332/291 access:21/- faccessat:269/48 faccessat2:439
readlink:89/- readlinkat:267/78 statfs:137/43 fstatfs:138/44 getdents:78/- getdents64:217/61 getcwd:79/17
chdir:80/49 fchdir:81/50 umask:95/166 mkdir:83/- mkdirat:258/34 rmdir:84/- unlink:87/- unlinkat:263/35
rename:82/- renameat:264/38 renameat2:316/276 link:86/- linkat:265/37 symlink:88/- symlinkat:266/36
dup:32/23 dup2:33/- dup3:292/24 pipe:22/- pipe2:293/59 close_range:436 poll:7/- ppoll:271/73 select:23/-
pselect6:270/72 epoll_create:213/- epoll_create1:291/20 epoll_ctl:233/21 epoll_wait:232/-
epoll_pwait:281/22 epoll_pwait2:441 eventfd2:290/19 timerfd_create:283/85 timerfd_settime:286/86
timerfd_gettime:287/87 recvfrom:45/207 shutdown:48/210 getsockname:51/204 getpeername:52/205
getsockopt:55/209 rt_sigaction:13/134 rt_sigprocmask:14/135 rt_sigreturn:15/139 rt_sigpending:127/136
rt_sigsuspend:130/133 rt_sigtimedwait:128/137 sigaltstack:131/132 restart_syscall:219/128 pause:34/-
clock_gettime:228/113 clock_getres:229/114 clock_nanosleep:230/115 nanosleep:35/101 gettimeofday:96/169
time:201/- times:100/153 alarm:37/- getitimer:36/102 setitimer:38/103 timer_create:222/107
timer_settime:223/110 timer_gettime:224/108 timer_getoverrun:225/109 timer_delete:226/111
getpid:39/172 gettid:186/178 getppid:110/173 getuid:102/174 geteuid:107/175 getgid:104/176 getegid:108/177
getgroups:115/158 getresuid:118/148 getresgid:120/150 getpgrp:111/- getpgid:121/155 getsid:124/156
getrlimit:97/163 getrusage:98/165 sysinfo:99/179 uname:63/160 getcpu:309/168 getrandom:318/278
sched_yield:24/124 sched_getaffinity:204/123 sched_getparam:143/121 sched_getscheduler:145/120
sched_get_priority_max:146/125 sched_get_priority_min:147/126 set_tid_address:218/96
set_robust_list:273/99 arch_prctl:158/- wait4:61/260 waitid:247/95 exit:60/93 exit_group:231/94
"""

# Allowed when the arguments pass the check of the same name in `_checks`.
CHECKED = """
open:2/- openat:257/56 clone:56/220 kill:62/129 tgkill:234/131 rt_sigqueueinfo:129/138
rt_tgsigqueueinfo:297/240 fcntl:72/25 ioctl:16/29 prctl:157/167 prlimit64:302/261 socketpair:53/199
sendto:44/206
"""

# Answered "done" and not done. Landlock does not watch over modes, owners and times, so an ordinary user's
# worker could change those of any file of that user; but shutil.copy and tarfile break on a refusal.
IGNORED = """
chmod:90/- fchmod:91/52 fchmodat:268/53 fchmodat2:452 chown:92/- fchown:93/55 lchown:94/- fchownat:260/54
utime:132/- utimes:235/- futimesat:261/- utimensat:280/88
"""

# Answered "not on this file system", which callers expect; Landlock does not watch over these either.
UNSUPPORTED = """
getxattr:191/8 lgetxattr:192/9 fgetxattr:193/10 listxattr:194/11 llistxattr:195/12 flistxattr:196/13
setxattr:188/5 lsetxattr:189/6 fsetxattr:190/7 removexattr:197/14 lremovexattr:198/15 fremovexattr:199/16
"""

# Refused like everything unlisted, but with EPERM: "Operation not permitted" is what a reader understands.
# truncate by path is here because Landlock sees it only since Linux 6.2.
REFUSED = """
fork:57/- vfork:58/- execve:59/221 execveat:322/281 socket:41/198 connect:42/203 bind:49/200 listen:50/201
accept:43/202 accept4:288/242 sendmsg:46/211 sendmmsg:307/269 recvmsg:47/212 setsockopt:54/208
ptrace:101/117 tkill:200/130 process_vm_readv:310/270 process_vm_writev:311/271 pidfd_open:434
pidfd_getfd:438 pidfd_send_signal:424 mount:165/40 umount2:166/39 pivot_root:155/41 chroot:161/51
unshare:272/97 setns:308/268 mknod:133/- mknodat:259/33 truncate:76/45 setuid:105/146 setgid:106/144
setreuid:113/145 setregid:114/143 setresuid:117/147 setresgid:119/149 setgroups:116/159 setsid:112/157
setpgid:109/154 setpriority:141/140 sched_setaffinity:203/122 sched_setscheduler:144/119
setrlimit:160/164 memfd_create:319/279 shmget:29/194 shmat:30/196 mq_open:240/180 io_uring_setup:425
bpf:321/280 keyctl:250/219 add_key:248/217 userfaultfd:323/282 perf_event_open:298/241
name_to_handle_at:303/264 open_by_handle_at:304/265 seccomp:317/277 inotify_init:253/-
inotify_init1:294/26 inotify_add_watch:254/27
"""

_LOAD, _AND, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets into struct seccomp_data

ALLOW = 0x7FFF0000
KILL = 0x80000000
DONE, EPERM, ENOSYS, ENOTSUP = 0x00050000, 0x00050001, 0x00050026, 0x0005005F  # SECCOMP_RET_ERRNO | errno

_O_TRUNC, _O_ACCMODE = 0x200, 0x3
_CLONE_THREAD, _CLONE_NAMESPACES = 0x10000, 0x7E020080
_F_DUPFD_TO_SETLKW, _F_DUPFD_CLOEXEC, _F_OFD_LOCKS = range(8), 1030, range(36, 39)
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41


@dataclass(frozen=True)
class Machine:
    """An architecture: its AUDIT_ARCH value, and its column in the tables."""

    architecture: int
    column: int


MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}


def this_machine() -> Machine:
    """The machine that runs this process; SandboxUnavailableError where no table fits it."""
    name = platform.machine()
    if name not in MACHINES or struct.calcsize("P") != 8:
        raise SandboxUnavailableError(
            f"no system call filter for {name}; use 64-bit Python on x86_64 or aarch64"
        )
    return MACHINES[name]


def program(machine: Machine, pid: int) -> bytes:
    """The filter as an array of struct sock_filter, for a process that knows itself as `pid`."""
    checks = _checks(pid)
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, machine.architecture),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for table, answer in ((ALLOWED, ALLOW), (IGNORED, DONE), (UNSUPPORTED, ENOTSUP), (REFUSED, EPERM)):
        for _, number in numbers(table, machine):
            instructions += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]
    for name, number in numbers(CHECKED, machine):
        instructions += [(_IF_EQUAL, 0, len(checks[name]), number), *checks[name]]
    instructions.append((_RETURN, 0, 0, ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def numbers(table: str, machine: Machine) -> Iterator[tuple[str, int]]:
    """The names and numbers of a table that exist on `machine`."""
    for entry in table.split():
        name, _, columns = entry.partition(":")
        both = columns.split("/")
        number = both[machine.column] if len(both) == 2 else columns
        if number != "-":
            yield name, int(number)


def _checks(pid: int) -> dict[str, list[Instruction]]:
    """What the arguments of each call in CHECKED must be; every list ends in a verdict on all its ways."""
    to_itself = _allow_if(0, [pid])
    descriptor_commands = [*_F_DUPFD_TO_SETLKW, _F_DUPFD_CLOEXEC, *_F_OFD_LOCKS]
    return {
        "open": _open_check(flags=1),
        "openat": _open_check(flags=2),
        # A thread, in no new namespace; a process would have a memory limit of its own.
        "clone": [
            _argument(0),
            (_IF_ANY_BIT, 1, 0, _CLONE_THREAD),
            (_RETURN, 0, 0, EPERM),
            (_IF_ANY_BIT, 0, 1, _CLONE_NAMESPACES),
            (_RETURN, 0, 0, EPERM),
            (_RETURN, 0, 0, ALLOW),
        ],
        "kill": to_itself,
        "tgkill": to_itself,
        "rt_sigqueueinfo": to_itself,
        "rt_tgsigqueueinfo": to_itself,
        # Not F_SETOWN and F_SETSIG: they send signals to others. Not F_SETPIPE_SZ: memory beyond the limit.
        "fcntl": _allow_if(1, descriptor_commands),
        # Not TIOCSTI or TIOCLINUX, which type into a terminal, nor any device's own.
        "ioctl": _allow_if(1, [_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX]),
        "prctl": _allow_if(0, [_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA]),
        "prlimit64": _allow_if(0, [0]),
        # A datagram pair could connect() or send to any socket's path; a stream pair is connected for good.
        "socketpair": [
            _argument(0),
            (_IF_EQUAL, 1, 0, 1),
            (_RETURN, 0, 0, EPERM),
            *_allow_if(1, [1], mask=0xF),
        ],
        "sendto": [_argument(4, high=True), (_IF_EQUAL, 1, 0, 0), (_RETURN, 0, 0, EPERM), *_allow_if(4, [0])],
    }


def _open_check(flags: int) -> list[Instruction]:
    """Anything but emptying a file not opened for writing, which Landlock sees only since Linux 6.2."""
    return [
        _argument(flags),
        (_AND, 0, 0, _O_TRUNC | _O_ACCMODE),
        (_IF_EQUAL, 1, 0, _O_TRUNC),
        (_IF_EQUAL, 0, 1, _O_TRUNC | _O_ACCMODE),
        (_RETURN, 0, 0, EPERM),
        (_RETURN, 0, 0, ALLOW),
    ]


def _allow_if(index: int, values: list[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    accepted = [step for value in values for step in ((_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, ALLOW))]
    return [_argument(index), (_AND, 0, 0, mask), *accepted, (_RETURN, 0, 0, EPERM)]


def _argument(index: int, *, high: bool = False) -> Instruction:
    """Load 32 bits of an argument; the kernel itself reads only the low ones of every call checked so."""
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * high)
