"""A recorded run as one HTML file: its text, its tokens and its messages side by side, linked.

The file needs nothing else: no network, no build. All of the run is data in it: escaped, control characters
shown, and its content security policy runs no other script than the page's own.
"""

import base64
import codecs
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from harmony import HarmonyEncoding, Role, StreamableParser
from harmony.agent.events import Flagged, Notice, Repaired, ToolReturned
from harmony.agent.trace_format import TracedRun, TracedTurn
from harmony.printable import printable
from harmony.streaming import ParsedMessage
from harmony.vocabulary import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    END_OF_TEXT,
    MESSAGE,
    ORDINARY_TOKENS,
    RETURN,
    START,
    START_OF_TEXT,
    VOCABULARY_SIZE,
    token_bytes,
)

__all__ = ["view_of"]

_EXPLAINED = {
    START: "a message begins; its header follows: who speaks, and to whom",
    CHANNEL: "the name of the channel follows: analysis (reasoning), commentary (calls and preambles), final",
    CONSTRAIN: "the type of the content follows, such as json",
    MESSAGE: "the header ends, the content begins",
    END: "the message ends, and more follows",
    CALL: "the message ends with a call: the model stops and the tool answers",
    RETURN: "the answer is complete: the model stops; later prompts show <|end|> in its place",
    START_OF_TEXT: "a text begins; no part of the harmony format",
    END_OF_TEXT: "a text ends; no part of the harmony format",
}
_FOLDED = (Role.SYSTEM, Role.DEVELOPER, Role.TOOL)


