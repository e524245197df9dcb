"""The browser behind the server: items, events, citations, and cursors from one request to the next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic
import pytest
from masked import Masked
from openai import OpenAI
from openai.types.responses import ResponseStreamEvent
from scripted import Scripted
from served import served

from harmony import load_encoding
from harmony.errors import ToolError
from harmony.server import Limits, create_app
from harmony.tools import Browser, function
from harmony.tools.browser import Local

EVENTS: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)
ANSWER = "It shuts at six【1†L2】, not【9†L1】 at nine【1†L0-L1】."
HOURS = "local:///hours.html"


def call(function: str, **arguments: object) -> str:
    return f"<|channel|>analysis to=browser.{function} code<|message|>{json.dumps(arguments)}<|call|>"


def final(text: str) -> str:
    return f"<|channel|>final<|message|>{text}<|return|>"


LOOKED_UP = (call("search", query="gate"), call("open", id=0), call("find", pattern="six"), final(ANSWER))


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """One over two pages, of which one tells of a gate."""
    (tmp_path / "hours.html").write_text(
        "<title>Hours</title><p>The gate opens at nine.</p><p>It shuts at six.</p>"
    )
    (tmp_path / "roses.html").write_text("<title>Roses</title><p>They like sun.</p>")
    return Browser(Local(tmp_path, index=":memory:"))


@contextmanager
def client(engine: Scripted, browser: Browser, **options: Any) -> Iterator[OpenAI]:
    with (
        served(engine, tools=[browser], **options) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai_client,
    ):
        yield openai_client


def annotations(response: Any) -> list[tuple[str, str, str, list[int]]]:
    """What is cited in the text, as the client's own types have it."""
    text, (part,) = response.output_text, response.output[-1].content
    return [(text[a.start_index : a.end_index], a.url, a.title, a.lines) for a in part.annotations]


