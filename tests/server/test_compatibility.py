"""A call and its answer, for each kind of arguments, by each API, whole and streamed.

The cases are ours; what they cover is that of gpt-oss's compatibility test for servers.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from scripted import Scripted
from served import served

CASES = json.loads(Path(__file__).with_name("compatibility.json").read_text("utf-8"))
FINAL = (
    "<|channel|>analysis<|message|>Good.<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>"
)


def engine_for(case: dict[str, Any]) -> Scripted:
    """A model that thinks, calls, and answers."""
    arguments = json.dumps(case["arguments"], ensure_ascii=False)
    header = f"<|channel|>commentary to=functions.{case['tool']} <|constrain|>json<|message|>"
    thought = "<|channel|>analysis<|message|>I need the tool.<|end|><|start|>assistant"
    return Scripted(f"{thought}{header}{arguments}<|call|>", FINAL)


def by_responses(client: OpenAI, case: dict[str, Any], *, stream: bool) -> tuple[str, str, str]:
    tool: Any = {"type": "function", "name": case["tool"], "parameters": case["parameters"]}
    items: list[Any] = [{"role": "user", "content": case["input"]}]

    def ask() -> Any:
        if not stream:
            return client.responses.create(model="scripted", input=items, tools=[tool])
        with client.responses.stream(model="scripted", input=items, tools=[tool]) as events:
            return events.get_final_response()

    first = ask()
    (call,) = (item for item in first.output if item.type == "function_call")
    items += [item.to_dict() for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "ok"})
    return call.name, call.arguments, ask().output_text


def by_chat(client: OpenAI, case: dict[str, Any], *, stream: bool) -> tuple[str, str, str]:
    tool: Any = {"type": "function", "function": {"name": case["tool"], "parameters": case["parameters"]}}
    messages: list[Any] = [{"role": "user", "content": case["input"]}]

    def ask() -> Any:
        if not stream:
            answer = client.chat.completions.create(model="scripted", messages=messages, tools=[tool])
            return answer.choices[0].message
        with client.chat.completions.stream(model="scripted", messages=messages, tools=[tool]) as chunks:
            return chunks.get_final_completion().choices[0].message

    first = ask()
    (call,) = first.tool_calls
    asked = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": asked}]
    messages.append({"role": "assistant", "content": first.content, "tool_calls": calls})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "ok"})
    return asked["name"], asked["arguments"], ask().content


@pytest.mark.parametrize("case", CASES, ids=[case["tool"] for case in CASES])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask", [by_responses, by_chat])
def test_a_call_and_its_answer(ask: Any, case: dict[str, Any], stream: bool) -> None:
    """The client gets the name and the arguments as sampled, and the second prompt goes on from them."""
    engine = engine_for(case)
    with served(engine) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        name, arguments, answer = ask(client, case, stream=stream)
    assert (name, json.loads(arguments), answer) == (case["tool"], case["arguments"], "Done.")
    first, second = engine.prompts
    assert second[: len(first)] == first
    assert second[len(first) : len(first) + len(engine._turns[0])] == engine._turns[0]
