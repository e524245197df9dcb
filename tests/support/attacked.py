"""A host process with something to lose, which runs cells on request: as root, or as an ordinary user.

It holds a secret in its environment, in ~/.ssh, and in an open descriptor; it listens on TCP, UDP and unix
sockets, and says what it heard. `Host` talks to it in lines of JSON; this file is also its program.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SECRET = "s3cret-of-the-host"
NOBODY = 65534


class Host:
    """The host process; `pid`, `home`, `tcp`, `udp` and `unix` are what an attack may aim at."""

    def __init__(self, backend: str, interpreter: str, *, ordinary: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="harmony-attacked-", dir="/tmp")
        self.home = Path(self._folder.name)
        os.chmod(self.home, 0o777)
        (self.home / ".ssh").mkdir()
        (self.home / ".ssh" / "id_rsa").write_text(SECRET)
        self._process = subprocess.Popen(
            [sys.executable, __file__, backend, interpreter, str(int(ordinary))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HARMONY_SECRET": SECRET, "HOME": str(self.home)},
        )
        self.pid = self._process.pid
        self.tcp, self.udp, self.unix = self._answer()

    def cells(self, *cells: str, read: Sequence[str] = (), **options: Any) -> list[str]:
        """What each cell of one session prints, then each file of `read`; no secret is among it."""
        assert self._process.stdin is not None
        request = {"cells": cells, "read": read, "options": options}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer["heard"] == 0
        assert not any(SECRET in text for text in answer["texts"])
        texts: list[str] = answer["texts"]
        return texts

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the host ended with {self._process.wait()}"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


def _serve(backend: str, interpreter: str, ordinary: bool) -> None:
    from harmony.tools import Python
    from harmony.tools.python import Limits

    if ordinary:
        # Once as root, to load what lies where only root may go.
        asyncio.run(_session(Python("unconfined"), {"cells": ["1"], "read": []}))
        sys._base_executable = interpreter  # type: ignore[attr-defined]
        sys.base_prefix = str(Path(interpreter).parent.parent)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.chdir("/")
    with open(Path(os.environ["HOME"]) / ".ssh" / "id_rsa") as secret:
        os.set_inheritable(secret.fileno(), True)
        listeners = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)]
        path = os.environ["HOME"] + "/listening"
        for listener, address in zip(listeners, [("127.0.0.1", 0), ("127.0.0.1", 0), path], strict=True):
            listener.bind(address)
            listener.setblocking(False)
        os.chmod(path, 0o777)
        listeners[0].listen()
        listeners[2].listen()
        _say([listeners[0].getsockname()[1], listeners[1].getsockname()[1], path])
        for line in sys.stdin:
            request = json.loads(line)
            options = request["options"]
            limits = Limits(**{"memory": 256 << 20, **options.pop("limits", {})})
            texts = asyncio.run(_session(Python(backend, limits=limits, **options), request))  # type: ignore[arg-type]
            _say({"texts": texts, "heard": sum(map(_heard, listeners))})


async def _session(python: Any, request: dict[str, Any]) -> list[str]:
    from harmony.errors import ToolError

    try:
        texts = [await python.call(None, cell) for cell in request["cells"]]
        for name in request["read"]:
            try:
                texts.append(python.read_file(name).decode())
            except ToolError as error:
                texts.append(f"ToolError: {error}")
        return texts
    finally:
        await python.aclose()


def _heard(listener: socket.socket) -> bool:
    with suppress(BlockingIOError):
        if listener.type == socket.SOCK_DGRAM:
            return bool(listener.recv(1))
        listener.accept()[0].close()
        return True
    return False


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], ordinary=sys.argv[3] == "1")
