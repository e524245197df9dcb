"""What the loop costs beside the model: time per token, the capacity left with 200 agents, memory.

    python tests/bench/agent.py

The overhead per token is the CPU time of a run minus that of reading the same tokens from the same engine, a
stub that has them ready: reasoning and answer of 2,000 tokens each, streamed as events. Then 200 agents at
once ask a stub engine that answers each turn in 50 ms, however many ask: a call of a function in their first
turn, an answer in their second, and again. Its capacity is 200 turns every 50 ms; beside the agents stands
what 200 bare loops over the stub get of it. The clock of both is the CPU time of the process and what it has
slept, so that they have a core for themselves on a busy machine too; with --wall it is the one on the wall.
Memory is what the peak of the process grows by while 200 more agents run twice as long.
"""

import argparse
import asyncio
import resource
import selectors
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from functools import partial

from harmony import load_encoding
from harmony.agent import Agent
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.tools.functions import function

ENCODING = load_encoding()
PROSE = "The quick brown fox jumps over the lazy dog, and 1,234 others look on; nobody says a word. "
LONG = (
    f"<|channel|>analysis<|message|>{PROSE * 91}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{PROSE * 91}<|return|>"
)
CALL = '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
CALLED = ENCODING.encode("<|call|>", allowed_special="all")[0]
AGENTS, LATENCY = 200, 0.05
FINAL = "<|channel|>final<|message|>Twice 21 is 42.<|return|>"


@function
async def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


class Stub:
    """Answers with its first text, and with its last where a call was made, after `seconds`."""

    name = "stub"
    context_length = 131_072
    default_sampling = SamplingParams()

    def __init__(self, *turns: str, seconds: float = 0) -> None:
        encoded = [ENCODING.encode(turn, allowed_special="all") for turn in turns]
        self.turns = [
            [*map(GeneratedToken, tokens[:-1]), GeneratedToken(tokens[-1], "stop")] for tokens in encoded
        ]
        self.answered = 0
        self._seconds = seconds

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self.answered += 1
        for token in self.turns[-1 if CALLED in prompt else 0]:
            yield token

    async def aclose(self) -> None:
        """Nothing to end."""


async def read(engine: Stub) -> None:
    async for _ in engine.generate([], engine.default_sampling, stop=()):
        pass


async def stream(engine: Stub) -> None:
    async for _ in Agent(engine).stream("Hello"):
        pass


def overhead(rounds: int) -> tuple[float, float]:
    """Microseconds of CPU time a token beside the engine's, and the engine's own."""
    engine = Stub(LONG)
    taken: dict[Callable[[Stub], Coroutine[None, None, None]], list[float]] = {read: [], stream: []}
    for _ in range(rounds):
        for action, seconds in taken.items():
            start = time.process_time()
            asyncio.run(action(engine))
            seconds.append((time.process_time() - start) * 1e6 / len(engine.turns[0]))
    bare = statistics.median(taken[read])
    return statistics.median(taken[stream]) - bare, bare


class OwnCore(asyncio.SelectorEventLoop):
    """A loop that skips its sleeps, and whose clock tells the CPU time and what was skipped."""

    def __init__(self) -> None:
        self.slept = 0.0
        super().__init__(self.Selector(self))

    def time(self) -> float:
        return time.process_time() + self.slept

    class Selector(selectors.SelectSelector):
        def __init__(self, loop: "OwnCore") -> None:
            super().__init__()
            self._loop = loop

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = super().select(0)
            if not ready and timeout is not None and timeout > 0:
                self._loop.slept += timeout
            return ready


Ask = Callable[[], Coroutine[None, None, object]]


async def load(engine: Stub, asking: Sequence[Ask], seconds: float) -> tuple[float, float]:
    """What the stub answers while all ask it again and again: turns a second, CPU microseconds a turn."""

    async def again(ask: Ask) -> None:
        while True:
            await ask()

    clock = asyncio.get_running_loop().time
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(again(ask)) for ask in asking]
        await asyncio.sleep(LATENCY * 4)  # until they no longer ask in step
        answered, start, cpu = engine.answered, clock(), time.process_time()
        await asyncio.sleep(seconds)
        turns, taken = engine.answered - answered, clock() - start
        for task in tasks:
            task.cancel()
    return turns / taken, (time.process_time() - cpu) * 1e6 / turns


def bare(engine: Stub) -> Sequence[Ask]:
    return [partial(read, engine)] * AGENTS


def agents(engine: Stub) -> Sequence[Ask]:
    made = [Agent(engine, tools=[double]) for _ in range(AGENTS)]
    return [partial(agent.run, "What is twice 21?") for agent in made]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a second in all, for a look")
    parser.add_argument("--wall", action="store_true", help="count the time that others take of the core")
    options = parser.parse_args()
    quick, new_loop = options.quick, asyncio.SelectorEventLoop if options.wall else OwnCore
    asyncio.run(stream(Stub(LONG)))
    taken, own = overhead(2 if quick else 15)
    print(f"overhead a token: {taken:.1f} µs (the engine's own {own:.1f} µs)   goal: ≤ 20 µs")
    seconds, capacity = 0.2 if quick else 5.0, AGENTS / LATENCY
    for name, make in (("bare loops", bare), ("agents", agents)):
        engine = Stub(CALL, FINAL, seconds=LATENCY)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            rate, cpu = runner.run(load(engine, make(engine), seconds))
        goal = "   goal: ≥ 90 %" if make is agents else ""
        share = f"{rate / capacity:.1%} of {capacity:.0f} turns/s"
        print(f"{AGENTS} {name}: {share}, {cpu:.0f} µs of CPU a turn{goal}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(load(engine, agents(engine), seconds * 2))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory, over twice as long again: {grown / AGENTS:.1f} KiB more an agent   goal: bounded")


if __name__ == "__main__":
    main()