def view_of(recorded: TracedRun, encoding: HarmonyEncoding) -> str:
    """The page of a run."""
    tokens, marks = _laid_out(recorded, encoding)
    parser = StreamableParser(encoding, None, strict=False)
    messages = parser.process_all([token.id for token in tokens]).process_eos().parsed_messages
    style, script = (_part(f"trace_view.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Run {_shown(recorded.line.run)}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Run {_shown(recorded.line.run)}</h1>
{_facts(recorded)}
{_legend(tokens)}
</header>
<main class="panes">
<section class="pane" tabindex="0" aria-labelledby="text"><h2 id="text">Text</h2>
<pre>{"".join(_text(tokens, marks))}</pre></section>
<section class="pane" tabindex="0" aria-labelledby="tokens"><h2 id="tokens">Tokens</h2>
<table><thead><tr><th>#</th><th class="id">id</th><th>token</th><th>ms</th><th>logprob</th></tr></thead>
<tbody>
{"".join(_rows(tokens, marks))}</tbody></table></section>
<section class="pane" tabindex="0" aria-labelledby="messages"><h2 id="messages">Messages</h2>
{"".join(_articles(messages, recorded, encoding))}</section>
</main>
<footer>Click a token or a message, or use the keys: <kbd>j</kbd> <kbd>k</kbd> or <kbd>→</kbd> <kbd>←</kbd>
next and previous token, <kbd>n</kbd> <kbd>p</kbd> next and previous message, <kbd>1</kbd> <kbd>2</kbd>
<kbd>3</kbd> a pane. Sampled tokens have a coloured ground.</footer>
<script>{script}</script>
</body>
</html>
"""


@dataclass(slots=True)
class _Token:
    """A token of the page. `turn` sampled it, at `place`; `left` says that no later prompt has it."""

    id: int
    turn: TracedTurn | None = None
    place: int = 0
    left: bool = False

    @property
    def bytes(self) -> bytes:
        known = 0 <= self.id < VOCABULARY_SIZE
        return token_bytes()[self.id] if known else f"<no token {self.id}>".encode()

    @property
    def is_special(self) -> bool:
        return self.id >= ORDINARY_TOKENS

    @property
    def style(self) -> str:
        names = {"special": self.is_special, "sampled": self.turn is not None, "left": self.left}
        return " ".join(name for name, holds in names.items() if holds)


def _laid_out(recorded: TracedRun, encoding: HarmonyEncoding) -> tuple[list[_Token], dict[int, list[str]]]:
    """All tokens in the order in which they came, and what is to be said before each."""
    tokens = [_Token(token) for token in recorded.transcript(encoding).prompt]
    context = [*range(len(tokens))]
    marks: dict[int, list[str]] = defaultdict(list)
    for number, turn in enumerate(recorded.turns, start=1):
        line = turn.line
        for index in context[line.kept :]:
            tokens[index].left = True
        context = [*context[: line.kept], *range(len(tokens), len(tokens) + len(line.added))]
        tokens += [_Token(token) for token in line.added]
        if 0 < line.cached_tokens < len(context):
            held = f"the {line.cached_tokens} tokens of its prompt before this were held"
            marks[context[line.cached_tokens]].append(f"cache boundary of turn {number}: {held}")
        marks[len(tokens)].append(f"turn {number}: {_told(turn)}")
        context += range(len(tokens), len(tokens) + len(line.tokens))
        tokens += [_Token(token, turn, place) for place, token in enumerate(line.tokens)]
    return tokens, marks


def _told(turn: TracedTurn) -> str:
    line = turn.line
    told = (
        f"{len(line.tokens)} tokens after a prompt of {len(turn.prompt)}, {line.cached_tokens} of them cached"
    )
    if line.seconds:
        told += f"; the first after {line.seconds[0]:.3f} s, the last after {line.seconds[-1]:.3f} s"
    if line.error is not None:
        return f"{told}; {line.error}"
    return told if line.finish_reason else f"{told}; cut off"


def _facts(recorded: TracedRun) -> str:
    end = recorded.finished
    facts = {"began": f"{recorded.line.time:%Y-%m-%d %H:%M:%S %Z}"}
    if recorded.turns:
        first = recorded.turns[0].line
        facts["model"] = f"{first.model}, context of {first.context_length} tokens"
    if end is None:
        facts["ended"] = "it did not: it was stopped, or its process was killed"
    else:
        usage = end.usage
        facts["ended"] = f"{end.stop_reason} after {end.turns} turns"
        facts["tokens"] = (
            f"{usage.prompt_tokens} in prompts, {usage.cached_tokens} of them cached; "
            f"{usage.completion_tokens} sampled, {usage.reasoning_tokens} of them reasoning"
        )
    seconds = sum(turn.line.seconds[-1] for turn in recorded.turns if turn.line.seconds)
    if seconds:
        sampled = sum(len(turn.line.tokens) for turn in recorded.turns)
        facts["speed"] = f"{sampled / seconds:.1f} tokens a second, prompts included"
    listed = "".join(f"<dt>{name}</dt><dd>{_shown(fact)}</dd>" for name, fact in facts.items())
    return f"<dl>{listed}</dl>{_notes(recorded)}"


def _notes(recorded: TracedRun) -> str:
    notes = []
    for line in recorded.events:
        if isinstance(line.event, Repaired):
            notes.append(f"repaired: {line.event.problem}; {line.event.assumed}")
        elif isinstance(line.event, Flagged):
            notes.append(f"the reasoning was flagged: {line.event.reason}")
        elif isinstance(line.event, Notice):
            notes.append(line.event.text)
    return f'<ul class="notes">{"".join(f"<li>{_shown(note)}</li>" for note in notes)}</ul>' if notes else ""


def _legend(tokens: list[_Token]) -> str:
    used = [each for each in _EXPLAINED if any(token.id == each for token in tokens)]
    rows = (f"<dt><code>{_name(each)}</code></dt><dd>{escape(_EXPLAINED[each])}</dd>" for each in used)
    return f"<details><summary>What the special tokens mean</summary><dl>{''.join(rows)}</dl></details>"


def _text(tokens: list[_Token], marks: dict[int, list[str]]) -> Iterator[str]:
    """The text pane: a character that several tokens make up stands at the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for index, token in enumerate(tokens):
        yield from (f'<span class="mark">{_shown(mark)}</span>' for mark in marks.get(index, ()))
        begun = decoder.decode(b"", token.is_special)
        text = begun + decoder.decode(token.bytes)
        yield f'<span data-i="{index}" class="{token.style}"{_title(token)}>{_shown(text)}</span>'
    yield from (f'<span class="mark">{_shown(mark)}</span>' for mark in marks.get(len(tokens), ()))


def _rows(tokens: list[_Token], marks: dict[int, list[str]]) -> Iterator[str]:
    for index in range(len(tokens) + 1):
        for mark in marks.get(index, ()):
            yield f'<tr class="mark"><td colspan="5">{_shown(mark)}</td></tr>\n'
        if index < len(tokens):
            yield _row(index, tokens[index])


def _row(index: int, token: _Token) -> str:
    milliseconds = logprob = ""
    if token.turn is not None:
        line, place = token.turn.line, token.place
        if line.seconds:
            since = line.seconds[place - 1] if place else 0.0
            milliseconds = f"{1000 * (line.seconds[place] - since):.1f}"
        if line.logprobs:
            logprob = _likelihood(line.logprobs[place])
        if line.top_logprobs:
            likely = (
                f"{_spelled(_Token(t.token))} {_chance(t.logprob):.1%}" for t in line.top_logprobs[place]
            )
            logprob += f'<span class="likely">{", ".join(map(_shown, likely))}</span>'
    return (
        f'<tr data-i="{index}" class="{token.style}"{_title(token)}><td class="number">{index}</td>'
        f'<td class="number id">{token.id}</td><td class="text">{_shown(_spelled(token))}</td>'
        f'<td class="number">{milliseconds}</td><td>{logprob}</td></tr>\n'
    )


def _likelihood(logprob: float | None) -> str:
    if logprob is None:
        return "forced"
    chance = _chance(logprob)
    return f'{logprob:.3f} <meter min="0" max="1" value="{chance:.4f}">{chance:.1%}</meter>'


def _chance(logprob: float) -> float:
    """The probability; 1 for what is none."""
    return math.exp(min(0.0, logprob))


def _articles(
    messages: Sequence[ParsedMessage], recorded: TracedRun, encoding: HarmonyEncoding
) -> Iterator[str]:
    answers = iter(recorded.answers)
    asked = len(recorded.transcript(encoding).segments)
    for number, parsed in enumerate(messages):
        answered = parsed.message.author.role == Role.TOOL and number >= asked
        yield _article(parsed, next(answers, None) if answered else None)


def _article(parsed: ParsedMessage, answer: ToolReturned | None) -> str:
    message = parsed.message
    author = message.author
    named = f"{author.role.value} {author.name}" if author.name else author.role.value
    parts = [f"<b>{_shown(named)}</b>"]
    if message.recipient:
        parts.append(f"to {_shown(message.recipient)}")
    if message.channel:
        parts.append(f"on {_shown(message.channel)}")
    if message.content_type:
        parts.append(_shown(message.content_type))
    parts.append(f"{len(parsed.span)} tokens")
    if parsed.ending is None:
        parts.append("cut off")
    if answer is not None:
        parts.append(f"{answer.seconds:.3f} s")
        parts += ['<span class="error">error</span>'] if answer.error else []
    body = f"<pre>{_shown(message.text)}</pre>"
    if author.role in _FOLDED or message.recipient:
        body = f"<details><summary>{len(message.text)} characters</summary>{body}</details>"
    first, stop = parsed.span.start, parsed.span.stop
    return f'<article data-first="{first}" data-stop="{stop}"><p>{" · ".join(parts)}</p>{body}</article>\n'


def _spelled(token: _Token) -> str:
    """A token by itself: its text, line ends shown, or its bytes where they are no text."""
    try:
        return token.bytes.decode().replace("\n", "⏎").replace("\t", "⇥")
    except UnicodeDecodeError:
        return token.bytes.hex(" ")


def _title(token: _Token) -> str:
    explained = _EXPLAINED.get(token.id)
    return "" if explained is None else f' title="{escape(explained)}"'


def _name(token: int) -> str:
    return escape(token_bytes()[token].decode())


def _shown(text: str) -> str:
    return escape(printable(text))


def _part(name: str) -> str:
    return files("harmony").joinpath("data", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