def test_a_lookup_streams_its_items_and_annotations(browser: Browser) -> None:
    """Each call is a web search with the official events; no piece of the text ends inside a citation."""
    with (
        client(Scripted(*LOOKED_UP), browser) as c,
        c.responses.create(model="scripted", input="When?", stream=True) as stream,
    ):
        events = [EVENTS.validate_python(event.model_dump()) for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response = events[-1].response
    of_first = [event.type for event in events if getattr(event, "output_index", None) == 0]
    assert of_first == [
        "response.output_item.added",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
        "response.output_item.done",
    ]
    assert [item.action.model_dump(exclude_none=True) for item in response.output[:3]] == [
        {"type": "search", "query": "gate"},
        {"type": "open_page", "url": HOURS},
        {"type": "find_in_page", "pattern": "six", "url": HOURS},
    ]
    added = [e.annotation.to_dict() for e in events if e.type == "response.output_text.annotation.added"]
    assert added == [annotation.to_dict() for annotation in response.output[-1].content[0].annotations]
    kinds = [event.type for event in events]
    assert kinds.index("response.output_text.annotation.added") < kinds.index("response.output_text.done")
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == response.output_text == ANSWER
    assert all(delta.count("【") == delta.count("】") for delta in deltas)
    assert annotations(response) == [
        ("【1†L2】", HOURS, "Hours", [2, 2]),
        ("【1†L0-L1】", HOURS, "Hours", [0, 1]),
    ]


def test_a_call_that_fails_says_so(browser: Browser) -> None:
    """The model is told why, and goes on."""
    with client(Scripted(call("open", id=7), call("dance"), final("No.")), browser) as c:
        response = c.responses.create(model="scripted", input="When?")
    opened, danced, said = response.output
    assert opened.type == danced.type == "web_search_call"
    assert (opened.status, danced.status, said.type) == ("failed", "failed", "message")
    assert opened.action.to_dict() == {"type": "open_page", "url": ""}


def test_chat_has_annotations(browser: Browser) -> None:
    """Their places are those in the whole content, preambles and all; streamed they are the same."""
    preamble = "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant"
    turns = (preamble + LOOKED_UP[0], *LOOKED_UP[1:])
    messages: list[Any] = [{"role": "user", "content": "When?"}]
    with client(Scripted(*turns, *turns), browser) as c:
        whole = c.chat.completions.create(model="scripted", messages=messages).choices[0].message
        with c.chat.completions.stream(model="scripted", messages=messages) as stream:
            streamed = stream.get_final_completion().choices[0].message
    for message in (whole, streamed):
        content = message.content or ""
        assert content == f"Let me look.\n{ANSWER}"
        cited = [annotation.url_citation for annotation in message.annotations or ()]
        assert [content[c.start_index : c.end_index] for c in cited] == ["【1†L2】", "【1†L0-L1】"]
        assert {(c.url, c.title) for c in cited} == {(HOURS, "Hours")}


@pytest.mark.parametrize("by_id", [True, False])
def test_a_conversation_goes_on_with_its_pages(browser: Browser, by_id: bool) -> None:
    """Cursors count on and keep their meaning, by `previous_response_id` and when the items come back."""
    asked: list[Any] = [{"role": "user", "content": "When?"}]
    again: list[Any] = [{"role": "user", "content": "And the roses?"}]
    turns = (*LOOKED_UP[:3], final("Six【1†L2】."), call("open", id="roses.html"))
    engine = Scripted(
        *turns, final("Sun【3†L0】【1†L2】."), call("open", cursor=1), final("Six【3†L2】【1†L2】.")
    )
    with client(engine, browser) as c:
        first = c.responses.create(model="scripted", input=asked)
        items = again if by_id else [*asked, *(item.to_dict() for item in first.output), *again]
        previous: Any = {"previous_response_id": first.id} if by_id else {}
        second = c.responses.create(model="scripted", input=items, **previous)
        branch = c.responses.create(model="scripted", input=items, **previous)
    cited = [(text, url) for text, url, _, _ in annotations(second)]
    assert cited == [("【3†L0】", "local:///roses.html"), ("【1†L2】", HOURS)]
    assert [url for _, url, _, _ in annotations(branch)] == [HOURS, HOURS]


def test_conversations_have_pages_of_their_own(browser: Browser) -> None:
    """What one has displayed, another can neither cite nor open; nor does the given browser change."""
    engine = Scripted(*LOOKED_UP, call("open", cursor=0), final("Six【1†L2】."))
    with client(engine, browser) as c:
        assert annotations(c.responses.create(model="scripted", input="When?"))
        other = c.responses.create(model="scripted", input="What time?")
    assert annotations(other) == []
    assert "There is no page yet" in load_encoding().decode(engine.prompts[-1])
    assert browser.pages == ()


def test_a_page_that_was_not_kept_is_never_another(browser: Browser) -> None:
    """Where the server has forgotten a conversation, its old cursors lead nowhere, and new ones count on."""
    engine = Scripted(
        *LOOKED_UP,
        call("open", id="roses.html"),
        call("open", cursor=1),
        final("Sun【10†L0】, six【1†L2】, gone【11†L0】."),
    )
    with client(engine, browser, limits=Limits(kept_tokens=0)) as c:
        first = c.responses.create(model="scripted", input="When?")
        second = c.responses.create(model="scripted", input="And the roses?", previous_response_id=first.id)
    assert [(text, url) for text, url, _, _ in annotations(second)] == [("【10†L0】", "local:///roses.html")]
    assert "A page that is gone" in load_encoding().decode(engine.prompts[-1])


def test_an_invented_citation_takes_no_cursor(browser: Browser) -> None:
    """While the server keeps a conversation, the next page has the next cursor, as in a running agent."""
    engine = Scripted(call("search", query="gate"), final("Six【9†L1】."), call("open", id=0), final("Six."))
    with client(engine, browser) as c:
        first = c.responses.create(model="scripted", input="When?")
        c.responses.create(model="scripted", input="Sure?", previous_response_id=first.id)
    assert "<|message|>[1] Hours (" in load_encoding().decode(engine.prompts[-1])


def test_requests_share_what_the_pages_come_from(tmp_path: Path) -> None:
    """It stays open from one request to the next, and is closed with the application."""

    class Counted(Local):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1
            await super().aclose()

    backend = Counted(tmp_path, index=":memory:")
    with client(Scripted(*LOOKED_UP[:1], final("No.")), Browser(backend)) as c:
        assert c.responses.create(model="scripted", input="When?").output_text == "No."
        assert backend.closed == 0
    assert backend.closed == 1


def test_functions_are_not_served() -> None:
    """They are the client's to call; the error says what can be served."""

    @function
    def double(n: int) -> int:
        """Twice a number."""
        return 2 * n

    not_served: Any = [double]
    with pytest.raises(ToolError, match="Python and Browser can"):
        create_app(Scripted(), tools=not_served)


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview"])
def test_a_lookup_can_be_demanded(browser: Browser, kind: str) -> None:
    """By the names that OpenAI gives the tool; the first turn calls it, whatever the model wants."""
    with client(Masked("<|channel|>final<|message|>Hi.", final("No.")), browser) as c:
        choice: Any = {"type": kind}
        response = c.responses.create(model="scripted", input="Hi", tool_choice=choice)
    kinds = [item.type for item in response.output if item.type != "reasoning"]
    assert kinds == ["web_search_call", "message"]
