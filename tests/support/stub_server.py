"""A local HTTP server that answers what a test wrote down."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """What a stub answers at each path, and what it heard; `heads` are methods and header fields."""

    answers: dict[str, Any]
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def body(self, path: str) -> dict[str, Any]:
        return next(body for heard, body in self.requests if heard == path)


@contextmanager
def serve(answers: dict[str, Any]) -> Iterator[Server]:
    server = Server(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: dict[str, Any]) -> None:
            server.requests.append((self.path, body))
            server.authorization.append(self.headers["Authorization"])
            server.heads.append((self.command, {name.lower(): v for name, v in self.headers.items()}))
            answer = server.answers.get(self.path, (404, {"error": {"message": "not found"}}))
            answer = answer(body) if callable(answer) else answer
            if isinstance(answer, tuple):
                self.whole(*answer)
            else:
                self.stream(answer)

        def whole(self, status: int, content: Any) -> None:
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, events: Iterator[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            try:
                for event in events:
                    self.wfile.write(event.encode())
                    self.wfile.flush()
            except OSError:
                server.gone.set()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def sse(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"
