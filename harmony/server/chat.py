"""A generation in the words of Chat Completions: one message, whole or in chunks.

Source: https://platform.openai.com/docs/api-reference/chat; `reasoning` and `reasoning_content` are the
practice of vLLM and llama.cpp.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harmony.call_ids import random_id
from harmony.server.generation import Closed, Delta, Opened
from harmony.server.hosted import url_citation
from harmony.server.wire import error_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harmony.agent.events import Usage
    from harmony.server.generation import Generation, Step
    from harmony.server.requests import Asked
    from harmony.tools.citations import Citation

Json = dict[str, Any]


class ChatWriter:
    """Writes one chat completion: steps of a generation become chunks, and the message grows with them."""

    named_events = False

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._opened: Opened | None = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[Json] = []
        self._annotations: list[Json] = []
        self.id = random_id("chatcmpl")
        self._created = int(time.time())
        self.body: Json = {}

    @property
    def said(self) -> list[Json]:
        """The message that a client would send back."""
        return [self._message()]

    def begin(self) -> Iterator[Json]:
        yield self._chunk({"role": "assistant", "content": ""})

    def take(self, step: Step) -> Iterator[Json]:
        match step:
            case Opened("call"):
                self._opened = step
                call = _call(step.name)
                self._calls.append(call)
                yield self._chunk({"tool_calls": [{"index": len(self._calls) - 1, **call}]})
            case Opened("final" | "commentary"):
                self._opened = step
                if self._content:
                    yield self._say("\n")
            case Opened():
                self._opened = step
                if step.kind == "reasoning" and self._reasoning:
                    yield self._think("\n")
            case Delta(text) if self._opened is not None:
                yield from self._grow(self._opened, text)
            case Closed(text) if self._opened is not None and self._opened.kind == "call":
                self._calls[-1]["function"]["arguments"] = text
            case Closed(text, citations=citations):
                before = sum(map(len, self._content)) - len(text)
                self._annotations += [_annotation(citation, before) for citation in citations]

    def finish(self, generation: Generation) -> Iterator[Json]:
        stopped = "tool_calls" if self._calls else "stop"
        reason = "length" if generation.finish == "length" else stopped
        usage = _usage(generation.usage)
        self.body = {
            **self._head("chat.completion"),
            "choices": [{"index": 0, "message": self._message(), "finish_reason": reason, "logprobs": None}],
            "usage": usage,
        }
        if self._annotations:
            yield self._chunk({"annotations": self._annotations})
        yield self._chunk({}, reason)
        if self._asked.include_usage:
            yield {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def fail(self, message: str) -> Iterator[Json]:
        yield error_body(message, 500)

    def _grow(self, opened: Opened, text: str) -> Iterator[Json]:
        match opened.kind:
            case "call":
                index = len(self._calls) - 1
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
            case "reasoning":
                yield self._think(text)
            case "final" | "commentary":
                yield self._say(text)

    def _say(self, text: str) -> Json:
        self._content.append(text)
        return self._chunk({"content": text})

    def _think(self, text: str) -> Json:
        self._reasoning.append(text)
        return self._chunk({"reasoning": text, "reasoning_content": text})

    def _head(self, kind: str) -> Json:
        model = self._asked.body["model"]
        return {"id": self.id, "object": kind, "created": self._created, "model": model}

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _message(self) -> Json:
        message: Json = {
            "role": "assistant",
            "content": "".join(self._content) if self._content else None,
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning"] = message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        if self._annotations:
            message["annotations"] = self._annotations
        return message


def _annotation(citation: Citation, before: int) -> Json:
    """The annotation of a citation in a text, which has as many characters `before` it."""
    cited = url_citation(replace(citation, start=citation.start + before, end=citation.end + before))
    return {"type": citation.type, citation.type: cited}


def _call(name: str) -> Json:
    return {"id": random_id("call"), "type": "function", "function": {"name": name, "arguments": ""}}


def _usage(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
