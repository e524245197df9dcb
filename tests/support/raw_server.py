"""A server that sends whatever bytes a test wrote down, however long it takes."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Answer = bytes | Callable[[], Iterator[bytes]]

CERTIFICATE = Path(__file__).parent / "pinned_test.pem"  # for pinned.test, signed by itself


@dataclass
class RawServer:
    """What is sent for each path, and what was heard: heads of requests, and names asked for by TLS."""

    answers: dict[str, Answer]
    port: int = 0
    heads: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self, number: int = -1) -> dict[str, str]:
        """The header fields of a request, with their names in lower case."""
        fields = (line.partition(":") for line in self.heads[number].splitlines()[1:] if line)
        return {name.lower(): value.strip() for name, _, value in fields}


def answer(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer; `content_type="..."` becomes a header field."""
    fields = {"Content-Length": str(len(body)), "Connection": "close"}
    fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def redirect(place: str) -> bytes:
    return answer(status="302 Found", location=place)


@contextmanager
def serve_raw(answers: dict[str, Answer], *, tls: bool = False) -> Iterator[RawServer]:
    server = RawServer(answers)
    context = _context(server) if tls else None

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += connection.recv(1) or b"\r\n\r\n"
                server.heads.append(head.decode())
                path = server.heads[-1].split(" ")[1]
                found = server.answers.get(path, answer(status="404 Not Found"))
                try:
                    for part in [found] if isinstance(found, bytes) else found():
                        connection.sendall(part)
                except OSError:
                    server.gone.set()

    def listen() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _context(server: RawServer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda _socket, name, _context: server.names.append(name)
    return context
