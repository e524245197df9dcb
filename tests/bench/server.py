"""What the server adds to an engine: to the first token, and to the work of many streams.

    python tests/bench/server.py [--streams 32]

All is CPU time of the server's process, which other processes do not disturb much, read before and after
from a client on bare sockets in another process. The first token comes from a stub that waits after it, so
that the server has done what it had to do for it and nothing else; beside it stands what any server on
Starlette takes to read JSON and send one event. For throughput the bundled model answers all streams at
once, in turn by itself in the server's process and behind the server, with the same prompt, the same tokens
and, the third time, the same grammar: how much more CPU time the same tokens take is how much throughput is
lost where the processor is the limit. The model is tiny, so that for any other the share is less. Many
short rounds are taken, and the median of their shares; each is told on the way. On two quiet cores it takes
about a minute.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

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
QUESTION = "Hello"
TIMES = 2
"""Answers of each stream, so that batches are about as full behind the server as without it."""
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


async def answered(engine: TokenEngine, times: int, *, constrained: bool) -> int:
    """The number of tokens in the engine's own answers to the question, in the prompt of the server."""
    system = SystemContent.new().with_conversation_start_date(date.today().isoformat())
    transcript = Transcript(ENCODING)
    transcript.append(*from_responses({"input": QUESTION}, system=system).messages)
    sampling, count = SamplingParams(temperature=0), 0
    for _ in range(times):
        kept = constrain(engine, TurnGrammar.of).ready() if constrained else None
        async for _ in generate(engine, transcript.prompt, sampling, stop=STOP, constraint=kept):
            count += 1
    return count


def serve(pipe: Connection) -> None:
    """Serve the stub and the model, and tell the CPU time that this process has taken whenever asked."""
    model = load_engine("tiny", device="cpu")

    async def alone(request: Request) -> JSONResponse:
        asked = await request.json()
        one = partial(answered, model, asked["times"], constrained=asked["constrained"])
        every = [one() for _ in range(asked["streams"])]
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


async def first_tokens(server: Server, rounds: int) -> dict[str, float]:
    idle, bare, ours = [], [], []
    async with Client(server.stub) as client:
        for number in range(rounds + 5):
            before = server.seconds()
            asking = server.seconds() - before
            each = [await first_token(server, client, path) for path in ("/bare", "/v1/responses")]
            if number >= 5:  # the first ones load what the others find
                for seconds, taken in zip((idle, bare, ours), (asking, *each), strict=True):
                    seconds.append(1000 * taken)
    return {
        "first token: an event of bare Starlette, ms": median(bare) - median(idle),
        "first token: a token of the server, ms": median(ours) - median(idle),
    }


async def streamed(server: Server) -> int:
    """The number of tokens of streamed answers, one after the other."""
    count = 0
    async with Client(server.model) as client:
        for _ in range(TIMES):
            client.send("/v1/responses", model="tiny", input=QUESTION, stream=True, temperature=0)
            last = (await client.read(END)).rpartition(b"\ndata: ")[2].partition(b"\n")[0]
            count += json.loads(last)["response"]["usage"]["output_tokens"]
    return count


async def alone(server: Server, streams: int, *, constrained: bool) -> int:
    """The number of tokens of the same answers in the server's process, which no client reads."""
    async with Client(server.model) as client:
        client.send("/alone", streams=streams, times=TIMES, constrained=constrained)
        answer = await client.read(b"}")
        return int(json.loads(answer.rpartition(b"\r\n")[2])["tokens"])


async def work(server: Server, streams: int) -> list[float]:
    """CPU milliseconds a token: by itself, by itself with a grammar, and behind the server."""
    taken, counts = [], set()
    for answers in (
        [alone(server, streams, constrained=False)],
        [alone(server, streams, constrained=True)],
        [streamed(server) for _ in range(streams)],
    ):
        before = server.seconds()
        tokens = sum(await asyncio.gather(*answers))
        taken.append(1000 * (server.seconds() - before) / tokens)
        counts.add(tokens)
    assert len(counts) == 1, counts
    return taken


async def measure(streams: int, rounds: int) -> dict[str, float]:
    server = Server()
    figures = await first_tokens(server, 100)
    await work(server, 2)
    every = []
    for number in range(1, rounds + 1):
        every.append(await work(server, streams))
        told = "alone {:.3f}, with the grammar {:.3f}, behind the server {:.3f}".format(*every[-1])
        print(f"round {number} of {rounds}, ms a token: {told}", file=sys.stderr, flush=True)
    server.close()
    free, kept, served = (median(column) for column in zip(*every, strict=True))
    return figures | {
        f"{streams} streams: a token of the engine alone, ms": free,
        f"{streams} streams: with the server's grammar, ms": kept,
        f"{streams} streams: behind the server, ms": served,
        f"{streams} streams: throughput lost, %": 100 * (1 - median(row[1] / row[2] for row in every)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    for name, value in asyncio.run(measure(options.streams, options.rounds)).items():
        print(f"{name:52} {value:8.3f}")


if __name__ == "__main__":
    main()
