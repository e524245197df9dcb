"""A real server of llama.cpp, which the wheel of xllamacpp carries, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import sys
import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.api_keys = sys.argv[1], [sys.argv[2]]
parameters.n_parallel, parameters.n_ctx = int(sys.argv[3]), int(sys.argv[3]) * int(sys.argv[4])
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.port = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_server(model: Path, *, key: str, slots: int, context: int) -> Iterator[str]:
    """The URL of a server of a GGUF file; each of its slots has `context` tokens."""
    command = [sys.executable, "-c", _PROGRAM, str(model), key, str(slots), str(context)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            assert url.startswith("http://"), "the server of llama.cpp did not start"
            yield url
        finally:
            server.kill()
