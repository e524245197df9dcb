"""Synthetic harmony conversations: token ids, and which of them the assistant sampled.

Prompts are rendered as the agent renders them. The assistant's messages are written as gpt-oss
samples them: the channel first, then the recipient (`<|channel|>analysis to=python code`).
"""

import dataclasses
import datetime
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import arithmetic
import copying
import extraction
import functions
import lookups
import smalltalk

from harmony import (
    Author,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    ReasoningEffort,
    RenderOptions,
    Role,
    SystemContent,
    ToolDescription,
)

APART = 0.6
"""The share of examples whose exchanges are all first ones: what came before is too easily imitated."""

INSTRUCTIONS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Be concise and polite.",
    "You are an assistant for numbers.",
    "Answer in one sentence.",
)


@dataclass(frozen=True)
class Setting:
    """What the system and developer messages of a conversation say."""

    effort: ReasoningEffort
    python: bool
    browser: bool
    functions: tuple[str, ...]
    instructions: str | None
    schema: str | None
    date: str


@dataclass
class Example:
    """Token ids, for each whether the assistant sampled it, and the branch that it belongs to.

    Branch 0 is common to all others, which do not see each other: several first exchanges after the
    same system and developer messages. A conversation that simply goes on is of branch 0 alone.
    """

    tokens: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)

    def add(self, tokens: Iterable[int], *, sampled: bool) -> None:
        before = len(self.tokens)
        self.tokens.extend(tokens)
        added = len(self.tokens) - before
        self.sampled.extend([sampled] * added)
        self.branches.extend([0] * added)

    def extend(self, other: "Example", branch: int) -> None:
        self.tokens.extend(other.tokens)
        self.sampled.extend(other.sampled)
        self.branches.extend([branch] * len(other.tokens))


