"""The python tool: a lasting session, as in a notebook, that cannot reach the machine it runs on.

Covered, by each back end that confines, and attacked by tests/tools/test_attacks.py:

- files: nothing opens but the standard library, packages if they were asked for, and the session's own;
- network: there are no sockets, of any family;
- processes: no second one, no program, no signal, no tracing, no terminal; the worker ends with its host;
- kernel: what the system call filter does not list does not exist; no mounts, namespaces, keys, devices;
- memory, size of a file, descriptors, threads by the kernel; disk and number of files by a watch; output by
  what is kept of it; time by an interrupt, then a kill;
- the conversation: what a cell prints is text, bounded and without control characters, and its replies are
  a number; nothing of it is evaluated or unpickled.

Not covered:

- flaws of the kernel in what the filter allows; gvisor puts a second kernel between;
- processor time within the limit of a cell, and timing or cache channels to other processes;
- with landlock alone: names, sizes and times of files whose path is known (see `backends`);
- what `files` and `packages` hand to the session, and what is done with what it leaves behind;
- Linux alone, on x86_64 and aarch64.
"""

from harmony.tools.python.backends import BACKENDS, BackendName, Limits
from harmony.tools.python.tool import Python

__all__ = ["BACKENDS", "BackendName", "Limits", "Python"]
