"""Completion of the command in a shell: a script made from its options, printed by --completion."""

import argparse
import shlex
from typing import Literal, get_args

Shell = Literal["bash", "zsh", "fish"]
SHELLS: tuple[str, ...] = get_args(Shell)
_COMMAND = "harmony-agent"
_ZSH = """\
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
_FILES = frozenset({"FILE", "FOLDER"})


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that completes `harmony-agent` in this shell."""
    actions = [action for action in parser._actions if action.option_strings]
    return _fish(actions) if shell == "fish" else _bash(actions, zsh=shell == "zsh")


def _bash(actions: list[argparse.Action], *, zsh: bool) -> str:
    options = " ".join(option for action in actions for option in action.option_strings)
    cases = "".join(
        f"    {'|'.join(a.option_strings)}) {_values(a)} ;;\n" for a in actions if _takes_value(a)
    )
    return f"""{_ZSH if zsh else ""}_harmony_agent() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  case $before in
{cases}    *) [[ $word == -* ]] && COMPREPLY=($(compgen -W {shlex.quote(options)} -- "$word")) ;;
  esac
}}
complete -o bashdefault -F _harmony_agent {_COMMAND}
"""


def _values(action: argparse.Action) -> str:
    """What bash offers for the value of an option."""
    if action.choices is not None:
        return f'COMPREPLY=($(compgen -W {shlex.quote(" ".join(action.choices))} -- "$word"))'
    return 'COMPREPLY=($(compgen -f -- "$word"))' if action.metavar in _FILES else "COMPREPLY=()"


def _fish(actions: list[argparse.Action]) -> str:
    lines = [f"complete -c {_COMMAND} -f"]
    for action in actions:
        line = f"complete -c {_COMMAND}"
        for option in action.option_strings:
            line += f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}"
        if action.choices is not None:
            line += f" -x -a {_quoted(' '.join(action.choices))}"
        elif _takes_value(action):
            line += " -r -F" if action.metavar in _FILES else " -x"
        lines.append(f"{line} -d {_quoted(str(action.help))}")
    return "\n".join(lines) + "\n"


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
