"""What the server adds to an engine: to the first token, and to the work of many streams.

    python tests/bench/server.py [--streams 32]

CPU time is that of the server's process, read before and after from a client on bare sockets in another
process. The first token comes from a stub that waits after it, so that the server has done what it had to do
for it and nothing else; beside it stands what any server on Starlette takes to read JSON and send one event.
For throughput the bundled model answers all streams at once, by itself in the server's process and behind the
server, in alternate order, with the same prompt, the same tokens and the same grammar. How much more CPU time
the same tokens take is how much throughput is lost where the processor is the limit; wall time tells what was
lost here. The model is tiny, so that for any other the share is less. Rounds scatter by more than the server
takes: a figure is the median over many, of differences within each where it is one, and in brackets stand the
quarters between which half of the rounds lie. On two quiet cores it takes about a minute and a half.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from served import listening
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from harmony import SystemContent, Transcript, TurnGrammar, from_responses, load_encoding
from harmony.agent.enforcement import constrain, generate
from harmony.runtime import load_engine
from harmony.runtime.generation import GeneratedToken, SamplingParams, TokenEngine
from harmony.server import Limits, create_app

ENCODING = load_encoding()
FIRST = ENCODING.encode("<|channel|>final<|message|> word", allowed_special="all")
STOP = ENCODING.stop_tokens_for_assistant_actions()
QUESTION = "Tell me a story"
DELTA = b"response.output_text.delta"
END = b"\r\n0\r\n\r\n"


class Pausing:
    """Says one word, waits, and says another."""

    name = "pausing"
    context_length = 100_000
    default_sampling = SamplingParams()

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        for token in FIRST:
            await asyncio.sleep(0)
            yield GeneratedToken(token)
        await asyncio.sleep(0.02)
        yield GeneratedToken(FIRST[-1], "length")

    async def aclose(self) -> None:
        pass


async def bare(request: Request) -> StreamingResponse:
    """What any server of this kind must do: read JSON, and send an event."""
    await request.json()

    async def events() -> AsyncGenerator[bytes]:
        yield b"event: response.output_text.delta\ndata: {}\n\n"
        await asyncio.sleep(0.02)
        yield b"event: end\ndata: {}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def answered(engine: TokenEngine) -> int:
    """The number of tokens in the engine's own answer, with the prompt and the grammar of the server."""
    system = SystemContent.new().with_conversation_start_date(date.today().isoformat())
    transcript = Transcript(ENCODING)
    transcript.append(*from_responses({"input": QUESTION}, system=system).messages)
    sampling, kept = SamplingParams(temperature=0), constrain(engine, TurnGrammar.of).ready()
    generated = generate(engine, transcript.prompt, sampling, stop=STOP, constraint=kept)
    return len([token async for token in generated])


def serve(pipe: Connection) -> None:
    """Serve the stub and the model, and tell the CPU time that this process has taken whenever asked."""
    model = load_engine("tiny", device="cpu")

    async def alone(request: Request) -> JSONResponse:
        asked = await request.json()
        every = [answered(model) for _ in range(asked["streams"])]
        return JSONResponse({"tokens": sum(await asyncio.gather(*every))})

    apps = [create_app(engine, limits=Limits(requests=1000)) for engine in (Pausing(), model)]
    apps[0].router.routes.append(Route("/bare", bare, methods=["POST"]))
    apps[1].router.routes.append(Route("/alone", alone, methods=["POST"]))
    with listening(apps[0]) as stub, listening(apps[1]) as served:
        pipe.send([int(url.rpartition(":")[2]) for url in (stub, served)])
        while pipe.recv():
            pipe.send(time.process_time())


class Server:
    """The server's process, the ports of stub and model, and the time it has taken."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs,))
        self._process.start()
        self.stub, self.model = self._pipe.recv()

    def seconds(self) -> float:
        self._pipe.send(True)
        return float(self._pipe.recv())

    def close(self) -> None:
        self._pipe.send(False)
        self._process.join()


class Client:
    """A connection that is kept, as clients keep theirs."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    def send(self, path: str, **body: object) -> None:
        data = json.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
        self._writer.write(f"{head}\r\nContent-Length: {len(data)}\r\n\r\n{data}".encode())

    async def read(self, end: bytes) -> bytes:
        return await self._reader.readuntil(end)


