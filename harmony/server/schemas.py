"""The JSON schemas of requests, and the OpenAPI document made of them.

They state the fields that are read here; the format's own rules (roles, parts, ids) are those of
`harmony.chat` and `harmony.responses`.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

_OBJECTS: Final = {"type": "array", "items": {"type": "object"}}
_LIMIT: Final = {"type": ["integer", "null"], "minimum": 1, "maximum": 2**31}
_FLAG: Final = {"type": ["boolean", "null"]}
_EFFORT: Final = {"enum": ["low", "medium", "high", None]}
_SHARED: Final[Json] = {
    "model": {"type": "string"},
    "stream": _FLAG,
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**63 - 1},
    "tools": {"type": ["array", "null"], "items": {"type": "object"}},
    "tool_choice": {"type": ["string", "object", "null"]},
}

RESPONSES_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        **_SHARED,
        "input": {**_OBJECTS, "type": ["string", "array"], "minItems": 1},
        "instructions": {"type": ["string", "null"]},
        "previous_response_id": {"type": ["string", "null"]},
        "max_output_tokens": _LIMIT,
        "store": _FLAG,
        "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "reasoning": {"type": ["object", "null"], "properties": {"effort": _EFFORT}},
        "text": {
            "type": ["object", "null"],
            "properties": {"format": {"type": ["object", "null"]}},
        },
    },
}
CHAT_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        **_SHARED,
        "messages": {**_OBJECTS, "minItems": 1},
        "max_tokens": _LIMIT,
        "max_completion_tokens": _LIMIT,
        "reasoning_effort": _EFFORT,
        "response_format": {
            "type": ["object", "null"],
            "properties": {"json_schema": {"type": ["object", "null"]}},
        },
        "stream_options": {"type": ["object", "null"]},
    },
}

_TURN_TOOLS: Final[Json] = {
    "type": ["array", "null"],
    "maxItems": 1024,
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parameters": {"type": ["object", "null"]}},
        "additionalProperties": False,
    },
}


def _answer_format(kind: str, member: str, schema: Json) -> Json:
    return {
        "type": "object",
        "required": ["type", member],
        "properties": {"type": {"const": kind}, member: schema},
        "additionalProperties": False,
    }


_TURN: Final[Json] = {
    "type": ["object", "null"],
    "description": "keeps the completion to one assistant turn, by masks, up to its right end token",
    "properties": {
        "functions": {**_TURN_TOOLS, "description": "called as functions.NAME, by JSON of the schema"},
        "namespaces": {
            "type": ["array", "null"],
            "maxItems": 64,
            "description": "built-in tools; one without tools, such as python, is called by text",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "tools": _TURN_TOOLS},
                "additionalProperties": False,
            },
        },
        "tool_choice": {"type": ["string", "null"], "description": "auto, none, required, or a name"},
        "response": {
            "description": "what the final answer may be; null is any text",
            "oneOf": [
                {"type": "null"},
                _answer_format("json_schema", "schema", {"type": "object"}),
                _answer_format("regex", "pattern", {"type": "string"}),
                _answer_format(
                    "choices", "choices", {"type": "array", "maxItems": 10_000, "items": {"type": "string"}}
                ),
                _answer_format("lark", "grammar", {"type": "string"}),
            ],
        },
        "channels": {"type": ["array", "null"], "maxItems": 8, "items": {"type": "string"}},
        "reasoning": {**_EFFORT, "description": "medium and high begin with analysis"},
        "preambles": {**_FLAG, "description": "whether it may speak to the user before a call"},
        "reasoning_tokens": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 2**31,
            "description": "after so many, the end of the reasoning is forced",
        },
        "written": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "how many tokens at the end of the prompt are of this turn already",
        },
    },
    "additionalProperties": False,
}

COMPLETION_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {
        "model": {"type": "string"},
        "prompt": {"type": "array", "minItems": 1, "description": "token ids"},
        "max_tokens": _LIMIT,
        "temperature": {"type": ["number", "null"], "minimum": 0},
        "top_p": _SHARED["top_p"],
        "top_k": {"type": ["integer", "null"], "minimum": -1},
        "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "seed": _SHARED["seed"],
        "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
        "logit_bias": {"type": ["object", "null"], "description": "by token id, 100 (only) or -100 (never)"},
        "stop_token_ids": {"type": ["array", "null"], "items": {"type": "integer"}},
        "ignore_eos": _FLAG,
        "return_token_ids": _FLAG,
        "turn": _TURN,
        "stream": _FLAG,
        "stream_options": {"type": ["object", "null"]},
    },
}

_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_REFUSALS: Final = {
    400: "what is asked is malformed, or not served",
    401: "the key is missing or wrong",
    404: "no such model or response",
    408: "the body came too slowly",
    413: "the body is too long",
    415: "the body is not JSON",
    429: "too many requests at once",
    500: "the engine failed",
}


def openapi(*, needs_key: bool) -> Json:
    """The OpenAPI document of the server."""
    posts = {
        "/v1/responses": ("A response", RESPONSES_REQUEST, ["id", "object", "status", "output"]),
        "/v1/chat/completions": ("A chat completion", CHAT_REQUEST, ["id", "object", "choices", "usage"]),
        "/v1/completions": ("A completion", COMPLETION_REQUEST, ["id", "object", "choices", "usage"]),
    }
    paths: Json = {
        path: {
            "post": {
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": {
                    "200": {
                        "description": summary,
                        "content": {
                            "application/json": {"schema": {"type": "object", "required": required}},
                            "text/event-stream": {"schema": {"type": "string"}},
                        },
                    },
                    **{str(status): _refusal(about) for status, about in _REFUSALS.items()},
                },
            }
        }
        for path, (summary, schema, required) in posts.items()
    }
    paths["/v1/models"] = {"get": _get("The model that is served", 401)}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    paths["/v1/models/{model}"] = {"get": _get("A model", 401, 404) | {"parameters": [name]}}
    paths["/health"] = {"get": _get("Whether the server is up") | {"security": []}}
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "gpt-oss-harmony", "version": "1"},
        "paths": paths,
    }
    if needs_key:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"key": []}]
    return document


def _get(about: str, *refusals: int) -> Json:
    answer = {"description": about, "content": {"application/json": {"schema": {"type": "object"}}}}
    refused = {str(status): _refusal(_REFUSALS[status]) for status in refusals}
    return {"summary": about, "responses": {"200": answer, **refused}}


def _refusal(about: str) -> Json:
    return {"description": about, "content": {"application/json": {"schema": _ERROR}}}
