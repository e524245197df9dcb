"""The commands of `python -m harmony`: what each reads, does and prints."""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pydantic import ValidationError

from harmony.chat import from_chat, to_chat
from harmony.command_line import Parser, parse_json, read_json, read_text
from harmony.encoding import load_encoding
from harmony.errors import UsageError
from harmony.located import Located
from harmony.messages import Conversation, Message, RenderConversationConfig, Role
from harmony.page import Page, Piece
from harmony.responses import from_responses, to_responses
from harmony.streaming import ParsedMessage, StreamableParser
from harmony.vocabulary import ORDINARY_TOKENS, START, VOCABULARY_SIZE

_SPECIAL: Final = "bold magenta"
_SHADES: Final = ("cyan", "green")
_LOOKS_LIKE_IDS: Final = re.compile(r"\s*\[[\d\s,\]-]*")


class CommandParser(Parser):
    """The options of a command, FILE and --json among them."""

    def __init__(self, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"python -m harmony {command}", description=description, epilog=f"examples:\n{examples}"
        )
        self.add_argument("file", metavar="FILE", help="what to read; - is standard input")
        self.add_argument("--json", action="store_true", help="one line of JSON, for programs")


def render(arguments: Sequence[str]) -> int:
    """Print the prompt of a conversation, or with --json its token ids."""
    parser = CommandParser(
        "render",
        "Print a conversation as the prompt that the model reads. FILE is JSON: a conversation as\n"
        'Conversation.to_json writes it, {"messages": [{"role": "user", "content": "Hi"}]}, or the body of\n'
        "a Chat Completions or Responses request; a list of messages or items will do. Text that spells a\n"
        "special token looks like one here; the ids of --json, and colours, tell them apart.",
        "  python -m harmony render conversation.json\n"
        "  python -m harmony render --from chat request.json\n"
        "  python -m harmony render --for training --keep-analysis conversation.json\n"
        "  python -m harmony render --json conversation.json     the token ids",
    )
    parser.add_argument(
        "--from", dest="source", choices=tuple(_READERS), default="harmony", help="what FILE holds (harmony)"
    )
    parser.add_argument(
        "--for",
        dest="use",
        choices=("completion", "history", "training"),
        default="completion",
        help="what comes next: an answer, nothing, or training on it (completion)",
    )
    parser.add_argument("--keep-analysis", action="store_true", help="keep the reasoning of finished turns")
    parser.add_argument(
        "--schemas", choices=("exact", "faithful"), default="exact", help="how functions are written (exact)"
    )
    options = parser.parse_args(arguments)
    conversation = _READERS[options.source](read_json(options.file))
    config = RenderConversationConfig(
        auto_drop_analysis=not options.keep_analysis, schema_profile=options.schemas
    )
    encoding = load_encoding()
    if options.use == "completion":
        rendered = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT, config)
    elif options.use == "training":
        rendered = encoding.render_conversation_for_training(conversation, config)
    else:
        rendered = encoding.render_conversation(conversation, config)
    if options.json:
        Page().json(rendered, for_programs=True)
    else:
        Page().line(*_runs(rendered))
    return 0


def parse(arguments: Sequence[str]) -> int:
    """Print the messages in tokens or text, and tell on standard error what was repaired."""
    parser = CommandParser(
        "parse",
        "Print the messages in what a model sampled, or in a whole prompt. FILE is a JSON list of token\n"
        "ids, or text with the special tokens written out (one newline at its end does not count). Without\n"
        "<|start|> at the beginning it goes on after <|start|>assistant, as a completion does.",
        "  python -m harmony parse completion.txt\n"
        "  python -m harmony parse --to chat ids.json     as a Chat Completions request has them\n"
        "  python -m harmony parse --strict ids.json      stop at the first fault\n"
        "  python -m harmony parse --json ids.json        with the faults, for programs",
    )
    parser.add_argument(
        "--to",
        dest="target",
        choices=("harmony", *_WRITERS),
        default="harmony",
        help="what to print (harmony)",
    )
    parser.add_argument(
        "--role", choices=tuple(Role), help="who speaks where <|start|> is missing (assistant)"
    )
    parser.add_argument("--strict", action="store_true", help="refuse what is malformed, do not repair it")
    parser.add_argument("--text", action="store_true", help="FILE is text, even if it looks like ids")
    options = parser.parse_args(arguments)
    sampled = _tokens(options)
    starts_whole = sampled[:1] == [START] and options.role is None
    role = None if starts_whole else Role(options.role or Role.ASSISTANT)
    parsed = StreamableParser(load_encoding(), role, strict=options.strict)
    parsed.process_all(sampled).process_eos()
    page = Page()
    faults = [asdict(each) | {"span": _indices(each.span)} for each in parsed.diagnostics]
    if options.target == "harmony":
        written: dict[str, object] = {"messages": [_with_ending(each) for each in parsed.parsed_messages]}
    else:
        written = dict(_WRITERS[options.target](parsed.messages))
    page.json(written | {"diagnostics": faults} if options.json else written, for_programs=options.json)
    for diagnostic in () if options.json else parsed.diagnostics:
        page.aside((f"token {diagnostic.position}: {diagnostic.fault}; {diagnostic.assumed}", "yellow"))
    return 0


