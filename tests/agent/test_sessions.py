"""Sessions: saved as a run goes on, exact to the token, resumed after kill -9, edited, branched, listed."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Scripted

from harmony import Message, Role, Transcript, load_encoding
from harmony.agent import Agent, Limits, SessionStore, TextDelta
from harmony.errors import SessionError
from harmony.tools.functions import function

ENCODING = load_encoding()
THOUGHT = "<|channel|>analysis<|message|>Double it.<|end|><|start|>assistant"
CALL = (
    THOUGHT + '<|channel|>commentary to=functions.double <|constrain|>json<|message|>{"number": 21}<|call|>'
)
FINAL = "<|channel|>final<|message|>It is 42.<|return|>"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), TEXT),
        st.tuples(
            st.just("sampled"), st.sampled_from([CALL, FINAL, "<|channel|>final<|message|>cut", "junk"])
        ),
        st.tuples(st.just("ids"), st.lists(st.integers(0, 201_087), min_size=1, max_size=9)),
    ),
    max_size=8,
)

CHILD = """
import asyncio, sys
from scripted import Scripted
from harmony import load_encoding
from test_sessions import CALL, double
from harmony.agent import Agent, SessionStore, TextDelta

class Stalls(Scripted):
    async def generate(self, prompt, sampling, *, stop):
        async for token in super().generate(prompt, sampling, stop=stop):
            yield token
            if len(self.prompts) == 3 and token.token == load_encoding().encode(" It")[0]:
                print("stalled", flush=True)
                await asyncio.sleep(600)

session = SessionStore(sys.argv[1]).session("work")
engine = Stalls(CALL, CALL, "<|channel|>final<|message|>It It It It<|return|>")
asyncio.run(Agent(engine, tools=[double]).run("What is twice 21?", session=session))
"""


@function
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def ask(store: SessionStore, *turns: str, prompt: str | None = "Twice 21?", **options: object) -> Scripted:
    """Run scripted turns in the session "s"."""
    engine = Scripted(*turns)
    agent = Agent(engine, tools=[double], **options)  # type: ignore[arg-type]
    asyncio.run(agent.run(prompt, session=store.session("s")))
    return engine


def test_a_session_goes_on_in_another_process(path: Path) -> None:
    """Opened from the file, the tokens are those of the run, and the next prompt goes on from them."""
    with SessionStore(path) as store:
        asyncio.run(Agent(Scripted(CALL, FINAL), tools=[double]).run("One?", session=store.session("s")))
    agent = Agent(Scripted(CALL, FINAL), tools=[double])
    first = asyncio.run(agent.run("One?"))
    with SessionStore(path) as store:
        session = store.open("s")
        assert session.transcript.tokens == first.transcript.tokens
        assert session.transcript.said == first.transcript.said
        saved, kept = Scripted(FINAL), Scripted(FINAL)
        asyncio.run(Agent(saved, tools=[double]).run("Two?", session=session))
        asyncio.run(Agent(kept, tools=[double]).run("Two?", transcript=first.transcript))
        assert saved.prompts == kept.prompts


def test_a_killed_process_loses_the_turn_in_flight_alone(path: Path) -> None:
    """Killed while it sampled its third turn, the run goes on from the second as if nothing had been."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "support")]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert line == b"stalled\n"
    whole = Scripted(CALL, CALL, FINAL)
    result = asyncio.run(Agent(whole, tools=[double]).run("What is twice 21?"))
    with SessionStore(path) as store:
        session = store.open("work")
        assert session.transcript.prompt == whole.prompts[2]
        resumed = Scripted(FINAL)
        asyncio.run(Agent(resumed, tools=[double]).run(None, session=session))
        assert resumed.prompts == whole.prompts[2:]
        assert store.open("work").transcript.tokens == result.transcript.tokens


@settings(max_examples=60)
@given(TURNS)
def test_any_transcript_is_kept_exactly(turns: list[tuple[str, str | list[int]]]) -> None:
    """After every turn, what is saved is what is in memory: tokens, messages, what was sampled."""
    with SessionStore(":memory:") as store:
        session, transcript = store.session("s"), Transcript(ENCODING, drop_rule="nothing")
        session = store.create("t", transcript)
        for kind, what in turns:
            if kind == "user":
                transcript.append(Message.from_role_and_content(Role.USER, str(what)))
            else:
                sampled = ENCODING.encode(what, allowed_special="all") if isinstance(what, str) else what
                transcript.append_sampled(sampled)
            session.save(transcript)
            for saved in (session.transcript, store.open("t").transcript):
                assert saved.tokens == transcript.tokens
                assert saved.said == transcript.said
                assert saved.sampled_mask == transcript.sampled_mask
                assert saved.drop_rule == transcript.drop_rule