async def first_token(server: Server, client: Client, path: str) -> float:
    """Seconds that the server's process takes until the first token has left it."""
    before = server.seconds()
    client.send(path, model="pausing", input="Hi", stream=True)
    await client.read(DELTA)
    taken = server.seconds() - before
    await client.read(END)
    return taken


async def first_tokens(server: Server, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, without what the asking takes."""
    bare, ours = list[float](), list[float]()
    async with Client(server.stub) as client:
        for number in range(rounds + 5):
            before = server.seconds()
            asking = server.seconds() - before
            each = [await first_token(server, client, path) for path in ("/bare", "/v1/responses")]
            if number >= 5:  # the first ones load what the others find
                for taken, seconds in zip((bare, ours), each, strict=True):
                    taken.append(1000 * (seconds - asking))
    return {
        "first token: an event of bare Starlette, ms": bare,
        "first token: a token of the server, ms": ours,
    }


async def streamed(server: Server) -> int:
    """The number of tokens of a streamed answer."""
    async with Client(server.model) as client:
        client.send("/v1/responses", model="tiny", input=QUESTION, stream=True, temperature=0)
        last = (await client.read(END)).rpartition(b"\ndata: ")[2].partition(b"\n")[0]
        return int(json.loads(last)["response"]["usage"]["output_tokens"])


async def alone(server: Server, streams: int) -> int:
    """The number of tokens of the same answers in the server's process, which no client reads."""
    async with Client(server.model) as client:
        client.send("/alone", streams=streams)
        answer = await client.read(b"}")
        return int(json.loads(answer.rpartition(b"\r\n")[2])["tokens"])


@dataclass(frozen=True)
class Cost:
    """Milliseconds that each of these tokens took."""

    tokens: int
    cpu: float
    wall: float


async def cost(server: Server, *answers: Coroutine[Any, Any, int]) -> Cost:
    """That of answers which come at once."""
    cpu, wall = server.seconds(), time.perf_counter()
    tokens = sum(await asyncio.gather(*answers))
    wall, cpu = time.perf_counter() - wall, server.seconds() - cpu
    return Cost(tokens, 1000 * cpu / tokens, 1000 * wall / tokens)


async def both(server: Server, streams: int, *, served_first: bool) -> tuple[Cost, Cost]:
    """The engine by itself, and behind the server."""
    by_itself, behind = [alone(server, streams)], [streamed(server) for _ in range(streams)]
    if served_first:
        served, engine = await cost(server, *behind), await cost(server, *by_itself)
    else:
        engine, served = await cost(server, *by_itself), await cost(server, *behind)
    assert engine.tokens == served.tokens
    return engine, served


async def measure(streams: int, rounds: int) -> dict[str, list[float]]:
    server = Server()
    figures = await first_tokens(server, 20 * rounds)
    await both(server, min(streams, 2), served_first=False)
    every = []
    for number in range(1, rounds + 1):
        every.append(await both(server, streams, served_first=number % 2 == 0))
        told = "alone {0.cpu:.3f} ({0.wall:.3f} of wall time), behind the server {1.cpu:.3f} ({1.wall:.3f})"
        told = f"round {number} of {rounds}, ms a token: {told.format(*every[-1])}"
        print(told, file=sys.stderr, flush=True)
    server.close()
    about = f"{streams} streams:"
    return figures | {
        f"{about} a token of the engine alone, ms": [engine.cpu for engine, _ in every],
        f"{about} behind the server, ms": [served.cpu for _, served in every],
        f"{about} throughput lost by CPU time, %": [100 * (1 - e.cpu / s.cpu) for e, s in every],
        f"{about} throughput lost by wall time, %": [100 * (1 - e.wall / s.wall) for e, s in every],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    for name, values in asyncio.run(measure(options.streams, options.rounds)).items():
        low, middle, high = quantiles(values, n=4, method="inclusive")
        print(f"{name:52} {middle:8.3f}  [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
