"""A chat in the terminal: questions, and commands that begin with a slash."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from harmony import load_encoding
from harmony.agent.agent import Agent
from harmony.agent.plain import View
from harmony.agent.run import Run
from harmony.agent.terminal import show
from harmony.command_line import read_text
from harmony.errors import HarmonyError, UsageError
from harmony.printable import printable
from harmony.runtime.generation import TokenEngine
from harmony.transcript import Transcript

_HELP = """\
/reset               begin a new conversation
/undo                take back the last question and its answer
/save FILE           save the conversation, token for token
/resume FILE         go on with a saved conversation
/model NAME          go on with another model
/tools LIST          other tools, as with --tools, from the next conversation on
/reasoning LEVEL     low, medium or high, from the next conversation on
/reasoning show      show the reasoning from now on; hide: no longer
/help                this list
A line that ends in \\ goes on in the next one; a question may begin with a slash after a space.
Ctrl-C stops an answer; at the prompt it leaves, as Ctrl-D does."""
_LEVELS = ("low", "medium", "high")


class Chat:
    """Its state, and what its commands do to it.

    `ask` puts a question to an agent, `engine_of`, `agent_of` and `view_of` make one from the options of the
    command line, which the commands change.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        options: argparse.Namespace,
        engine: TokenEngine,
        agent: Agent,
        *,
        ask: Callable[[Agent, str, Transcript | None], Run[Any]],
        engine_of: Callable[[argparse.Namespace], TokenEngine],
        agent_of: Callable[[argparse.Namespace, TokenEngine], Agent],
        view_of: Callable[[argparse.Namespace, TokenEngine], View],
    ) -> None:
        self._runner = runner
        self._options = options
        self._engine = engine
        self._ask = ask
        self._engine_of = engine_of
        self._agent_of = agent_of
        self._view_of = view_of
        self._agent = agent
        self._view = view_of(options, engine)
        self._transcript: Transcript | None = None
        self._before: list[Transcript | None] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/undo": self._undo,
            "/save": self._save,
            "/resume": self._resume,
            "/model": self._model,
            "/tools": self._tools,
            "/reasoning": self._reasoning,
            "/help": lambda _: _tell(_HELP),
        }

    def talk(self) -> None:
        """Until the end of the input."""
        _tell("Ask away; /help lists the commands, Ctrl-D leaves.")
        read_history(self._commands)
        while (line := _read()) is not None:
            if line.startswith("/"):
                self._obey(line)
            elif line.strip():
                self._question(line)

    def close(self) -> None:
        """End the tools, and release the model."""
        self._runner.run(self._agent.aclose())

    def _obey(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        command = self._commands.get(name)
        try:
            if command is None:
                raise UsageError(f"there is no {name}; /help lists the commands")
            command(rest.strip())
        except HarmonyError as error:
            _tell(str(error))

    def _question(self, text: str) -> None:
        run = self._ask(self._agent, text, self._transcript)
        try:
            self._runner.run(show(run, self._view))
        except KeyboardInterrupt:
            _tell("\nstopped")
        except HarmonyError as error:
            _tell(f"{error}; this question was left out")
            return
        self._before.append(self._transcript)
        self._transcript = run.transcript

    def _reset(self, _: str) -> None:
        self._transcript, self._before = None, []
        self._renew(self._engine)
        _tell("a new conversation")

    def _undo(self, _: str) -> None:
        if not self._before:
            raise UsageError("there is nothing to take back")
        self._transcript = self._before.pop()
        _tell("the last question is taken back")

    def _save(self, file: str) -> None:
        named = _named(file, "/save")
        if self._transcript is None:
            raise UsageError("there is nothing to save yet")
        save(self._transcript, named)
        _tell(f"saved; /resume {file} goes on with it")

    def _resume(self, file: str) -> None:
        self._transcript, self._before = resume(_named(file, "/resume")), []
        _tell(f"{len(self._transcript.messages)} messages; go on")

    def _model(self, name: str) -> None:
        if not name:
            return _tell(self._engine.name)
        old, changed = self._engine, self._changed(model=name)
        self._engine = self._engine_of(changed)
        self._options = changed
        self._renew(self._engine)
        self._runner.run(old.aclose())
        return _tell(f"{self._engine.name} goes on")

    def _tools(self, names: str) -> None:
        if not names:
            return _tell(self._options.tools)
        changed = self._changed(tools=names)
        self._agent_of(changed, self._engine)
        return self._from_next_conversation(changed)

    def _reasoning(self, level: str) -> None:
        if not level:
            return _tell(self._options.reasoning)
        if level in ("show", "hide"):
            self._options = self._changed(show_reasoning=level == "show")
            self._view = self._view_of(self._options, self._engine)
            return None
        if level not in _LEVELS:
            raise UsageError("say low, medium or high, or show or hide")
        return self._from_next_conversation(self._changed(reasoning=level))

    def _from_next_conversation(self, changed: argparse.Namespace) -> None:
        """Take options that the beginning of a conversation has told the model."""
        self._options = changed
        if self._transcript is None:
            self._renew(self._engine)
        else:
            _tell("from the next conversation on; /reset begins it")

    def _renew(self, engine: TokenEngine) -> None:
        """An agent with the options as they are now."""
        self._runner.run(self._agent.close_tools())
        self._agent = self._agent_of(self._options, engine)
        self._view = self._view_of(self._options, engine)

    def _changed(self, **options: object) -> argparse.Namespace:
        return argparse.Namespace(**(vars(self._options) | options))


def save(transcript: Transcript, file: str) -> None:
    """Write a conversation to a file, which must not hold anything but a saved conversation before."""
    path = Path(file)
    if path.exists():
        resume(file)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(transcript.to_json(), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def resume(file: str) -> Transcript:
    """A saved conversation. Raises UsageError and TranscriptError."""
    return Transcript.from_json(load_encoding(), read_text(file))


def read_history(words: Collection[str]) -> None:
    """Edit lines with what was typed in chats before, and complete `words`; only on a terminal."""
    if not sys.stdin.isatty() or sys.stdin is not sys.__stdin__:
        return
    import atexit
    import readline

    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "harmony"
    file = folder / "history"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    except OSError as error:
        _tell(f"no history: {file}: {error.strerror}")
        return
    readline.set_history_length(1000)
    atexit.register(readline.write_history_file, file)
    readline.set_completer_delims(" ")
    readline.set_completer(lambda text, n: [*(w for w in words if text and w.startswith(text)), None][n])
    readline.parse_and_bind("tab: complete")


def _read() -> str | None:
    """A line, or several that end in a backslash; None at the end of the input."""
    try:
        line = input("> ")
        while line.endswith("\\"):
            line = f"{line[:-1]}\n{input('… ')}"
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
    return line


def _named(file: str, command: str) -> str:
    if not file or file == "-":
        raise UsageError(f"name a file: {command} talk.json")
    return file


def _tell(text: str) -> None:
    print(printable(text), file=sys.stderr)
