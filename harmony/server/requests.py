"""What a request asks for, read from its body; refused is what would silently be answered otherwise."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from jsonschema import Draft202012Validator, ValidationError, validators

from harmony import SystemContent, from_chat, from_responses
from harmony.errors import ConversionError, RequestError
from harmony.server.hosted import ITEMS
from harmony.server.schemas import CHAT_REQUEST, RESPONSES_REQUEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harmony import Conversation
    from harmony.runtime.generation import SamplingParams, TokenEngine

Api = Literal["responses", "chat"]
Json = dict[str, Any]

_log = logging.getLogger("harmony.server")


_types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
_Validator: Any = validators.extend(Draft202012Validator, type_checker=_types)  # type: ignore[no-untyped-call]


_PLAIN: Final = {"string": str, "boolean": bool, "null": type(None)}
_OF_MEMBERS: Final = {"items", "minItems", "maxItems", "properties", "required", "additionalProperties"}


class _Field:
    """A JSON schema of one field, which passes most values by their type."""

    def __init__(self, schema: Json) -> None:
        self._validator = _Validator(schema)
        kinds = schema.get("type", ())
        says_more = schema.keys() - {"type", "description"} - _OF_MEMBERS
        plain = () if says_more else [kinds] if isinstance(kinds, str) else kinds
        self._plain = frozenset(_PLAIN[kind] for kind in plain if kind in _PLAIN)

    def fits(self, value: object) -> bool:
        return type(value) in self._plain or bool(self._validator.is_valid(value))


class RequestSchema:
    """A JSON schema of requests, with properties that stand for themselves."""

    def __init__(self, schema: Json) -> None:
        assert schema.keys() <= {"type", "required", "properties"}, "only fields are checked one by one"
        self._whole = _Validator(schema)
        self._required = frozenset(schema["required"])
        self._fields = {name: _Field(field) for name, field in schema["properties"].items()}

    def error(self, body: Json) -> ValidationError | None:
        """What is wrong with a body, looked for in it as a whole only where a field does not fit."""
        fields = self._fields
        fits = all(fields[name].fits(value) for name, value in body.items() if name in fields)
        return None if fits and self._required <= body.keys() else next(self._whole.iter_errors(body), None)


_SCHEMAS: Final = {"responses": RequestSchema(RESPONSES_REQUEST), "chat": RequestSchema(CHAT_REQUEST)}
_CONVERT: Final = {"responses": from_responses, "chat": from_chat}
_SAID_IN: Final = {"responses": "input", "chat": "messages"}

_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "stop": ("", []),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "background": (False,),
    "max_tool_calls": (),
    "conversation": (),
    "prompt": (),
    "functions": ([],),
    "audio": (),
}
"""What is not served, with the values that ask for nothing."""


@dataclass(frozen=True)
class Asked:
    """A request: its body, with what came before by `previous_response_id`, and what it means."""

    api: Api
    body: Json
    conversation: Conversation
    sampling: SamplingParams

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def include_usage(self) -> bool:
        return (self.body.get("stream_options") or {}).get("include_usage") is True

    @property
    def tools(self) -> list[Json]:
        """The functions of the client, as it described them."""
        return self.body.get("tools") or []

    @property
    def described(self) -> list[Json]:
        """What was described of each: name, parameters, whether they are strict."""
        return [tool if self.api == "responses" else tool["function"] for tool in self.tools]

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions."""
        return frozenset(function["name"] for function in self.described)

    @property
    def effort(self) -> str | None:
        """The reasoning effort."""
        opening = self.conversation.messages[0].content[0]
        assert isinstance(opening, SystemContent)
        return opening.reasoning_effort and opening.reasoning_effort.lower()

    def items_after(self, said: list[Json]) -> list[Json]:
        """What a client sends back of the conversation once the assistant has `said` this."""
        return [*_items(self.body[_SAID_IN[self.api]]), *said]

    def conversation_after(self, said: list[Json], system: SystemContent) -> Conversation:
        """The conversation as it will come back."""
        field = _SAID_IN[self.api]
        return _convert(self.api, _only_functions({**self.body, field: self.items_after(said)}), system)


def read_request(
    api: Api, body: Json, before: list[Json], system: SystemContent, engine: TokenEngine
) -> Asked:
    """What a body asks for, after the items `before`. Raises RequestError, ConversionError, RenderError."""
    if before:
        body = {**body, "input": [*before, *_items(body["input"])]}
    body = _only_functions(body)
    return Asked(api, body, _convert(api, body, system), _sampling(body, engine.default_sampling))


def validate(api: Api, body: Json, served: str) -> None:
    """Check the fields themselves. Raises RequestError."""
    check(_SCHEMAS[api], body, served)
    for field, neutral in _NEUTRAL.items():
        value = body.get(field)
        if value is not None and value not in neutral:
            raise RequestError(f"{field} is not supported here; leave it out", param=field)


def check(schema: RequestSchema, body: Json, served: str) -> None:
    """Check a body against its schema, and the model that it names. Raises RequestError."""
    if (error := schema.error(body)) is not None:
        param = ".".join(map(str, error.absolute_path)) or None
        message = error.message if len(error.message) < 200 else f"does not fit {error.validator}"
        raise RequestError(f"{param or 'the body'}: {message}", param=param)
    if body["model"] != served:
        raise RequestError(
            f"there is no model {body['model']!r:.100}; this server has {served!r}",
            status=404,
            code="model_not_found",
            param="model",
        )


def _items(given: str | list[Json]) -> list[Json]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _only_functions(body: Json) -> Json:
    """The body without the tools and items of hosted tools, which are this server's own business."""
    body = {key: value for key, value in body.items() if value is not None}
    if tools := body.pop("tools", None):
        kept = [tool for tool in tools if tool.get("type") == "function"]
        for tool in tools:
            if tool.get("type") != "function":
                _log.info("ignored a tool of type %.100r", tool.get("type"))
        if kept and body.get("tool_choice") != "none":
            body["tools"] = kept
    if isinstance(items := body.get("input"), list):
        body["input"] = [item for item in items if item.get("type") not in ITEMS]
    return body


def _convert(api: Api, body: Json, system: SystemContent) -> Conversation:
    try:
        return _CONVERT[api](body, system=system)
    except ConversionError as error:
        raise RequestError(str(error), param=error.path) from error


def _sampling(body: Json, defaults: SamplingParams) -> SamplingParams:
    given: Json = {name: body[name] for name in ("temperature", "top_p", "seed") if name in body}
    for limit in ("max_output_tokens", "max_completion_tokens", "max_tokens"):
        if limit in body:
            given.setdefault("max_tokens", body[limit])
    return replace(defaults, **given) if given else defaults
