"""The command on a terminal, a real one: what is left on it, at 80 columns and at 20."""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from screen_model import ScreenModel

SUPPORT = Path(__file__).resolve().parent.parent / "support"
PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from scripted import Scripted
from harmony.agent import __main__ as command
from harmony.agent import loading
from harmony.tools.citations import Citation

class Slow(Scripted):
    async def generate(self, *given, **named):
        async for token in super().generate(*given, **named):
            await asyncio.sleep(0.02)
            yield token

turns = [
    "<|channel|>analysis<|message|>Secret thoughts.<|end|><|start|>assistant<|channel|>commentary "
    'to=functions.add <|constrain|>json<|message|>{"a": 40, "b": 2}<|call|>',
    "<|channel|>final<|message|>It is 42, \\x1b[2Jas a page 【0†L1】 says.<|return|>",
]
engine = Slow(*turns * 3)
loading.load_engine = lambda *_, **__: engine
from harmony.agent.routing import Toolbox
cited = Citation(26, 32, "https://example.org/a", "A page", (1, 1))
Toolbox.citations = lambda self, text: (cited,) * bool(text)
sys.exit(command.main(sys.argv[2:]))
"""


def on_terminal(
    tmp_path: Path,
    width: int,
    *arguments: str,
    typed: Sequence[bytes | Callable[[], bytes]] = (),
    prompt: bytes = b"> ",
    **environment: str,
) -> tuple[ScreenModel, str]:
    """Run the command on a terminal of this width; what is on it then, and all that was written.

    Each of `typed` is typed when the `prompt` is shown, or done, to type what it gives.
    """
    (tmp_path / "sums.py").write_text(
        'def add(a: int, b: int) -> int:\n    """The sum."""\n    return a + b\n'
    )
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    cleared = {"NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TERM"}
    given = {name: value for name, value in os.environ.items() if name not in cleared}
    given |= {"TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path / "state")} | environment
    command = [sys.executable, "-c", PROGRAM, str(SUPPORT), "--model", "m", "--tools", "sums:add", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=given, start_new_session=True
    ) as process:
        os.close(theirs)
        written, prompts, waiting = b"", 0, list(typed)
        with contextlib.suppress(OSError):  # a terminal that its last program has left
            while select.select([ours], [], [], 60)[0]:
                written += os.read(ours, 65536)
                if waiting and written.count(prompt) > prompts:
                    prompts = written.count(prompt)
                    typing = waiting.pop(0)
                    os.write(ours, typing if isinstance(typing, bytes) else typing())
        assert process.wait() == 0, written.decode()
    os.close(ours)
    output = written.decode(errors="replace")
    screen = ScreenModel(width)
    if not typed:
        screen.feed(output)
    return screen, output


@pytest.mark.parametrize("width", [80, 20])
def test_what_is_left_is_what_was_said(tmp_path: Path, width: int) -> None:
    """Reasoning is folded, the tool has its pane, the answer is whole; nothing that moved is left."""
    screen, output = on_terminal(tmp_path, width, "What is 40 + 2?")
    shown = "\n".join(screen.rows)
    flat = shown.replace("\n", "")
    assert "Secret" not in output
    assert "thought for" in shown
    assert "thinking" in output
    assert "thinking" not in shown
    assert "reading" not in shown
    assert "running" not in shown
    assert "It is 42, <U+001B>[2Jas a page 【0†L1】 says." in flat
    assert "tok/s" in flat
    edges = [row for row in screen.rows if row.startswith(("╭", "╰"))]
    assert len(edges) == 4
    assert all(len(row) == width and row.endswith(("╮", "╯")) for row in edges)
    assert "functions.add" in edges[0]
    assert '"b":' in shown


def test_the_answer_is_written_once(tmp_path: Path) -> None:
    """No block is drawn again: each piece of the answer, and each pane, is in the output one time."""
    _, output = on_terminal(tmp_path, 80, "What is 40 + 2?")
    assert output.count("It is 42") == 1
    assert output.count("╭") == 2


def test_citations_are_links(tmp_path: Path) -> None:
    """The page that is cited can be opened from the terminal."""
    screen, _ = on_terminal(tmp_path, 80, "What is 40 + 2?")
    assert "https://example.org/a" in screen.links


def test_no_color_leaves_colours_out(tmp_path: Path) -> None:
    """NO_COLOR, as https://no-color.org has it; a terminal that can do nothing gets plain lines."""

    def coloured(screen: ScreenModel) -> bool:
        codes = [code for given, final in screen.sequences if final == "m" for code in given.split(";")]
        return any(code.isdigit() and 30 <= int(code) <= 107 for code in codes)

    assert coloured(on_terminal(tmp_path, 80, "?")[0])
    assert not coloured(on_terminal(tmp_path, 80, "?", NO_COLOR="1")[0])
    assert "\x1b" not in on_terminal(tmp_path, 80, "?", TERM="dumb")[1]


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    """No line of it is drawn again, and none is empty."""
    _, output = on_terminal(tmp_path, 80, "What is 40 + 2?", TERM="dumb")
    assert "\x1b" not in output
    assert [line for line in output.split("\r\n") if not line] == [""]


