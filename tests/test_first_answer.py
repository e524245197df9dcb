"""What a newcomer sees: the command, the bundled model, a real sandbox, the right number."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from harmony.agent import Agent, RunResult, ToolCalled
from harmony.errors import SandboxUnavailableError
from harmony.runtime.generation import SamplingParams
from harmony.runtime.models import load_engine
from harmony.tools import Python

DECLINE = "I don't know that."


def command(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "harmony.agent", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", autouse=True)
def sandbox() -> None:
    """These tests run model code, so they need a machine that can confine it."""

    async def probe() -> None:
        python = Python()
        await python.call(None, "1")
        await python.aclose()

    try:
        asyncio.run(probe())
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


def test_the_first_command_answers(tmp_path: Path) -> None:
    """The answer on standard output, the call above it on standard error, from any folder."""
    done = command("What is 1234 * 5678?", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1234 * 5678 = 7006652\n")
    assert "python" in done.stderr
    assert "7006652" in done.stderr


def test_json_streams_the_call_with_its_real_output(tmp_path: Path) -> None:
    """Events include the python call, what python printed, and the answer."""
    done = command("What is 37 * 4821?", "--json", "--seed", "7", folder=tmp_path)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["arguments"] for e in events if e["type"] == "tool_call"] == ["37 * 4821"]
    assert [e["output"] for e in events if e["type"] == "tool_result"] == [str(37 * 4821)]
    assert events[-1]["text"].endswith(str(37 * 4821))


def test_no_network_is_needed(tmp_path: Path) -> None:
    """The command answers in a network namespace without any network."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test cut off its own network")
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-m", "harmony.agent", "--tools", "none", "Hello!"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Hello")


async def ask(prompts: list[str], *, python: bool = True) -> list[tuple[RunResult, list[str]]]:
    """The results of separate runs, and the tools that each called."""
    engine, tool = load_engine("tiny"), Python()
    answered = []
    for prompt in prompts:
        run = Agent(engine, tools=[tool] if python else []).stream(prompt)
        called = [event.tool async for event in run if isinstance(event, ToolCalled)]
        answered.append((run.result, called))
    await tool.aclose()
    await engine.aclose()
    return answered


def test_nineteen_of_twenty_sums_come_out_right() -> None:
    """Sums of up to six digits with + - * // %, computed by the real tool."""
    random = Random(2026)
    sums = []
    for operator in ["+", "-", "*", "//", "%"] * 4:
        a, b = (random.randrange(1, 10 ** random.randrange(1, 7)) for _ in range(2))
        sums.append(f"{a} {operator} {b}")
    answered = asyncio.run(ask([f"What is {text}?" for text in sums]))
    right = [
        called == ["python"] and result.text.split("= ")[-1] == str(eval(text))
        for text, (result, called) in zip(sums, answered, strict=True)
    ]
    assert sum(right) >= 19


def test_it_declines_what_it_does_not_know() -> None:
    """Questions from outside its small world get "I don't know that" and call nothing."""
    asked = ["Who painted the Mona Lisa?", "How do I bake bread?", "Why do cats purr?"]
    answered = asyncio.run(ask(asked))
    assert all(result.text.startswith(DECLINE) and not called for result, called in answered)


def test_without_python_it_says_so() -> None:
    """With no tool, it does not make a number up."""
    ((result, called),) = asyncio.run(ask(["What is 1234 * 5678?"], python=False))
    assert not called
    assert "python" in result.text
    assert "7006652" not in result.text


def test_a_chat_goes_on_from_the_cache() -> None:
    """The second turn of a run reads only what is new, and a second question still comes out right."""

    async def talk() -> tuple[RunResult, RunResult]:
        async with Agent("tiny", tools=[Python()]) as agent:
            first = await agent.run("What is 12 + 30?")
            return first, await agent.run("What is 7 * 8?", transcript=first.transcript)

    first, second = asyncio.run(talk())
    assert first.turns == 2
    assert first.usage.cached_tokens > first.usage.prompt_tokens / 3
    assert first.text.endswith("42")
    assert second.text.endswith("56")


def test_the_same_seed_gives_the_same_tokens() -> None:
    """Sampling is reproducible, at a temperature at which another seed gives other tokens."""

    async def sampled(seed: int) -> list[int]:
        engine = load_engine("tiny")
        sampling = SamplingParams(temperature=3, seed=seed, max_tokens=12)
        prompt = Agent(engine).stream("Hello!").transcript.prompt
        tokens = [token.token async for token in engine.generate(prompt, sampling, stop=())]
        await engine.aclose()
        return tokens

    one, two, other = (asyncio.run(sampled(seed)) for seed in (3, 3, 4))
    assert one == two
    assert one != other
