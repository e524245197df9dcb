"""The constraint as a LogitsProcessor: transformers samples from a random model, and all of it is legal."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator

from harmony import Choices, HarmonyEncoding, Role, ToolDescription, TurnGrammar
from harmony.runtime.constraint import Constraint
from harmony.runtime.grammars import Grammars
from harmony.vocabulary import CALL, END_OF_TEXT, RETURN

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "with_transformers.py"
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "sky": {"enum": ["blue", "grey"]}},
    "required": ["sure", "sky"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("with_transformers", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> Any:
    """The architecture of gpt-oss with random weights, and logits for all its tokens."""
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(3)
    config = GptOssConfig(
        vocab_size=201_088,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return GptOssForCausalLM(config).eval()


def test_an_answer_follows_its_schema(example: ModuleType, model: Any) -> None:
    """What the model thinks is noise; what it answers is JSON."""
    torch.manual_seed(5)
    for _ in range(2):
        text = example.answer(model, SCHEMA, "How is the weather?", max_tokens=200)
        Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_each_sequence_of_a_batch_keeps_to_its_own(
    example: ModuleType, model: Any, grammars: Grammars, encoding: HarmonyEncoding
) -> None:
    """A call and an answer, of different lengths; the shorter one is padded."""
    from transformers import LogitsProcessorList

    tool = ToolDescription.new("look", "", SCHEMA)
    wanted = (
        TurnGrammar.of([tool], tool_choice="look", channels=("commentary",), preambles=False),
        TurnGrammar.of(response=Choices(("yes", "no")), channels=("final",)),
    )
    constraints = [Constraint(grammars, grammar.text) for grammar in wanted]
    prompt = encoding.encode("<|start|>assistant", allowed_special="all")
    generated = model.generate(
        torch.tensor([prompt, prompt]),
        attention_mask=torch.ones(2, len(prompt), dtype=torch.long),
        logits_processor=LogitsProcessorList([example.Constrained(constraints, len(prompt))]),
        do_sample=True,
        max_new_tokens=200,
        eos_token_id=[RETURN, CALL],
        pad_token_id=END_OF_TEXT,
    )
    called, answered = (
        [token for token in row if token != END_OF_TEXT] for row in generated[:, len(prompt) :].tolist()
    )
    (call,) = encoding.parse_messages_from_completion_tokens(called, Role.ASSISTANT)
    assert (call.recipient, called[-1]) == ("functions.look", CALL)
    Draft202012Validator(SCHEMA).validate(json.loads(call.content[0].text))
    (answer,) = encoding.parse_messages_from_completion_tokens(answered, Role.ASSISTANT)
    assert answer.content[0].text in ("yes", "no")