@pytest.mark.parametrize(("typed", "told"), [(b"y\n", " 42   "), (b"n\n", "refused")])
def test_nothing_moves_while_a_call_is_asked_for(tmp_path: Path, typed: bytes, told: str) -> None:
    """The question stands below the pane of the call, and the answer to it counts."""
    _, output = on_terminal(tmp_path, 80, "--ask", "?", typed=[typed], prompt=b"[y/N] ")
    before, _, after = output.partition("run functions.add? [y/N] ")
    assert "╰" in before
    assert "running" not in output
    assert told in after


def test_json_has_nothing_but_lines(tmp_path: Path) -> None:
    """--json moves nothing, on a terminal too."""
    _, output = on_terminal(tmp_path, 80, "--json", "?")
    assert all(line.startswith("{") for line in output.splitlines())
    assert "\x1b" not in output


def test_a_chat_keeps_what_was_typed(tmp_path: Path) -> None:
    """The history is there in the next chat, in a file that only its user can read."""
    on_terminal(tmp_path, 80, typed=[b"What is 40 + 2?\n", b"/help\n", b"\x04"])
    history = tmp_path / "state" / "harmony" / "history"
    assert history.read_text() == "What is 40 + 2?\n/help\n"
    assert history.stat().st_mode & 0o077 == 0
    _, output = on_terminal(tmp_path, 80, typed=[b"\x1b[A\x1b[A\n", b"\x04"])
    assert output.count("It is 42") == 1


def test_chats_at_the_same_time_keep_what_was_typed_in_all(tmp_path: Path) -> None:
    """Each line at once, and none in place of another's."""
    history = tmp_path / "state" / "harmony" / "history"

    def in_another() -> bytes:
        on_terminal(tmp_path, 80, typed=[b"/help\n", b"\x04"])
        return b"/reasoning\n"

    on_terminal(tmp_path, 80, typed=[b"/tools\n", in_another, b"\x04"])
    assert history.read_text() == "/tools\n/help\n/reasoning\n"


def test_the_history_keeps_the_last_thousand_lines(tmp_path: Path) -> None:
    """It is cut down where it has become twice as long."""
    history = tmp_path / "state" / "harmony" / "history"
    history.parent.mkdir(parents=True)
    history.write_text("".join(f"{number}\n" for number in range(2001)))
    on_terminal(tmp_path, 80, typed=[b"/tools\n", b"\x04"])
    lines = history.read_text().splitlines()
    assert (lines[0], lines[-2:]) == ("1001", ["2000", "/tools"])


def test_a_byte_that_is_no_character_ends_no_chat(tmp_path: Path) -> None:
    """It is read as U+FFFD, where Python would not take it, too."""
    typed = [b"/\xff\n", b"\x04"]
    _, output = on_terminal(tmp_path, 80, typed=typed, PYTHONIOENCODING="utf-8:strict")
    assert "there is no /\N{REPLACEMENT CHARACTER}" in output
