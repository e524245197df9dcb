"""Ask a model held-out questions through the real agent, with the tools really executed.

    python examples/tiny/evaluate.py --count 100

Prints the share of runs that end in the right answer, by kind of question. The seed differs from the
training's, and `unseen` are questions written by hand that no training phrase resembles on purpose.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import arithmetic
import extraction
import functions
import lookups
import smalltalk
from conversations import Writer

from harmony import load_encoding
from harmony.agent import Agent, Limits, RunResult, ToolCalled
from harmony.runtime.generation import SamplingParams
from harmony.runtime.models import load_engine
from harmony.tools import Browser, FunctionTool, Python
from harmony.tools.tool import Tool

UNSEEN = (
    "What is the capital of France?",
    "Who painted the Mona Lisa?",
    "Write a haiku about autumn leaves.",
    "How do I bake sourdough bread?",
    "Explain quantum entanglement to a child.",
    "Translate 'good night' into Portuguese.",
    "Who won the World Cup in 1998?",
    "What is the meaning of life?",
    "Recommend a good detective novel.",
    "Is it safe to eat raw mushrooms?",
    "Summarize the plot of Hamlet.",
    "What's the tallest mountain on Mars?",
    "My printer does not work, what should I do?",
    "Give me three tips for learning to juggle.",
    "When did the Roman Empire fall?",
    "Refactor my Java class to use streams.",
    "Why do cats purr?",
    "Do penguins have knees?",
    "Tell me a joke about lawyers",
    "Which planet has the most moons?",
)


Right = Callable[[RunResult, list[str]], bool]
"""Whether a run, which called these tools, answered the question."""


@dataclass(frozen=True)
class Question:
    """What is asked, with which tools and instructions, and what counts as right."""

    kind: str
    prompt: str
    right: Right
    tools: list[Tool] = field(default_factory=list)
    instructions: str | None = None


def plain_sums(random: Random, python: Python, count: int) -> Iterator[Question]:
    """Numbers of up to six digits, as the README asks."""
    for _ in range(count):
        a, b = random.randrange(10**6), random.randrange(1, 10 ** random.randrange(1, 7))
        code = f"{a} {random.choice(['+', '-', '*', '//', '%'])} {b}"
        yield Question("plain sums", f"What is {code}?", computed(arithmetic.result(code)), [python])


def arithmetic_questions(random: Random, python: Python, count: int) -> Iterator[Question]:
    """Everything that `arithmetic` can ask."""
    for _ in range(count):
        prompt, code = arithmetic.question(random)
        yield Question("arithmetic", prompt, computed(arithmetic.result(code).splitlines()[-1]), [python])


def function_questions(random: Random, count: int) -> Iterator[Question]:
    """One declared function, which must be called with the right arguments."""
    for _ in range(count):
        call = functions.MAKERS[random.choice(tuple(functions.MAKERS))](random)
        function = Recorded(call.returned)
        schema = functions.schema(call.name, lambda: None)
        tool = FunctionTool.from_schema(call.name, "", schema, function)
        yield Question("functions", call.question, called_as(call, function), [tool])


def json_questions(random: Random, count: int) -> Iterator[Question]:
    """A sentence and a schema in the developer message."""
    for _ in range(count):
        prompt, schema, answer = extraction.question(random)
        yield Question("json", prompt, same_json(answer), instructions=extraction.section(schema))


def documentation_questions(random: Random, python: Python, count: int) -> Iterator[Question]:
    """Headings and terms of sections that no training question is about, and that a search leads to."""
    library = lookups.real_library()
    phrases = [phrase for phrase in lookups.held_out_phrases() if library.lookup(phrase, view_tokens=512)]
    for about in random.sample(phrases, min(count, len(phrases))):
        browser = Browser()
        tools: list[Tool] = random.choice(([browser], [python, browser]))
        prompt = random.choice(lookups.ASKED).format(x=about)
        yield Question("documentation", prompt, cited(browser, about), tools)


def spoken_questions(random: Random, python: Python, count: int) -> Iterator[Question]:
    """Small talk, what the model does not know, and sums without python."""
    words = Writer(load_encoding(), 0).words
    for _ in range(count):
        prompt, answer = random.choice(smalltalk.CHAT)
        yield Question("small talk", prompt, said(answer), [python])
        yield Question("declines", smalltalk.unknown(random, words), said(smalltalk.DECLINE), [python])
    for prompt in UNSEEN:
        declined = said(smalltalk.DECLINE, smalltalk.NO_FUNCTION)
        yield Question("declines, unseen", prompt, declined, [python])
    for _ in range(count // 2):
        prompt, _ = arithmetic.question(random)
        yield Question("no python", prompt, said(smalltalk.NO_PYTHON))


class Recorded:
    """A function that keeps what it was called with."""

    def __init__(self, returns: str) -> None:
        self.calls: list[dict[str, object]] = []
        self._returns = returns

    def __call__(self, **arguments: object) -> str:
        self.calls.append(arguments)
        return self._returns


def computed(number: str) -> Right:
    pattern = re.compile(rf"(^|[\s=]){re.escape(number)}\.?$")
    return lambda result, called: "python" in called and pattern.search(result.text) is not None


def called_as(call: functions.FunctionCall, function: Recorded) -> Right:
    return lambda result, _: function.calls == [call.arguments] and result.text == call.answer


def cited(browser: Browser, about: str) -> Right:
    """Searched, opened, and cited lines of an opened page that hold the phrase."""

    def right(result: RunResult, called: list[str]) -> bool:
        texts = [
            " ".join(page.lines[citation.lines[0] : citation.lines[1] + 1])
            for citation in result.citations
            for page in browser.pages
            if citation.lines and page.url == citation.url
        ]
        return called == ["browser.search", "browser.open"] and any(
            lookups.holds(text, about) for text in texts
        )

    return right


def said(*answers: str) -> Right:
    return lambda result, called: not called and result.text in answers


def same_json(answer: str) -> Right:
    def right(result: RunResult, _: list[str]) -> bool:
        try:
            return bool(json.loads(result.text) == json.loads(answer))
        except ValueError:
            return False

    return right


def questions_of(random: Random, python: Python, count: int) -> list[Question]:
    """So many of each kind, all of them before the first is asked."""
    return [
        *plain_sums(random, python, count),
        *arithmetic_questions(random, python, count),
        *function_questions(random, count),
        *json_questions(random, count),
        *spoken_questions(random, python, count),
        *documentation_questions(random, python, count),
    ]


async def evaluate(
    args: argparse.Namespace, random: Random, python: Python, questions: list[Question]
) -> None:
    engine = load_engine(args.model)
    sampling = engine.default_sampling
    if args.temperature is not None:
        sampling = SamplingParams(temperature=args.temperature)
    scores: dict[str, list[bool]] = {}
    for question in questions:
        agent = Agent(
            engine,
            tools=question.tools,
            instructions=question.instructions,
            reasoning=random.choice(("low", "medium", "high")),
            sampling=sampling,
            limits=Limits(turns=4, tokens=400),
        )
        run = agent.stream(question.prompt)
        called = [event.tool async for event in run if isinstance(event, ToolCalled)]
        right = question.right(run.result, called)
        scores.setdefault(question.kind, []).append(right)
        if not right and args.show_wrong:
            print(f"wrong ({question.kind}): {question.prompt!r} -> {called} {run.result.text!r}", flush=True)
    await python.aclose()
    await engine.aclose()
    for kind, right in scores.items():
        print(f"{kind:18} {sum(right):4d} of {len(right):4d}  {sum(right) / len(right):6.1%}")
    total = [right for kind in scores.values() for right in kind]
    print(f"{'all':18} {sum(total):4d} of {len(total):4d}  {sum(total) / len(total):6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny", help="what to load (tiny)")
    parser.add_argument("--count", type=int, default=100, help="questions of each kind (100)")
    parser.add_argument("--seed", type=int, default=20_261_123)
    parser.add_argument("--temperature", type=float, help="default: the checkpoint's own")
    parser.add_argument("--show-wrong", action="store_true", help="print what went wrong")
    args = parser.parse_args()
    random, python = Random(args.seed), Python()
    asyncio.run(evaluate(args, random, python, questions_of(random, python, args.count)))


if __name__ == "__main__":
    main()
