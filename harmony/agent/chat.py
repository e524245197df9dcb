"""A chat in the terminal: questions, and commands that begin with a slash."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from shutil import get_terminal_size
from typing import Any

from harmony.agent.agent import Agent
from harmony.agent.kept import UNSAVED, Sessions, read_history
from harmony.agent.plain import View
from harmony.agent.run import Run
from harmony.agent.session import Session
from harmony.agent.session_store import SessionInfo
from harmony.agent.terminal import show
from harmony.errors import HarmonyError, SessionError, UsageError
from harmony.printable import printable
from harmony.runtime.generation import TokenEngine

_HELP = """\
/reset               begin a new conversation
/undo                take back the last question and its answer
/continue            go on with an answer that was stopped or cut off
/save NAME           keep the conversation, and from now on every turn of it
/resume NAME         go on with a saved conversation; without a name: list them
/delete NAME         forget a saved conversation
/model NAME          go on with another model
/tools LIST          other tools, as with --tools, from the next conversation on
/reasoning LEVEL     low, medium or high, from the next conversation on
/reasoning show      show the reasoning from now on; hide: no longer
/help                this list
A line that ends in \\ goes on in the next one; a question may begin with a slash after a space.
Tab completes commands and names.
Ctrl-C stops an answer; at the prompt it leaves, as Ctrl-D does."""
_LEVELS = ("low", "medium", "high")
_SEEN = ("show", "hide")


class Chat:
    """Its state, and what its commands do to it.

    `ask` puts a question to an agent, or has it go on, in a session; `engine_of`, `agent_of` and `view_of`
    make one from the options of the command line, which the commands change.
    """

    def __init__(
        self,
        runner: asyncio.Runner,
        options: argparse.Namespace,
        engine: TokenEngine,
        agent: Agent,
        sessions: Sessions,
        session: Session | None,
        *,
        ask: Callable[[Agent, str | None, Session], Run[Any]],
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
        self._sessions = sessions
        self._session = session or sessions.unsaved()
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/undo": self._undo,
            "/continue": self._continue,
            "/save": self._save,
            "/resume": self._resume,
            "/delete": self._delete,
            "/model": self._model,
            "/tools": self._tools,
            "/reasoning": self._reasoning,
            "/help": lambda _: _tell(_HELP),
        }

    def talk(self) -> None:
        """Until the end of the input."""
        _tell("Ask away; /help lists the commands, Ctrl-D leaves.")
        if self._session.id != UNSAVED:
            self._tell_where_it_stands()
        try:
            keep = read_history(self._completions)
        except OSError as error:
            _tell(f"no history: {error}")
            keep = _forget
        while (line := _read(keep)) is not None:
            try:
                if line.startswith("/"):
                    self._obey(line)
                elif line.strip():
                    self._answer(line)
            except HarmonyError as error:
                _tell(str(error))

    def close(self) -> None:
        """End the tools, and release the model."""
        self._runner.run(self._agent.close_tools())
        self._runner.run(self._engine.aclose())

    def _obey(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise UsageError(f"there is no {name}; /help lists the commands")
        command(rest.strip())

    def _answer(self, text: str | None) -> None:
        """Have a question answered, or without one the last; the session keeps what is said."""
        before = self._session.transcript
        run = self._ask(self._agent, text, self._session)
        try:
            self._runner.run(show(run, self._view))
        except KeyboardInterrupt:
            _tell("\nstopped; /continue goes on")
        except SessionError:
            raise
        except HarmonyError as error:
            self._session.save(before)
            _tell(f"{error}; {'this question was left out' if text else 'nothing was added'}")

    def _reset(self, _: str) -> None:
        self._session = self._sessions.unsaved()
        self._renew(self._engine)
        _tell("a new conversation")

    def _undo(self, _: str) -> None:
        question = self._session.undo()
        _tell(f"taken back: {question}")

    def _continue(self, _: str) -> None:
        if not self._session.messages:
            raise UsageError("there is nothing to go on with; ask something")
        self._answer(None)

    def _save(self, name: str) -> None:
        if not name:
            raise UsageError("give it a name: /save trip")
        if not self._session.messages:
            raise UsageError("there is nothing to save yet")
        parent = None if self._session.id == UNSAVED else self._session.id
        self._session = self._sessions.store.create(name, self._session.transcript, parent=parent)
        _tell(f"saved, as every turn from now on; /resume {name} goes on with it at any time")

    def _resume(self, name: str) -> None:
        if not name:
            return self._list()
        self._session = self._sessions.store.open(name)
        return self._tell_where_it_stands()

    def _delete(self, name: str) -> None:
        if not name:
            raise UsageError("name a saved conversation: /delete trip; /resume lists them")
        if name == self._session.id:
            raise UsageError(f"{name} is this conversation; /reset begins another, /delete {name} then")
        self._sessions.store.delete(name)
        _tell(f"{name} is deleted")

    def _list(self) -> None:
        saved = self._sessions.store.list()
        if not saved:
            raise UsageError("nothing is saved yet; /save NAME does it")
        width = max(len(info.id) for info in saved)
        for info in saved:
            _tell(_line(info, width))

    def _tell_where_it_stands(self) -> None:
        last = self._session.messages[-1:]
        answered = all(message.channel == "final" for message in last)
        todo = "go on" if answered else "the last question is not answered; /continue goes on with it"
        _tell(f"{self._session.id}: {len(self._session.messages)} messages; {todo}")

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
        if level in _SEEN:
            self._options = self._changed(show_reasoning=level == "show")
            self._view = self._view_of(self._options, self._engine)
            return None
        if level not in _LEVELS:
            raise UsageError("say low, medium or high, or show or hide")
        return self._from_next_conversation(self._changed(reasoning=level))

    def _from_next_conversation(self, changed: argparse.Namespace) -> None:
        """Take options that the beginning of a conversation has told the model."""
        self._options = changed
        if self._session.messages:
            _tell("from the next conversation on; /reset begins it")
        else:
            self._renew(self._engine)

    def _renew(self, engine: TokenEngine) -> None:
        """An agent with the options as they are now."""
        self._runner.run(self._agent.close_tools())
        self._agent = self._agent_of(self._options, engine)
        self._view = self._view_of(self._options, engine)

    def _completions(self, typed: str) -> Sequence[str]:
        """The lines that begin with what is typed: commands, names of sessions, levels."""
        if " " not in typed:
            return [name for name in self._commands if typed and name.startswith(typed)]
        command, _, begun = typed.partition(" ")
        return [f"{command} {word}" for word in self._values(command) if word.startswith(begun)]

    def _values(self, command: str) -> Sequence[str]:
        match command:
            case "/resume" | "/delete":
                return [info.id for info in self._sessions.store.list()]
            case "/reasoning":
                return [*_LEVELS, *_SEEN]
            case _:
                return []

    def _changed(self, **options: object) -> argparse.Namespace:
        return argparse.Namespace(**(vars(self._options) | options))


def _read(keep: Callable[[str], None]) -> str | None:
    """A line, or several that end in a backslash, each of them kept; None at the end of the input."""
    lines: list[str] = []
    try:
        while not lines or lines[-1].endswith("\\"):
            lines.append(input("… " if lines else "> "))
            if lines[-1]:
                keep(lines[-1])
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
    return "\n".join([*(line[:-1] for line in lines[:-1]), lines[-1]])


def _forget(_: str) -> None:
    """Keep no history."""


def _line(info: SessionInfo, width: int) -> str:
    """A saved conversation in one line of the terminal: its name, when it was used last, how it began."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.updated))
    return f"{info.id:{width}}  {when}  {info.title}"[: get_terminal_size().columns - 1]


def _tell(text: str) -> None:
    print(printable(text), file=sys.stderr)
