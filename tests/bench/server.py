"""What the server adds to an engine: to the first token, and to throughput at many streams.

    python tests/bench/server.py [--streams 32] [--rate 50]

The engine is scripted: it emits tokens at a steady rate, or as fast as it is read, so that all other
time is the server's. It is run by itself, and behind the server in another process, with a client on
bare sockets. On a busy machine the quickest of the requests tell more than their median.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from served import listening
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from harmony import load_encoding
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.server import Limits, create_app

HEADER = load_encoding().encode("<|channel|>final<|message|>", allowed_special="all")
WORD, RETURN = load_encoding().encode(" word")[0], 200002
STOP = (RETURN,)


class Steady:
    """Emits `max_tokens` tokens, `rate` a second (0: at once), whatever the prompt."""

    name = "steady"
    context_length = 100_000
    default_sampling = SamplingParams()

    def __init__(self, rate: float) -> None:
        self._rate = rate

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        count = sampling.max_tokens or 100
        start = time.perf_counter()
        for number in range(count):
            due = start + number / self._rate if self._rate else 0.0
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            token = HEADER[number] if number < len(HEADER) else WORD
            yield GeneratedToken(token, "length" if number + 1 == count else None)

    async def aclose(self) -> None:
        pass


async def bare(request: Request) -> StreamingResponse:
    """What any server of this kind must do: read JSON, and send an event."""
    await request.json()

    async def events() -> AsyncGenerator[bytes]:
        yield b"event: response.output_text.delta\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def serve(rate: float, pipe: Connection) -> None:
    app = create_app(Steady(rate), limits=Limits(requests=1000))
    app.router.routes.append(Route("/bare", bare, methods=["POST"]))
    with listening(app) as url:
        pipe.send(int(url.rpartition(":")[2]))
        pipe.recv()


async def ask(port: int, tokens: int, first: bytes = b"", path: str = "/v1/responses") -> float:
    """Seconds until `first` arrives, or until the response ends."""
    body = json.dumps({"model": "steady", "input": "Hi", "stream": True, "max_output_tokens": tokens})
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
    start = time.perf_counter()
    writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    if first:
        await reader.readuntil(first)
    seconds = time.perf_counter() - start
    await reader.readuntil(b"\r\n0\r\n\r\n")
    seconds = seconds if first else time.perf_counter() - start
    writer.close()
    return seconds


async def alone(engine: Steady, tokens: int, *, first: bool = False) -> float:
    """Seconds that the engine itself takes to its first word, or to its end."""
    start, seconds = time.perf_counter(), 0.0
    async for token in engine.generate([1], SamplingParams(max_tokens=tokens), stop=STOP):
        if token.token == WORD and not seconds:
            seconds = time.perf_counter() - start
    return seconds if first else time.perf_counter() - start


async def at_once(count: int, port: int | None, rate: float, tokens: int) -> float:
    """Tokens a second of `count` streams, behind the server or, without a port, by themselves."""
    start = time.perf_counter()
    if port is None:
        await asyncio.gather(*(alone(Steady(rate), tokens) for _ in range(count)))
    else:
        await asyncio.gather(*(ask(port, tokens) for _ in range(count)))
    return count * tokens / (time.perf_counter() - start)


def measure(streams: int, rate: float, tokens: int, rounds: int) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    ports, pipes, processes = [], [], []
    for speed in (0.0, rate):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(speed, theirs))
        process.start()
        ports.append(ours.recv())
        pipes.append(ours)
        processes.append(process)
    instant, steady = ports
    asyncio.run(ask(instant, 10))
    delta = b"output_text.delta"
    both = [
        (asyncio.run(ask(instant, 10, delta, "/bare")), asyncio.run(ask(instant, 10, delta)))
        for _ in range(60 * rounds)
    ]
    engine_first = [asyncio.run(alone(Steady(0), 10, first=True)) for _ in range(20 * rounds)]
    pairs = [
        (
            asyncio.run(at_once(streams, None, rate, tokens)),
            asyncio.run(at_once(streams, steady, rate, tokens)),
        )
        for _ in range(rounds)
    ]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    return {
        "first token, engine alone, ms": 1000 * median(engine_first),
        "first event, bare Starlette, ms": 1000 * median(bare for bare, _ in both),
        "first token, behind the server, ms": 1000 * median(ours for _, ours in both),
        "first token, added to bare Starlette, ms": 1000 * median(ours - bare for bare, ours in both),
        "first token, added, quickest of both, ms": 1000
        * (min(o for _, o in both) - min(b for b, _ in both)),
        "tokens/s, engine alone": median(engine for engine, _ in pairs),
        "tokens/s, behind the server": median(server for _, server in pairs),
        "throughput lost, %": 100 * (1 - median(server / engine for engine, server in pairs)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second of each stream")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    figures = measure(options.streams, options.rate, options.tokens, options.rounds)
    for name, value in figures.items():
        print(f"{name:44} {value:10.2f}")


if __name__ == "__main__":
    main()
