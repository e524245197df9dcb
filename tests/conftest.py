"""Fixtures for all tests: our encoding, and openai-harmony as the oracle beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import hypothesis
import pydantic
import pytest

import harmony
from harmony.agent.grammars import harmony_grammars
from harmony.vocabulary import ordinary_tokens, tiktoken_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from harmony.runtime.grammars import Grammars

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # they, and what they start, share the cores
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(workers))))

hypothesis.settings.register_profile(
    "default",
    deadline=None,
    max_examples=100,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("default")


class Oracle:
    """openai-harmony, spoken to in our own classes."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.encoding = module.load_harmony_encoding("HarmonyGptOss")

    def render(self, function: str, conversation: harmony.Conversation, *, drop: bool) -> list[int]:
        """What `function` of its encoding makes of our conversation."""
        turn = {"next_turn_role": "assistant"} if function.endswith("completion") else {}
        tokens: list[int] = getattr(self.encoding._inner, function)(
            conversation_json=conversation.to_json(), config={"auto_drop_analysis": drop}, **turn
        )
        return tokens

    def render_message(self, message: harmony.Message, *, has_functions: bool = False) -> list[int]:
        """What its `render` makes of our message."""
        options = {"conversation_has_function_tools": has_functions}
        tokens: list[int] = self.encoding._inner.render(
            message_json=message.to_json(), render_options=options
        )
        return tokens

    def parse(
        self, tokens: Sequence[int], role: harmony.Role | None = None, *, strict: bool = True
    ) -> list[dict[str, Any]]:
        """The messages that it parses, as JSON."""
        its_role = None if role is None else self.module.Role(role.value)
        messages = self.encoding.parse_messages_from_completion_tokens(tokens, its_role, strict=strict)
        parsed: list[dict[str, Any]] = json.loads(json.dumps([message.to_dict() for message in messages]))
        return parsed


class OpenAITypes:
    """The types of requests and responses in the openai package, as validators."""

    def validate(self, module: str, name: str, value: object) -> None:
        """Raise unless `value` is of the type `name` in `openai.types.{module}`."""
        self._exhaust(self._adapter(module, name).validate_python(value))

    @staticmethod
    @cache
    def _adapter(module: str, name: str) -> pydantic.TypeAdapter[object]:
        return pydantic.TypeAdapter(getattr(import_module(f"openai.types.{module}"), name))

    def _exhaust(self, validated: object) -> None:
        """Look at every element, because pydantic validates an Iterable only as it is read."""
        if isinstance(validated, dict):
            validated = validated.values()
        if isinstance(validated, Iterable) and not isinstance(validated, str):
            for element in validated:
                self._exhaust(element)


@pytest.fixture(scope="session")
def encoding() -> harmony.HarmonyEncoding:
    """Our encoding."""
    return harmony.load_encoding()


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """openai-harmony, fed with the vocabulary that we bundle."""
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "o200k_base.tiktoken").write_bytes(tiktoken_lines(ordinary_tokens()))
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(folder)
    import openai_harmony

    return Oracle(openai_harmony)


@pytest.fixture(scope="session")
def openai_types() -> OpenAITypes:
    """What the real client takes."""
    return OpenAITypes()


@pytest.fixture(scope="session")
def grammars() -> Grammars:
    """Grammars over the tokens of gpt-oss."""
    return harmony_grammars(201_088)
