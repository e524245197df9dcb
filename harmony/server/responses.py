"""A generation in the words of the Responses API: items and events in the official order.

Source: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from harmony.call_ids import random_id
from harmony.server.generation import Closed, Delta, Opened, Returned
from harmony.server.hosted import hosted, url_citation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.agent.events import Usage
    from harmony.server.generation import Generation, Step
    from harmony.server.requests import Asked
    from harmony.tools.citations import Citation

Json = dict[str, Any]

_PARTS: Final = {"reasoning": "reasoning_text", "commentary": "output_text", "final": "output_text"}
_PHASES: Final = {"commentary": "commentary", "final": "final_answer"}


class ResponseWriter:
    """Writes one response: every step of a generation becomes events, and the items grow with them."""

    named_events = True

    def __init__(self, asked: Asked) -> None:
        body = asked.body
        self._sequence = 0
        self._opened: Opened | None = None
        self._grows: Json | None = None
        self._output: list[Json] = []
        self.id = random_id("resp")
        self.body: Json = {
            "id": self.id,
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "model": body["model"],
            "output": self._output,
            "parallel_tool_calls": False,
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": {"effort": asked.effort, "summary": None},
            "store": body.get("store") is not False,
            "temperature": asked.sampling.temperature,
            "text": {"format": {"type": "text"}, **(body.get("text") or {})},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": [{"strict": False, **tool} for tool in asked.tools],
            "top_p": asked.sampling.top_p,
            "truncation": "disabled",
            "usage": None,
        }

    @property
    def said(self) -> list[Json]:
        """The items that a client would send back."""
        return self._output

    def begin(self) -> Iterator[Json]:
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response={**self.body, "output": []})

    def take(self, step: Step) -> Iterator[Json]:
        match step:
            case Opened():
                self._opened = step
                yield from self._open(step)
                self._grows = self._growing(step)
            case Delta(text) if self._grows is not None:
                yield self._event(**self._grows, delta=text)
            case Closed():
                yield from self._close(step)
            case Returned():
                yield from self._returned(step)

    def finish(self, generation: Generation) -> Iterator[Json]:
        cut = generation.finish == "length"
        self.body["status"] = "incomplete" if cut else "completed"
        self.body["completed_at"] = None if cut else int(time.time())
        if cut:
            self.body["incomplete_details"] = {"reason": "max_output_tokens"}
        self.body["usage"] = _usage(generation.usage)
        yield self._event(f"response.{self.body['status']}", response=self.body)

    def fail(self, message: str) -> Iterator[Json]:
        self.body["status"] = "failed"
        self.body["error"] = {"code": "server_error", "message": message}
        yield self._event("response.failed", response=self.body)

    def _event(self, kind: str, **fields: Any) -> Json:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _place(self) -> Json:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _at_item(self, kind: str, **fields: Any) -> Json:
        return self._event(kind, **self._place(), **fields)

    def _at_part(self, kind: str, **fields: Any) -> Json:
        return self._at_item(kind, content_index=0, **fields)

    def _open(self, opened: Opened) -> Iterator[Json]:
        if (item := _new_item(opened)) is None:
            return
        self._output.append(item)
        index = len(self._output) - 1
        yield self._event("response.output_item.added", output_index=index, item={**item})
        if opened.kind == "builtin":
            yield self._at_item(f"response.{item['type']}.in_progress")
        elif opened.kind != "call":
            yield self._at_part("response.content_part.added", part=_part(opened, ""))

    def _growing(self, opened: Opened) -> Json | None:
        """What all events say by which the open item grows; None for what grows unseen."""
        match opened:
            case Opened("call"):
                about: Json = {"kind": "response.function_call_arguments.delta"}
            case Opened("builtin", name) if (written := hosted(name)) and written.shows_code:
                about = {"kind": f"response.{written.item}_code.delta"}
            case Opened("reasoning"):
                about = {"kind": "response.reasoning_text.delta", "content_index": 0}
            case Opened("final" | "commentary"):
                about = {"kind": "response.output_text.delta", "content_index": 0, "logprobs": []}
            case _:
                return None
        return {**about, **self._place()}

    def _close(self, closed: Closed) -> Iterator[Json]:
        opened, text = self._opened, closed.text
        match opened:
            case Opened("call", name):
                self._output[-1]["arguments"] = text
                yield self._at_item("response.function_call_arguments.done", arguments=text, name=name)
            case Opened("builtin", name):
                if (written := hosted(name)) is None:
                    return
                if written.shows_code:
                    self._output[-1]["code"] = text
                    yield self._at_item(f"response.{written.item}_code.done", code=text)
                if closed.complete:
                    yield self._at_item(f"response.{written.item}.{written.running}")
                    return
            case Opened():
                yield from self._say_all(opened, closed)
        yield self._done("completed" if closed.complete else "incomplete")

    def _say_all(self, opened: Opened, closed: Closed) -> Iterator[Json]:
        part = _part(opened, closed.text)
        self._output[-1]["content"] = [part]
        if opened.kind == "reasoning":
            yield self._at_part("response.reasoning_text.done", text=closed.text)
        else:
            part["annotations"] = [*map(_annotation, closed.citations)]
            for index, annotation in enumerate(part["annotations"]):
                kind = "response.output_text.annotation.added"
                yield self._at_part(kind, annotation_index=index, annotation=annotation)
            yield self._at_part("response.output_text.done", text=closed.text, logprobs=[])
        yield self._at_part("response.content_part.done", part=part)

    def _returned(self, returned: Returned) -> Iterator[Json]:
        written = None if self._opened is None else hosted(self._opened.name)
        if written is None:
            return
        self._output[-1].update(written.result(returned))
        if not returned.error:
            yield self._at_item(f"response.{written.item}.completed")
        yield self._done("failed" if returned.error else "completed")

    def _done(self, status: str) -> Json:
        self._output[-1]["status"] = status
        return self._event(
            "response.output_item.done", output_index=len(self._output) - 1, item=self._output[-1]
        )


def _new_item(opened: Opened) -> Json | None:
    """The item of a message that begins; None if it is not shown."""
    match opened.kind:
        case "call":
            return {
                "type": "function_call",
                "id": random_id("fc"),
                "call_id": random_id("call"),
                "name": opened.name,
                "arguments": "",
                "status": "in_progress",
            }
        case "builtin":
            written = hosted(opened.name)
            return None if written is None else written.new_item(opened.name)
        case "reasoning":
            item = {"type": "reasoning", "id": random_id("rs"), "summary": [], "content": []}
            return {**item, "status": "in_progress"}
        case _:
            return {
                "type": "message",
                "id": random_id("msg"),
                "role": "assistant",
                "phase": _PHASES[opened.kind],
                "content": [],
                "status": "in_progress",
            }


def _part(opened: Opened, text: str) -> Json:
    part: Json = {"type": _PARTS[opened.kind], "text": text}
    return part if opened.kind == "reasoning" else {**part, "annotations": [], "logprobs": []}


def _annotation(citation: Citation) -> Json:
    return {"type": citation.type, **url_citation(citation)}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
