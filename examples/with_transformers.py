"""Answers by a JSON schema from a model that transformers runs: the constraint as a LogitsProcessor.

    python examples/with_transformers.py openai/gpt-oss-20b order.json "I ordered 12 apples for 3.5."

The constraint needs nothing of this package's engine, only logits: one `Constraint` for each sequence says
which tokens may come next. Whoever samples by himself uses `Constraint.take`, which also takes back a token
that leads nowhere; `generate` leaves a processor no such choice.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from harmony import (
    Conversation,
    DeveloperContent,
    JsonSchema,
    Message,
    Role,
    SystemContent,
    TurnGrammar,
    load_encoding,
)
from harmony.agent.grammars import turn_constraint
from harmony.runtime.constraint import Constraint, fill_masks
from harmony.runtime.masking import mask_logits
from harmony.runtime.token_table import packed
from harmony.vocabulary import CALL, END_OF_TEXT, RETURN


class Constrained(LogitsProcessor):
    """Keeps each sequence of a batch to its constraint; all prompts are `prompt_length` long, padded left."""

    def __init__(self, constraints: Sequence[Constraint], prompt_length: int) -> None:
        self._constraints = constraints
        self._read = prompt_length
        self._forced: list[list[int]] = [[] for _ in constraints]
        self._masks = torch.zeros(len(constraints), constraints[0].table.words, dtype=torch.int32)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` [B, V] with minus infinity for the tokens that may not follow `input_ids` [B, T]."""
        for row, tokens in enumerate(input_ids[:, self._read :].tolist()):
            for token in tokens:
                self._accept(row, token)
        self._read = input_ids.shape[1]
        fill_masks(self._constraints, self._masks.numpy())
        for row, forced in enumerate(self._forced):
            if forced:
                self._masks[row] = torch.from_numpy(packed(forced[:1], self._masks.shape[1]))
        return mask_logits(scores, self._masks)

    def _accept(self, row: int, token: int) -> None:
        constraint = self._constraints[row]
        if not constraint.ended:
            constraint.accept(token)
            self._forced[row] = self._forced[row][1:] or constraint.forced()


def answer(model: torch.nn.Module, schema: dict[str, object], question: str, *, max_tokens: int) -> str:
    """The final answer of one sampled turn; JSON for the schema unless `max_tokens` cut it off.

    Reasoning is interrupted after half of them.
    """
    encoding, response = load_encoding(), JsonSchema(schema)
    developer = DeveloperContent.new().with_instructions(response.section)
    messages = [
        Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
        Message.from_role_and_content(Role.DEVELOPER, developer),
        Message.from_role_and_content(Role.USER, question),
    ]
    prompt = encoding.render_conversation_for_completion(Conversation.from_messages(messages), Role.ASSISTANT)
    constraint = turn_constraint(
        TurnGrammar.of(response=response), model.config.vocab_size, reasoning_tokens=max_tokens // 2
    )
    generated = model.generate(
        torch.tensor([prompt], device=model.device),
        logits_processor=LogitsProcessorList([Constrained([constraint], len(prompt))]),
        do_sample=True,
        max_new_tokens=max_tokens,
        eos_token_id=[RETURN, CALL],
        pad_token_id=END_OF_TEXT,
    )
    turn = generated[0, len(prompt) :].tolist()
    (*_, last) = encoding.parse_messages_from_completion_tokens(turn, Role.ASSISTANT, strict=False)
    return "".join(content.text for content in last.content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("schema", type=Path)
    parser.add_argument("question")
    parser.add_argument("--max-tokens", type=int, default=1000)
    options = parser.parse_args()
    loaded = AutoModelForCausalLM.from_pretrained(options.model, device_map="auto")
    asked = json.loads(options.schema.read_text("utf-8"))
    print(answer(loaded, asked, options.question, max_tokens=options.max_tokens))
