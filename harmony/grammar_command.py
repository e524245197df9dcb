"""`python -m harmony grammar`: print the grammar that a turn with these tools and this answer keeps to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmony.command_line import Parser, read_json, read_schema, read_text
from harmony.errors import UsageError
from harmony.formats import Choices, JsonSchema, Lark, Regex
from harmony.grammar import TurnGrammar
from harmony.messages import ReasoningEffort, ToolDescription, ToolNamespaceConfig

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from harmony.formats import AnswerFormat

_BUILTIN = {"python": ToolNamespaceConfig.python, "browser": ToolNamespaceConfig.browser}


def print_grammar(arguments: Sequence[str]) -> int:
    """Print the grammar that the options describe; raises UsageError and GrammarError."""
    options = _parser().parse_args(arguments)
    grammar = TurnGrammar.of(
        [] if options.tools is None else _tools(options.tools),
        [_BUILTIN[name]() for name in options.builtin],
        tool_choice=options.tool_choice,
        response=_response(options),
        reasoning=None if options.reasoning is None else ReasoningEffort(options.reasoning.capitalize()),
        preambles=not options.no_preambles,
    )
    print(grammar.text)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harmony grammar",
        description="Print the grammar of an assistant turn, in the Lark dialect of llguidance.",
    )
    parser.add_argument(
        "--tools",
        metavar="FILE",
        help="a JSON list of functions, flat or as OpenAI's API takes them",
    )
    parser.add_argument(
        "--builtin", action="append", default=[], choices=tuple(_BUILTIN), help="a built-in tool"
    )
    parser.add_argument(
        "--tool-choice", default="auto", metavar="CHOICE", help="auto, none, required, or the name of a tool"
    )
    parser.add_argument("--reasoning", choices=("low", "medium", "high"), help="reasoning effort")
    parser.add_argument("--no-preambles", action="store_true", help="nothing is said before a call")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--schema", metavar="FILE", help="a JSON schema that the answer follows")
    answer.add_argument("--regex", metavar="PATTERN", help="a regular expression that the answer matches")
    answer.add_argument("--choice", action="append", metavar="TEXT", help="a text that the answer may be")
    answer.add_argument("--lark", metavar="FILE", help="a Lark grammar that the answer follows")
    return parser


def _response(options: Namespace) -> AnswerFormat | None:
    if options.schema is not None:
        return JsonSchema(read_schema(options.schema))
    if options.regex is not None:
        return Regex(options.regex)
    if options.choice is not None:
        return Choices(tuple(options.choice))
    return None if options.lark is None else Lark(read_text(options.lark))


def _tools(path: str) -> list[ToolDescription]:
    listed = read_json(path)
    try:
        functions = [tool.get("function", tool) for tool in listed]
        return [
            ToolDescription(
                name=tool["name"],
                description=tool.get("description") or "",
                parameters=tool.get("parameters"),
            )
            for tool in functions
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f'{path} is no list of tools like [{{"name": "f", "parameters": {{…}}}}]; write one into it'
        ) from error
