"""Conversations as training examples: the tokens, and which of them the assistant learns to produce.

At inference a prompt ends in `<|start|>assistant`, and the engine stops at `<|return|>` or `<|call|>`.
What the model writes in between is learned: the rest of the header, the content and the token that
ends it and, behind a message that ends in `<|end|>`, the `<|start|>assistant` of the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from harmony.messages import Role, SchemaProfile
from harmony.rendering import declares_functions, is_final_answer, render_message, render_turn_start
from harmony.turns import DropRule, Turns, is_reasoning
from harmony.vocabulary import CHANNEL, END, RETURN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harmony.messages import Message
    from harmony.rendering import Encode


class TrainingConfig(BaseModel):
    """How training examples are rendered.

    `drop_rule` says which reasoning is left out; by default that of all turns but the last, as at
    inference. A message is not learned where reasoning before it in its turn was left out, unless
    `learn_without_reasoning`.

    `header_order` "rendered" has the headers of the assistant's tool calls as openai-harmony 0.0.8
    renders them, `assistant to=R<|channel|>C`; "sampled" as gpt-oss samples them,
    `assistant<|channel|>C to=R`. `schema_profile` says how functions are written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_rule: DropRule = DropRule.FINISHED_TURNS
    header_order: Literal["rendered", "sampled"] = "rendered"
    learn_without_reasoning: bool = False
    schema_profile: SchemaProfile = "exact"


@dataclass(frozen=True)
class TrainingExample:
    """Tokens, and for each whether it is learned, which is whether its prediction counts in the loss."""

    tokens: list[int]
    mask: list[bool]

    def labels(self, ignored: int = -100) -> list[int]:
        """The tokens that are learned, `ignored` in place of the others.

        Label i is of token i, as transformers wants it: its loss compares them with the logits of i - 1.
        """
        pairs = zip(self.tokens, self.mask, strict=True)
        return [token if learned else ignored for token, learned in pairs]


def render_training_example(
    messages: Sequence[Message], encode: Encode, config: TrainingConfig, *, last_turn_only: bool
) -> TrainingExample:
    """A conversation of which everything that the assistant says is learned, or only its last turn.

    Raises `RenderError` for what the format cannot express.
    """
    end = Turns.of(messages)
    start = end.start if last_turn_only else 0
    return _render(messages, encode, config, boundary=end.boundary(config.drop_rule), learned_from=start)


def training_examples(
    messages: Sequence[Message], encode: Encode, config: TrainingConfig
) -> list[TrainingExample]:
    """An example for each turn in which the assistant speaks: the prompt as it was then, and what it said.

    Raises `RenderError` for what the format cannot express.
    """
    progress = _progress(messages)
    starts = sorted({turns.start for turns in progress})
    examples = []
    for start, stop in pairwise([*starts, len(messages)]):
        spoken = [i for i in range(start, stop) if messages[i].author.role == Role.ASSISTANT]
        if spoken:
            boundary = progress[spoken[0]].boundary(config.drop_rule)
            until = messages[: spoken[-1] + 1]
            examples.append(_render(until, encode, config, boundary=boundary, learned_from=start))
    return examples


def _progress(messages: Sequence[Message]) -> list[Turns]:
    """How far the conversation is before each message, and after the last one."""
    return list(accumulate(messages, lambda turns, m: turns.after(m.author.role, m.channel), initial=Turns()))


def _render(
    messages: Sequence[Message], encode: Encode, config: TrainingConfig, *, boundary: int, learned_from: int
) -> TrainingExample:
    """Reasoning before the message `boundary` is left out, what stands before `learned_from` not learned."""
    has_functions = any(map(declares_functions, messages))
    opening = len(render_turn_start(Role.ASSISTANT, encode))
    example = TrainingExample([], [])
    lacks_reasoning = speaks_on = False
    for index, message in enumerate(messages):
        by_assistant = message.author.role == Role.ASSISTANT
        if message.author.role == Role.USER:
            lacks_reasoning = False
        if index < boundary and is_reasoning(message):
            lacks_reasoning = True
            continue
        tokens = _render_message(message, encode, config, has_functions)
        start, stop = 0 if speaks_on else opening, len(tokens)
        if is_final_answer(message):
            if index == len(messages) - 1:
                tokens[-1] = RETURN
            elif tokens[-1] == END:
                stop -= 1  # It stands for the <|return|> that was sampled, so it is not to be learned.
        informed = config.learn_without_reasoning or not lacks_reasoning
        if not (by_assistant and informed and index >= learned_from):
            stop = 0
        example.tokens.extend(tokens)
        example.mask.extend(start <= place < stop for place in range(len(tokens)))
        speaks_on = by_assistant and tokens[-1] == END and not is_final_answer(message)
    return example


def _render_message(
    message: Message, encode: Encode, config: TrainingConfig, has_functions: bool
) -> list[int]:
    tokens = render_message(message, encode, has_functions, config.schema_profile)
    is_call = message.author.role == Role.ASSISTANT and message.recipient not in (None, "all")
    if config.header_order == "rendered" or not is_call or message.channel is None:
        return tokens
    recipient, channel = encode(f" to={message.recipient}"), encode(message.channel)
    marker = tokens.index(CHANNEL)
    behind = marker + 1 + len(channel)
    return [*tokens[: marker - len(recipient)], *tokens[marker:behind], *recipient, *tokens[behind:]]
