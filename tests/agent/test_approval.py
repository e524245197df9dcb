"""A call that waits for approval: the run ends, the session keeps it, and another process goes on."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted

from harmony import load_encoding
from harmony.agent import Agent, ApprovalRequested, Event, Session, SessionStore, ToolReturned
from harmony.errors import SessionError
from harmony.tools.approval import Decision
from harmony.tools.functions import function

ENCODING = load_encoding()
CALL = '<|channel|>commentary to=functions.delete <|constrain|>json<|message|>{"path": "/etc"}<|call|>'
FINAL = "<|channel|>final<|message|>Done.<|return|>"

RESUME = """
import asyncio, sys
from scripted import Scripted
from test_approval import FINAL, deleted, deleter
from harmony.agent import Agent, SessionStore

with SessionStore(sys.argv[1]) as store:
    agent = Agent(Scripted(FINAL), tools=[deleter()], approve=lambda *_: "later")
    result = asyncio.run(agent.run(None, session=store.open("s")))
print(result.stop_reason, result.text, deleted)
"""

deleted: list[str] = []


def deleter(approve: Any = None) -> Any:
    @function(approve=approve)
    def delete(path: str) -> str:
        """Delete a file."""
        deleted.append(path)
        return "gone"

    return delete


def later(tool: str, arguments: str) -> Decision:
    return "later"


@pytest.fixture(autouse=True)
def nothing_deleted() -> None:
    deleted.clear()


def run(session: Session, prompt: str | None, *turns: str, at: str = "agent") -> Sequence[Event]:
    """The events of a run whose calls, at the agent or at the function, are decided later."""

    async def go() -> Sequence[Event]:
        tools = [deleter(later if at == "function" else None)]
        agent = Agent(Scripted(*turns), tools=tools, approve=later if at == "agent" else None)
        return [event async for event in agent.stream(prompt, session=session)]

    return asyncio.run(go())


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with SessionStore(tmp_path / "sessions.db") as store:
        yield store


@pytest.mark.parametrize("at", ["agent", "function"])
def test_a_call_waits_and_runs_once_approved(store: SessionStore, at: str) -> None:
    """Nothing runs before; then the call as it was sampled does, and nobody is asked again."""
    events = run(store.session("s"), "Clean up.", CALL, at=at)
    asked, finished = events[-2:]
    assert asked == ApprovalRequested(tool="functions.delete", arguments='{"path": "/etc"}')
    assert (json.loads(finished.model_dump_json())["stop_reason"], deleted) == ("approval", [])
    assert store.list()[0].pending == "functions.delete"
    session = store.open("s")
    session.approve()
    (returned,) = (event for event in run(session, None, FINAL, at=at) if isinstance(event, ToolReturned))
    assert (returned.output, returned.error, deleted) == ("gone", False, ["/etc"])
    assert (store.open("s").decision, store.list()[0].pending) == (None, None)


def test_the_result_has_the_pending_call() -> None:
    """Without a session, the transcript goes on with an agent that says yes."""
    agent = Agent(Scripted(CALL), tools=[deleter()], approve=later)
    result = asyncio.run(agent.run("Clean up."))
    assert result.pending is not None
    assert (result.stop_reason, result.pending.arguments) == ("approval", '{"path": "/etc"}')
    willing = Agent(Scripted(FINAL), tools=[deleter()], approve=lambda *_: True)
    assert asyncio.run(willing.run(None, transcript=result.transcript)).text == "Done."
    assert deleted == ["/etc"]


def test_a_rejection_is_told_to_the_model(store: SessionStore) -> None:
    """With its reason; the call does not run."""
    run(store.session("s"), "Clean up.", CALL)
    store.open("s").reject("That is mine.")
    (returned,) = (e for e in run(store.open("s"), None, FINAL) if isinstance(e, ToolReturned))
    assert returned.error
    assert "The user refused this call of functions.delete" in returned.output
    assert returned.output.endswith("They said: That is mine.")
    assert deleted == []


def test_no_decision_is_no_approval(store: SessionStore) -> None:
    """Going on without one asks again, and the session waits as before."""
    run(store.session("s"), "Clean up.", CALL)
    before = store.open("s").transcript.tokens
    assert isinstance(run(store.open("s"), None)[-2], ApprovalRequested)
    assert store.open("s").transcript.tokens == before
    assert deleted == []


def test_another_process_goes_on(store: SessionStore, tmp_path: Path) -> None:
    """The decision is made here, the call runs there."""
    run(store.session("s"), "Clean up.", CALL)
    store.open("s").approve()
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "support")]
    done = subprocess.run(
        [sys.executable, "-c", RESUME, str(tmp_path / "sessions.db")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "answer Done. ['/etc']\n", done.stderr
    assert "gone" in ENCODING.decode(store.open("s").transcript.tokens)


def test_an_approval_is_of_one_call_alone(store: SessionStore) -> None:
    """The next call waits again, be it word for word the same."""
    run(store.session("s"), "Clean up.", CALL)
    store.open("s").approve()
    assert isinstance(run(store.open("s"), None, CALL)[-2], ApprovalRequested)
    assert deleted == ["/etc"]
    assert store.open("s").decision is None


def test_an_approval_does_not_reach_the_runs_inside_a_tool(store: SessionStore) -> None:
    """An agent that runs in an approved tool asks for its own calls."""
    inner = Agent(Scripted(CALL, FINAL), tools=[deleter()], approve=lambda *_: False)

    @function
    async def delete(path: str) -> str:
        """Delete with an agent."""
        return (await inner.run(f"Delete {path}.")).text

    async def go(prompt: str | None) -> None:
        turns = [CALL] if prompt else [FINAL]
        agent = Agent(Scripted(*turns), tools=[delete], approve=later)
        await agent.run(prompt, session=store.session("s"))

    asyncio.run(go("Clean up."))
    store.open("s").approve()
    asyncio.run(go(None))
    assert deleted == []
    assert store.open("s").pending is None


def test_a_new_question_takes_the_place_of_a_decision(store: SessionStore) -> None:
    """The call is answered as not run, and what was decided on it is forgotten."""
    run(store.session("s"), "Clean up.", CALL)
    store.open("s").approve()
    run(store.open("s"), "Never mind.", FINAL)
    assert (deleted, store.open("s").decision) == ([], None)


def test_only_a_pending_call_can_be_decided_on(store: SessionStore) -> None:
    """And only by who has seen the call that is pending now."""
    session = store.session("s")
    for decide in (session.approve, session.reject):
        with pytest.raises(SessionError, match="no call is pending"):
            decide()
    run(store.open("s"), "Clean up.", CALL)
    seen = store.open("s")
    run(store.open("s"), "Rather this.", CALL)
    with pytest.raises(SessionError, match="was changed"):
        seen.approve()
