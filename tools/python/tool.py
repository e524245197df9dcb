"""The python tool: code as plain text in, what a notebook would show out."""

import asyncio
import logging
import os
from collections.abc import Sequence
from copy import copy
from functools import cache
from pathlib import Path

from harmony import ToolNamespaceConfig
from harmony.errors import SandboxUnavailableError, ToolError
from harmony.tools.python import transfer
from harmony.tools.python.backends import BACKENDS, BackendName, Limits
from harmony.tools.python.packages import installed
from harmony.tools.python.process import start_worker
from harmony.tools.python.session import Session
from harmony.tools.python.workspace import Workspace

NO_OUTPUT = "The code ran and printed nothing. Use print() to see a value."

_log = logging.getLogger("harmony.tools")

_CONFINING: Sequence[BackendName] = ("bubblewrap", "landlock")


class Python:
    """The `python` tool that gpt-oss was trained with: a stateful session in a sandbox.

    The sandbox starts with the first call: bubblewrap where it works, Landlock and a system call filter
    else, SandboxUnavailableError where neither holds. `backend` forces one of them, `"docker"`, `"gvisor"`,
    or `"unconfined"`, which gives model code every right of this process. `timeout` is in seconds, for each
    call.

    `files` are copied to where cells start (/mnt/data, but with Landlock alone), and what lies there when the
    session closes is copied to the folder `keep`. With `packages`, cells may import what is installed
    beside this package (numpy, matplotlib), without it the standard library alone. `plt.show()` saves a
    PNG beside the other files and prints its name.

        python = Python(files=["sales.csv"], keep="results")
        await python.call(None, "x = len(open('sales.csv').read())")
        await python.call(None, "x")            # "2731"
        await python.aclose()

    Raises ToolError for an unknown back end and for files that are none.
    """

    def __init__(
        self,
        backend: BackendName | None = None,
        *,
        files: Sequence[str | os.PathLike[str]] = (),
        keep: str | os.PathLike[str] | None = None,
        packages: bool = False,
        timeout: float = 120.0,
        limits: Limits | None = None,
    ) -> None:
        if backend is not None and backend not in BACKENDS:
            raise ToolError(f"unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
        self._backends = _CONFINING if backend is None else (backend,)
        self._timeout = timeout
        self._limits = limits or Limits()
        self._files = transfer.checked(files, self._limits.disk)
        self._keep = None if keep is None else Path(keep)
        self._packages = installed() if packages else ()
        self._workspace: Workspace | None = None
        self._session: Session | None = None
        self._turn = asyncio.Lock()

    @property
    def namespace(self) -> ToolNamespaceConfig:
        """The description the model was trained on."""
        return ToolNamespaceConfig.python()

    @property
    def backend(self) -> BackendName | None:
        """The back end in use; None before the first call, unless one was forced."""
        return self._backends[0] if len(self._backends) == 1 else None

    async def call(self, function: str | None, arguments: str) -> str:
        """Run `arguments`, which is code; variables and files stay for the next call."""
        if function is not None:
            raise ToolError(f"There is no python.{function}. Send the code as plain text to python.")
        async with self._turn:
            if self._session is None or not self._session.alive:
                self._session = await self._start()
            printed = await self._session.run(arguments, self._timeout)
            return printed.removesuffix("\n") or NO_OUTPUT

    def copy(self) -> "Python":
        """The same tool with a session of its own, which has not begun."""
        other = copy(self)
        other._workspace = other._session = None
        other._turn = asyncio.Lock()
        return other

    @property
    def size(self) -> int:
        """0: what it displays is not needed again."""
        return 0

    def list_files(self) -> list[str]:
        """The names of the session's regular files, sorted; in folders, with their path."""
        return [] if self._workspace is None else transfer.names(self._workspace.data, self._limits.files)

    def read_file(self, name: str) -> bytes:
        """A regular file of the session, of at most `Limits.file_size` bytes; ToolError for any other."""
        if self._workspace is None:
            raise ToolError(f"{name!r} does not exist: the session has not begun")
        return transfer.read(self._workspace.data, name, self._limits.file_size)

    async def aclose(self) -> None:
        """Kill the session and remove its files; a later call starts anew."""
        async with self._turn:
            await asyncio.to_thread(self._discard)

    def _discard(self) -> None:
        if self._session is not None:
            self._session.close()
        if self._workspace is not None:
            if self._keep is not None:
                transfer.save(self._workspace.data, self._keep, self._limits.file_size, self._limits.files)
            self._workspace.remove()
        self._session = self._workspace = None

    async def _start(self) -> Session:
        """A session in the first back end that holds, which is then the only one tried."""
        if self._workspace is None:
            self._workspace = Workspace.create(self._files)
        reasons = []
        for name in self._backends:
            try:
                launch = await asyncio.to_thread(
                    BACKENDS[name], self._workspace, self._limits, self._packages
                )
                worker = await start_worker(launch)
            except SandboxUnavailableError as error:
                reasons.append(f"{name} does not work here: {error}")
                continue
            self._backends = (name,)
            if reasons:
                _tell(f"python is confined by {name} alone, since {'; '.join(reasons)}")
            return Session(worker, self._workspace, self._limits)
        if len(self._backends) == 1:
            raise SandboxUnavailableError(f"the sandbox {reasons[0]}")
        raise SandboxUnavailableError(
            f"no sandbox for Python code here ({'; '.join(reasons)}); install bubblewrap "
            "(`apt install bubblewrap`) or use a Linux kernel with Landlock (5.13 or later)"
        )


@cache
def _tell(what: str) -> None:
    """Warn of something once, however many sessions there are."""
    _log.warning(what)
