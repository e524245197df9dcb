"""Completion of the command in a shell: a script made from its options, printed by --completion."""

import argparse
import shlex
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[str, ...] = get_args(Shell)
_COMMAND = "harmony-agent"
_ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
_FILES = frozenset({"FILE", "FOLDER", "RUN"})
_OFFER_FILES = 'COMPREPLY=($(compgen -f -- "$word"))'


def completion(parser: argparse.ArgumentParser, trace: argparse.ArgumentParser, shell: str) -> str:
    """The script that completes `harmony-agent`, and its `trace`, in this shell."""
    commands = _commands(trace)
    return _fish(parser, commands) if shell == "fish" else _bash(parser, commands, zsh=shell == "zsh")


def _bash(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], *, zsh: bool
) -> str:
    cases = "".join(f"    'trace {name}'*)\n{_case(command)} ;;\n" for name, command in commands.items())
    return f"""{_ZSH if zsh else ""}_harmony_agent() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  case "${{COMP_WORDS[*]:1:$COMP_CWORD-1}}" in
    trace) {_offer(commands)} ;;
{cases}    *)
{_case(parser)} ;;
  esac
  if [[ $COMP_CWORD == 1 && trace == "$word"* ]]; then COMPREPLY=(trace); fi
}}
complete -o bashdefault -F _harmony_agent {_COMMAND}
"""


def _case(parser: argparse.ArgumentParser) -> str:
    """What bash offers for the options of one command, their values, and its file if it takes one."""
    options = [action for action in parser._actions if action.option_strings]
    values = "".join(
        f"        {'|'.join(a.option_strings)}) {_values(a)} ;;\n" for a in options if _takes_value(a)
    )
    names = [name for action in options for name in action.option_strings]
    return f"""      case $before in
{values}        *) if [[ $word == -* ]]; then {_offer(names)}
           {f"else {_OFFER_FILES}; " if _takes_file(parser) else ""}fi ;;
      esac"""


def _values(action: argparse.Action) -> str:
    """What bash offers for the value of an option."""
    if action.choices is not None:
        return _offer(action.choices)
    return _OFFER_FILES if action.metavar in _FILES else "COMPREPLY=()"


def _fish(parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    seen, names = "__fish_seen_subcommand_from", " ".join(commands)
    lines = [
        f"complete -c {_COMMAND} -f",
        f"complete -c {_COMMAND} -n __fish_is_first_arg -a trace -d 'Show a run that --trace recorded'",
        f"complete -c {_COMMAND} -n '{seen} trace; and not {seen} {names}' -a '{names}'",
        *_options(parser, f"not {seen} trace"),
    ]
    for name, command in commands.items():
        lines += _options(command, f"{seen} trace; and {seen} {name}")
    return "\n".join(lines) + "\n"


def _options(parser: argparse.ArgumentParser, where: str) -> list[str]:
    """What fish offers for one command, while the line is `where` it is meant."""
    begin, lines = f"complete -c {_COMMAND} -n '{where}'", []
    for action in parser._actions:
        line = begin
        for option in action.option_strings:
            line += f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}"
        if line == begin:
            continue
        if action.choices is not None:
            line += f" -x -a {_quoted(' '.join(action.choices))}"
        elif _takes_value(action):
            line += " -r -F" if action.metavar in _FILES else " -x"
        lines.append(f"{line} -d {_quoted(str(action.help))}")
    return [*lines, f"{begin} -F"] if _takes_file(parser) else lines


def _commands(trace: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """What `trace` can do, each with its options."""
    return next(action.choices for action in trace._actions if isinstance(action, argparse._SubParsersAction))


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _takes_file(parser: argparse.ArgumentParser) -> bool:
    return any(action.metavar in _FILES for action in parser._actions if not action.option_strings)


def _offer(words: Iterable[str]) -> str:
    return f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(words))} -- "$word"))'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