class Writer:
    """Writes conversations; the same seed writes the same ones."""

    def __init__(self, encoding: HarmonyEncoding, seed: int) -> None:
        self._encoding = encoding
        self._random = Random(seed)
        texts = (encoding.decode([token]) for token in range(1000, 199_000))
        self.words = [text.strip() for text in texts if text.strip().isalpha() and len(text.strip()) > 2]
        self._documented = list(lookups.words_of_documentation())
        self._held_out = {phrase.casefold() for phrase in lookups.held_out_phrases()}
        self._documentation = lookups.real_library()
        self._invented = lookups.invented_libraries(self._random, self._documented)

    def write(self, limit: int) -> Example:
        """A conversation of at most `limit` tokens, of as many exchanges as fit, or as many first ones."""
        setting = self._setting()
        example = Example()
        example.add(self._preamble(setting), sampled=False)
        apart = self._random.random() < APART
        for number in itertools.count(1):
            exchange = self._exchange(setting, keep_reasoning=apart or self._random.random() < 0.85)
            if len(example.tokens) + len(exchange.tokens) > limit:
                break
            example.extend(exchange, branch=number if apart else 0)
        return example

    def write_lessons(self, limit: int) -> Example:
        """Exchanges without system and developer messages, none of which sees the others: to begin with."""
        example = Example()
        for number in itertools.count(1):
            exchange = self._lesson()
            if len(example.tokens) + len(exchange.tokens) > limit:
                break
            example.extend(exchange, branch=number)
        return example

    def write_searches(self, limit: int) -> Example:
        """First exchanges where there is a browser, most of them up to the search and no further."""
        setting = self._setting(browser=True)
        example = Example()
        example.add(self._preamble(setting), sampled=False)
        for number in itertools.count(1):
            if self._random.random() < 0.7:
                exchange = self._searched(setting, self._about())
            else:
                exchange = self._exchange(setting, keep_reasoning=True)
            if len(example.tokens) + len(exchange.tokens) > limit:
                break
            example.extend(exchange, branch=number)
        return example

    def write_held_out(self) -> Example:
        """Searches for all that the evaluation asks about."""
        setting = self._setting(browser=True)
        setting = dataclasses.replace(setting, effort=ReasoningEffort.MEDIUM, python=False, functions=())
        example = Example()
        example.add(self._preamble(setting), sampled=False)
        for number, about in enumerate(lookups.held_out_phrases(), start=1):
            example.extend(self._searched(setting, about), branch=number)
        return example

    def write_lookups(self, limit: int) -> Example:
        """Whole lookups after one system message, as many as fit; half of them in invented pages."""
        setting = self._setting(browser=True)
        example = Example()
        example.add(self._preamble(setting), sampled=False)
        library = next(self._invented) if self._random.random() < 0.5 else self._documentation
        for number in itertools.count(1):
            exchange = self._looked_up(setting, library)
            if len(example.tokens) + len(exchange.tokens) > limit:
                break
            example.extend(exchange, branch=number)
        return example

    def _setting(self, *, browser: bool = False) -> Setting:
        random = self._random
        names = tuple(functions.MAKERS)
        day = datetime.date(2024, 6, 1) + datetime.timedelta(days=random.randrange(2500))
        often = 0.1 if browser else 0.5
        declared = random.sample(names, random.choice((1, 1, 2, 3, 4))) if random.random() < often else ()
        return Setting(
            effort=random.choice((*ReasoningEffort, ReasoningEffort.MEDIUM)),
            python=random.random() < (0.4 if browser else 0.85),
            browser=browser,
            functions=tuple(declared),
            instructions=random.choice(INSTRUCTIONS) if random.random() < 0.2 else None,
            schema=None if browser or random.random() >= 0.25 else random.choice(tuple(extraction.SCHEMAS)),
            date=day.isoformat(),
        )

    def _preamble(self, setting: Setting) -> list[int]:
        system = SystemContent.new().with_reasoning_effort(setting.effort)
        system = system.with_conversation_start_date(setting.date)
        if setting.python:
            system = system.with_python_tool()
        if setting.browser:
            system = system.with_browser_tool()
        options = RenderOptions(conversation_has_function_tools=bool(setting.functions))
        tokens = self._encoding.render(Message.from_role_and_content(Role.SYSTEM, system), options)
        parts = [setting.instructions, extraction.section(setting.schema) if setting.schema else None]
        instructions = "\n\n".join(part for part in parts if part)
        if instructions or setting.functions:
            developer = DeveloperContent.new()
            if instructions:
                developer = developer.with_instructions(instructions)
            if setting.functions:
                developer = developer.with_function_tools([self._tool(name) for name in setting.functions])
            tokens = tokens + self._encoding.render(Message.from_role_and_content(Role.DEVELOPER, developer))
        return tokens

    def _tool(self, name: str) -> ToolDescription:
        return ToolDescription.new(
            name, self._description() or "", parameters=functions.schema(name, self._description)
        )

    def _description(self) -> str | None:
        random = self._random
        if random.random() < 0.5:
            return None
        return " ".join(random.choice(self.words) for _ in range(random.randrange(1, 8))) + "."

    def _lesson(self) -> Example:
        random = self._random
        kind = random.random()
        setting = dataclasses.replace(self._setting(), effort=ReasoningEffort.MEDIUM)
        if kind < 0.7:
            if kind < 0.4:
                asked, answer = copying.citing(random, random.randrange(4, 24))
            else:
                asked, answer = copying.question(random, self._documented, random.randrange(3, 33))
            return self._said(setting, asked, answer, "I can answer this directly.", keep_reasoning=True)
        if kind < 0.85:
            return self._searched(setting, self._about())
        return self._exchange(setting, keep_reasoning=True)

    def _exchange(self, setting: Setting, *, keep_reasoning: bool) -> Example:
        random = self._random
        kind = random.random()
        if setting.schema:
            return self._filled_in(setting, keep_reasoning)
        if setting.functions and kind < 0.5:
            return self._function_call(setting, keep_reasoning)
        if kind < 0.75:
            return self._computed(setting, keep_reasoning)
        if kind < 0.82:
            asked, answer = random.choice(smalltalk.CHAT)
            return self._said(setting, asked, answer, "I can answer this directly.", keep_reasoning)
        if kind < 0.86:
            call = functions.MAKERS[random.choice(tuple(functions.MAKERS))](random)
            if call.name not in setting.functions:
                thought = "There is no tool for this."
                return self._said(setting, call.question, smalltalk.NO_FUNCTION, thought, keep_reasoning)
        if kind < 0.89 and not setting.browser:
            asked = random.choice(lookups.ASKED).format(x=self._about())
            thought = "There is no tool for this."
            return self._said(setting, asked, smalltalk.NO_FUNCTION, thought, keep_reasoning)
        if kind < 0.92:
            asked, answer = copying.question(random, self._documented, random.randrange(1, 13))
            return self._said(setting, asked, answer, "I can answer this directly.", keep_reasoning)
        asked = smalltalk.unknown(random, self.words)
        return self._said(setting, asked, smalltalk.DECLINE, "I do not know this.", keep_reasoning)

    def _computed(self, setting: Setting, keep_reasoning: bool) -> Example:
        asked, code = arithmetic.question(self._random)
        if not setting.python:
            thought = "This needs python, which I do not have here."
            return self._said(setting, asked, smalltalk.NO_PYTHON, thought, keep_reasoning)
        printed = arithmetic.result(code)
        answer = f"Python reports {printed.splitlines()[-1]}." if "\n" in printed else f"{code} = {printed}"
        thought = "I should use python."
        if setting.effort == ReasoningEffort.HIGH:
            thought = f"The user asks for {code}. I should use python."
        turn = self._asked(asked)
        if keep_reasoning:
            self._think(turn, setting, thought)
            self._sample(turn, f"<|channel|>analysis to=python code<|message|>{code}<|call|>")
            self._hear(turn, "python", "analysis", printed)
        self._answer(turn, answer, keep_reasoning)
        return turn

    def _function_call(self, setting: Setting, keep_reasoning: bool) -> Example:
        call = functions.MAKERS[self._random.choice(setting.functions)](self._random)
        failed = self._random.random() < 0.08
        returned = f"Error: {self._description() or 'not available.'}" if failed else call.returned
        turn = self._asked(call.question)
        if keep_reasoning:
            self._think(turn, setting, f"I should call {call.name}.")
        recipient = f"functions.{call.name}"
        arguments = functions.json.dumps(call.arguments)
        header = f"<|channel|>commentary to={recipient} <|constrain|>json"
        self._sample(turn, f"{header}<|message|>{arguments}<|call|>")
        self._hear(turn, recipient, "commentary", returned)
        self._answer(turn, "The tool failed, so I can't tell." if failed else call.answer, keep_reasoning)
        return turn

    def _filled_in(self, setting: Setting, keep_reasoning: bool) -> Example:
        asked, schema, answer = extraction.question(self._random)
        while schema != setting.schema:
            asked, schema, answer = extraction.question(self._random)
        return self._said(setting, asked, answer, f"I fill in the {schema}.", keep_reasoning)

    def _about(self) -> str:
        """What a question is about: a phrase of the documentation, or words drawn evenly."""
        random = self._random
        if random.random() < 0.4:
            about = random.choice(self._documentation.phrases)
        else:
            length = random.choice((1, 1, 2, 2, 3, 4))
            between = random.choice((" ", " ", " ", " ", " ", ", ", "-"))
            about = between.join(random.choice(self._documented) for _ in range(length))
        if about.casefold() in self._held_out:
            return self._about()
        return about.lower() if random.random() < 0.3 else about

    def _searched(self, setting: Setting, about: str) -> Example:
        turn = self._asked(self._random.choice(lookups.ASKED).format(x=about))
        self._think(turn, setting, lookups.THOUGHT)
        self._sample(turn, lookups.call("search", query=about))
        return turn

    def _looked_up(self, setting: Setting, library: lookups.Library) -> Example:
        """A lookup; before some, an earlier one, whose reasoning and pages are no longer in context."""
        random = self._random
        earlier = random.random() < 0.15
        size = random.choice((64, 64, 96, 128, 192, 256, 384, 512))
        turn = Example()
        if earlier:
            before = self._found(library, size, 0)
            turn = self._asked(random.choice(lookups.ASKED).format(x=before.about))
            self._answer(turn, before.answer, latest=False)
        turn.extend(self._answered(setting, self._found(library, size, 2 * earlier)), branch=0)
        return turn

    def _answered(self, setting: Setting, lookup: lookups.Lookup) -> Example:
        turn = self._searched(setting, lookup.about)
        self._hear(turn, "browser.search", "analysis", lookup.found)
        self._sample(turn, lookups.call("open", id=0))
        self._hear(turn, "browser.open", "analysis", lookup.opened)
        self._answer(turn, lookup.answer, latest=True)
        return turn

    def _found(self, library: lookups.Library, view_tokens: int, cursor: int) -> lookups.Lookup:
        random = self._random
        while True:
            about = random.choice(library.phrases)
            if about.casefold() in self._held_out:
                continue
            about = about.lower() if random.random() < 0.3 else about
            if lookup := library.lookup(about, view_tokens, cursor):
                return lookup

    def _said(self, setting: Setting, asked: str, answer: str, thought: str, keep_reasoning: bool) -> Example:
        turn = self._asked(asked)
        if keep_reasoning:
            self._think(turn, setting, thought)
        self._answer(turn, answer, keep_reasoning)
        return turn

    def _asked(self, text: str) -> Example:
        turn = Example()
        turn.add(self._encoding.render(Message.from_role_and_content(Role.USER, text)), sampled=False)
        turn.add(self._encoding.encode("<|start|>assistant", allowed_special="all"), sampled=False)
        return turn

    def _think(self, turn: Example, setting: Setting, thought: str) -> None:
        if setting.effort != ReasoningEffort.LOW:
            self._sample(turn, f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant")

    def _hear(self, turn: Example, author: str, channel: str, text: str) -> None:
        message = Message.from_author_and_content(Author.new(Role.TOOL, author), text)
        message = message.with_channel(channel).with_recipient("assistant")
        turn.add(self._encoding.render(message), sampled=False)
        turn.add(self._encoding.encode("<|start|>assistant", allowed_special="all"), sampled=False)

    def _answer(self, turn: Example, text: str, latest: bool) -> None:
        self._sample(turn, f"<|channel|>final<|message|>{text}<|return|>", learn=latest)
        if not latest:
            turn.tokens[-1] = self._encoding.encode("<|end|>", allowed_special="all")[0]

    def _sample(self, turn: Example, text: str, *, learn: bool = True) -> None:
        turn.add(self._encoding.encode(text, allowed_special="all"), sampled=learn)
