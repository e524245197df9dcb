"""A conversation as tokens: what was sampled stays as it was sampled, what is new is rendered.

A tool call that is rendered again is another token sequence than the one the model sampled, and no
longer matches what an engine has cached. So the tokens are the truth here, and messages are a view.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harmony.encoding import HarmonyEncoding
from harmony.messages import DeveloperContent, Message, RenderOptions, Role
from harmony.vocabulary import END, RETURN, START, STOP_TOKENS


@dataclass(frozen=True)
class Segment:
    """One message and its tokens, from `<|start|>` to the token that ends it.

    `message` is None for sampled tokens from which no message could be parsed.
    """

    tokens: tuple[int, ...]
    message: Message | None

    @property
    def is_reasoning(self) -> bool:
        """Whether it is analysis: reasoning, a built-in tool's call, or its result."""
        return self.message is not None and self.message.channel == "analysis"


class Transcript:
    """The messages of a conversation with their tokens.

    Within a turn it only grows, so that an engine goes on from its cache. When a turn has ended in
    an answer and the user speaks again, the reasoning of the turns before is dropped and their
    `<|return|>` becomes `<|end|>`, as the format prescribes.
    """

    def __init__(self, encoding: HarmonyEncoding, segments: Iterable[Segment] = ()) -> None:
        self._encoding = encoding
        self._segments = tuple(segments)
        self._assistant = (START, *encoding.encode("assistant"))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What was said, in order."""
        return self._segments

    @property
    def messages(self) -> list[Message]:
        """The messages; sampled tokens that are no message have none."""
        return [segment.message for segment in self._segments if segment.message is not None]

    @property
    def tokens(self) -> list[int]:
        """All tokens of the conversation."""
        return [token for segment in self._segments for token in segment.tokens]

    @property
    def prompt(self) -> list[int]:
        """What an engine continues: the conversation and `<|start|>assistant`."""
        return [*self.tokens, *self._assistant]

    def copy(self) -> "Transcript":
        """Another transcript that goes on from here by itself."""
        return Transcript(self._encoding, self._segments)

    def append(self, *messages: Message) -> None:
        """Render messages and append them. Raises RenderError for what the format cannot express.

        A system message tells of the functions in the developer message behind it, so append both at once.
        """
        if any(message.author.role == Role.USER for message in messages):
            self._forget_reasoning()
        options = RenderOptions(conversation_has_function_tools=_has_functions([*self.messages, *messages]))
        rendered = (Segment(tuple(self._encoding.render(m, options)), m) for m in messages)
        self._segments = (*self._segments, *rendered)

    def append_sampled(self, tokens: Sequence[int], messages: Sequence[tuple[Message, int]]) -> None:
        """Append a completion of `prompt`: its tokens, and each message with the index of its end.

        The index counts the tokens of the completion up to and including the message's last one. A
        message that was cut off is closed with `<|end|>`.
        """
        start, lead = 0, self._assistant
        for message, end in messages:
            self._segments += (Segment((*lead, *tokens[start:end]), message),)
            start, lead = end, ()
        if tokens[start:]:
            self._segments += (Segment((*lead, *tokens[start:]), None),)
        if tokens and tokens[-1] not in STOP_TOKENS:
            last = self._segments[-1]
            self._segments = (*self._segments[:-1], replace(last, tokens=(*last.tokens, END)))

    def _forget_reasoning(self) -> None:
        kept = (segment for segment in self._segments if not segment.is_reasoning)
        self._segments = tuple(self._as_history(segment) for segment in kept)

    def _as_history(self, segment: Segment) -> Segment:
        if segment.tokens[-1] != RETURN:
            return segment
        return replace(segment, tokens=(*segment.tokens[:-1], END))


def _has_functions(messages: Iterable[Message]) -> bool:
    contents = (content for message in messages for content in message.content)
    tools = (content.tools or {} for content in contents if isinstance(content, DeveloperContent))
    return any("functions" in namespaces for namespaces in tools)