def test_a_stopped_run_is_saved(path: Path) -> None:
    """A stream that is closed half-way leaves what was said in the file, closed."""

    async def stop_early(store: SessionStore) -> None:
        run = Agent(Scripted(FINAL)).stream("Hi", session=store.session("s"))
        async for event in run:
            if isinstance(event, TextDelta):
                break
        await run.aclose()

    with SessionStore(path) as store:
        asyncio.run(stop_early(store))
        assert ENCODING.decode(store.open("s").transcript.tokens).endswith("final<|message|>It<|end|>")


def test_a_run_goes_on_after_its_limit() -> None:
    """Without a prompt, a call that a limit left open runs, and the model answers."""
    with SessionStore(":memory:") as store:
        ask(store, CALL, limits=Limits(turns=1))
        pending = store.open("s").pending
        assert pending is not None
        assert (pending.recipient, pending.arguments) == ("functions.double", '{"number": 21}')
        (prompt,) = ask(store, FINAL, prompt=None).prompts
        assert "functions.double to=assistant<|channel|>commentary<|message|>42<|end|>" in ENCODING.decode(
            prompt
        )
        assert store.open("s").pending is None


def test_a_new_question_answers_a_call_that_was_left_open() -> None:
    """The model reads that its call came to nothing, so that every call has its answer."""
    with SessionStore(":memory:") as store:
        ask(store, CALL, limits=Limits(turns=1))
        (prompt,) = ask(store, FINAL, prompt="Never mind.").prompts
        assert "Error: this call did not run to its end" in ENCODING.decode(prompt)


def test_undo_takes_the_last_question_back() -> None:
    """The question comes back as text, and what is left is what was there before it."""
    with SessionStore(":memory:") as store:
        ask(store, FINAL)
        before = store.open("s").transcript.tokens
        ask(store, CALL, FINAL, prompt="And 22?")
        assert store.open("s").undo() == "And 22?"
        assert store.open("s").transcript.tokens == before
        assert store.open("s").undo() == "Twice 21?"
        with pytest.raises(SessionError, match="nothing was asked"):
            store.open("s").undo()


def test_an_edit_changes_one_message_alone() -> None:
    """The others keep their tokens, sampled ones as they were sampled."""
    with SessionStore(":memory:") as store:
        ask(store, CALL, FINAL)
        said = store.open("s").transcript.said
        index = next(i for i, s in enumerate(said) if s.message and s.message.author.role == Role.USER)
        store.open("s").edit(index, Message.from_role_and_content(Role.USER, "Twice 20 + 1?"))
        edited = store.open("s").transcript
        assert "Twice 20 + 1?" in ENCODING.decode(edited.tokens)
        assert edited.said[:index] == said[:index]
        assert edited.said[index + 1 :] == said[index + 1 :]


def test_a_branch_goes_on_by_itself() -> None:
    """What is said in it is not said in the session that it came from, nor the other way round."""
    with SessionStore(":memory:") as store:
        ask(store, FINAL)
        session = store.open("s")
        branch, earlier = session.branch(session_id="b"), session.branch(before=2)
        ask(store, FINAL, prompt="More.")
        assert store.open("b").transcript.tokens == session.transcript.tokens == branch.transcript.tokens
        assert len(earlier.transcript.said) == 2
        store.delete("s")
        assert "s" not in store
        assert store.open("b").transcript.said == session.transcript.said
        with pytest.raises(SessionError, match="there is a session 'b' already"):
            branch.branch(session_id="b")


def test_a_list_shows_the_last_used_first() -> None:
    """With title, length and parent."""
    with SessionStore(":memory:") as store:
        store.session("empty")
        ask(store, FINAL, prompt="  What is\ntwice 21? " + "x" * 200)
        store.open("s").branch(session_id="b")
        branch, session, empty = store.list()
        assert (branch.id, branch.parent, session.parent, empty.title) == ("b", "s", None, "")
        assert session.title == "What is twice 21? " + "x" * 62
        assert session.segments == 4
        assert session.created <= session.updated <= branch.updated


