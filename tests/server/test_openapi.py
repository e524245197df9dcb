"""schemathesis reads our OpenAPI document and sends what it allows, and what it does not."""

from collections.abc import AsyncGenerator, Collection, Sequence

import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from scripted import Scripted

from harmony import load_encoding
from harmony.runtime.generation import GeneratedToken, SamplingParams
from harmony.server import create_app


class Greeting(Scripted):
    """Says the same to everyone."""

    async def generate(
        self, prompt: Sequence[int], sampling: SamplingParams, *, stop: Collection[int]
    ) -> AsyncGenerator[GeneratedToken]:
        *most, last = load_encoding().encode("<|channel|>final<|message|>Hi<|return|>", allowed_special="all")
        for token in most:
            yield GeneratedToken(token)
        yield GeneratedToken(last, "stop")


schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(Greeting()), config=SchemathesisConfig.from_dict({})
)


@schema.parametrize()
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_every_answer_is_as_documented(case: schemathesis.Case) -> None:
    """No status, type or shape but those of the document; nothing that it forbids is accepted."""
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            negative_data_rejection,
        ]
    )