def tokens(arguments: Sequence[str]) -> int:
    """Print a text or token ids, token by token."""
    parser = CommandParser(
        "tokens",
        "Print tokens one by one: index, offset in bytes, id, text. FILE is text with the special tokens\n"
        "written out (one newline at its end does not count), or a JSON list of token ids.",
        '  echo "Hello world" | python -m harmony tokens -\n'
        "  python -m harmony tokens prompt.txt\n"
        "  python -m harmony tokens --json ids.json     a list of objects, for programs",
    )
    parser.add_argument("--text", action="store_true", help="FILE is text, even if it looks like ids")
    options = parser.parse_args(arguments)
    listed = [*_listed(_tokens(options))]
    page = Page()
    if options.json:
        page.json(listed, for_programs=True)
        return 0
    for row in listed:
        style = _SPECIAL if row["special"] else _SHADES[row["index"] % len(_SHADES)]
        page.line((f"{row['index']:>6} {row['offset']:>8} {row['id']:>7}  ", "dim"), (_shown(row), style))
    special = sum(row["special"] for row in listed)
    page.aside((f"{len(listed)} tokens, {special} of them special", "dim"))
    return 0


def _listed(ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What there is to say of each token."""
    vocabulary, offset = load_encoding().token_bytes, 0
    for index, token in enumerate(ids):
        if not 0 <= token < VOCABULARY_SIZE:
            raise UsageError(f"there is no token {token}: ids go from 0 to {VOCABULARY_SIZE - 1}")
        spelled = vocabulary[token]
        yield {
            "index": index,
            "offset": offset,
            "id": token,
            "text": spelled.decode(errors="replace"),
            "bytes": spelled.hex(),
            "special": token >= ORDINARY_TOKENS,
        }
        offset += len(spelled)


def _shown(row: Mapping[str, Any]) -> str:
    """A special token by its name, text in quotes, a part of a character as bytes."""
    if row["special"]:
        return str(row["text"])
    spelled = bytes.fromhex(row["bytes"])
    return json.dumps(row["text"], ensure_ascii=False) if row["text"].encode() == spelled else repr(spelled)


def _runs(ids: Sequence[int]) -> Iterator[Piece]:
    """Text for the page, in which special tokens stand out."""
    encoding, run = load_encoding(), list[int]()
    for token in ids:
        if encoding.is_special_token(token):
            yield encoding.decode(run), ""
            yield encoding.decode([token]), _SPECIAL
            run = []
        else:
            run.append(token)
    yield encoding.decode(run), ""


def _with_ending(parsed: ParsedMessage) -> dict[str, Any]:
    return {**parsed.message.to_dict(), "ending": parsed.ending, "tokens": _indices(parsed.span)}


def _indices(span: range) -> dict[str, int]:
    return {"start": span.start, "stop": span.stop}


def _tokens(options: argparse.Namespace) -> list[int]:
    """The ids in a file, or those of its text."""
    text = read_text(options.file)
    if not options.text and _LOOKS_LIKE_IDS.match(text):
        ids = parse_json(text, options.file) if _LOOKS_LIKE_IDS.fullmatch(text) else None
        if isinstance(ids, list) and all(type(token) is int for token in ids):
            return ids
    return load_encoding().encode(text.removesuffix("\n").removesuffix("\r"), allowed_special="all")


def _conversation(value: Any) -> Conversation:
    whole = Located(_wrapped(value, "messages", list), "")
    return Conversation(messages=[_message(message) for message in whole["messages"].elements()])


def _message(message: Located) -> Message:
    try:
        return Message.from_dict(dict(message.members()))
    except KeyError as error:
        raise message.error(f"{error.args[0]} is missing") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise message.error(f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise message.error(str(error)) from None


def _wrapped(value: Any, key: str, *kinds: type) -> Any:
    """A value that stands for the whole body, as one."""
    return {key: value} if isinstance(value, kinds) else value


_READERS: Final[Mapping[str, Callable[[Any], Conversation]]] = {
    "harmony": _conversation,
    "chat": lambda value: from_chat(_wrapped(value, "messages", list)),
    "responses": lambda value: from_responses(_wrapped(value, "input", list, str)),
}
_WRITERS: Final[Mapping[str, Callable[[Sequence[Message]], Mapping[str, object]]]] = {
    "chat": to_chat,
    "responses": to_responses,
}