def test_two_processes_cannot_overwrite_each_other(path: Path) -> None:
    """Who opened the session before another changed it gets an error, and nothing of the other is lost."""
    with SessionStore(path) as one, SessionStore(path) as other:
        late = one.session("s")
        ask(other, FINAL)
        with pytest.raises(SessionError, match="was changed or deleted since it was opened"):
            asyncio.run(Agent(Scripted(FINAL)).run("Hi", session=late))
        assert "It is 42." in ENCODING.decode(one.open("s").transcript.tokens)


def test_two_runs_cannot_share_a_session() -> None:
    """The second is refused while the first goes on, and runs after it."""

    async def both(store: SessionStore) -> None:
        session, agent = store.session("s"), Agent(Scripted(FINAL, FINAL))
        run = agent.stream("One", session=session)
        await anext(aiter(run))
        with pytest.raises(SessionError, match="a run goes on"):
            await agent.run("Two", session=session)
        await run.aclose()
        await agent.run("Two", session=session)

    with SessionStore(":memory:") as store:
        asyncio.run(both(store))


def test_a_run_that_was_made_before_another_cannot_undo_it() -> None:
    """Made together, the second would not know what was said in the first."""

    async def both(store: SessionStore) -> None:
        session, agent = store.session("s"), Agent(Scripted(FINAL, FINAL))
        first, second = (agent.stream(prompt, session=session) for prompt in ("One", "Two"))
        async for _ in first:
            pass
        with pytest.raises(SessionError, match="has changed since this run was made"):
            await anext(aiter(second))
        assert "It is 42." in ENCODING.decode(store.open("s").transcript.tokens)

    with SessionStore(":memory:") as store:
        asyncio.run(both(store))


def test_a_session_excludes_a_transcript() -> None:
    """Which one it goes on with would be a guess."""
    with SessionStore(":memory:") as store, pytest.raises(ValueError, match="not with both"):
        Agent(Scripted()).stream("Hi", session=store.session(), transcript=Transcript(ENCODING))


def test_there_has_to_be_something_to_go_on_with() -> None:
    """Without a prompt, an empty session is refused as no session is."""
    with SessionStore(":memory:") as store:
        for options in ({}, {"session": store.session()}, {"transcript": Transcript(ENCODING)}):
            with pytest.raises(ValueError, match="nothing to go on with"):
                Agent(Scripted()).stream(None, **options)  # type: ignore[call-overload]


def test_a_full_disk_loses_nothing_that_was_saved(path: Path) -> None:
    """What does not fit is an error, the session stays as it was, and goes on when there is room again."""
    with SessionStore(path) as store:
        ask(store, FINAL)
        before = store.open("s").transcript.tokens
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SessionError, match="full"):
            ask(store, FINAL, prompt="long " * 5000)
        assert store.open("s").transcript.tokens == before
        store._database.execute("PRAGMA max_page_count = 1000000")
        ask(store, FINAL, prompt="long " * 5000)
        assert len(store.open("s").transcript.tokens) > 5000


def test_what_is_not_there_is_said(path: Path) -> None:
    """An id that is not in the file, to open or to delete."""
    with SessionStore(path) as store:
        for action in (store.open, store.delete):
            with pytest.raises(SessionError, match=r"there is no session 'x' in .*sessions\.db"):
                action("x")


def test_a_file_that_is_no_store_is_refused(path: Path, tmp_path: Path) -> None:
    """Neither another file, nor a folder, nor a store of a later version is touched."""
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(SessionError, match="not a database"):
        SessionStore(path)
    with pytest.raises(SessionError, match="cannot be opened"):
        SessionStore(tmp_path / "none" / "s.db")
    later = sqlite3.connect(tmp_path / "later.db")
    later.execute("PRAGMA user_version = 9")
    later.close()
    with pytest.raises(SessionError, match="of a later version"):
        SessionStore(tmp_path / "later.db")


@pytest.mark.parametrize(
    "damage",
    ["tokens = x'00'", "tokens = x''", "message = '{'", "sampled_stop = 999", "sampled_start = 'x'"],
)
def test_a_damaged_session_is_told(path: Path, damage: str) -> None:
    """What is in the file is data: it is checked as it is read."""
    with SessionStore(path) as store:
        ask(store, FINAL)
        store._database.execute(f"UPDATE segments SET {damage} WHERE position = 1")
        with pytest.raises(SessionError, match="is damaged"):
            store.open("s")


def test_others_cannot_read_the_file(path: Path) -> None:
    """It is made for its owner alone, the write-ahead log too."""
    with SessionStore(path) as store:
        ask(store, FINAL)
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
