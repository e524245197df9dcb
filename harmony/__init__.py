"""Work with gpt-oss models: the harmony prompt format, and the way to the rooms built on it.

A name loads its module when it is first used, so that `import harmony` costs next to nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "runtime").is_dir():
    # In a source checkout the subpackages lie beside this folder, not in it.
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from harmony.chat import ChatRequest, from_chat, to_chat, to_chat_message
    from harmony.completion import ParsedCompletion, ToolCall, read_completion
    from harmony.encoding import (
        HarmonyEncoding,
        HarmonyEncodingName,
        load_encoding,
        load_harmony_encoding,
        raise_disallowed_special_token,
    )
    from harmony.errors import (
        ApprovalNeededError,
        CheckpointError,
        ConstraintError,
        ContextLengthError,
        ConversionError,
        EngineError,
        GrammarError,
        HarmonyError,
        ModelError,
        ModelNotFoundError,
        NotEnoughMemoryError,
        OutputError,
        ParseError,
        RenderError,
        SandboxUnavailableError,
        SessionError,
        ToolError,
        TranscriptError,
        UnsupportedModelError,
        UsageError,
        VocabularyError,
    )
    from harmony.faults import Diagnostic, Fault
    from harmony.formats import AnswerFormat, Choices, JsonSchema, Lark, Regex
    from harmony.grammar import TurnGrammar
    from harmony.messages import (
        Author,
        ChannelConfig,
        Content,
        Conversation,
        DeveloperContent,
        Message,
        ReasoningEffort,
        RenderConversationConfig,
        RenderOptions,
        Role,
        SystemContent,
        TextContent,
        ToolDescription,
        ToolNamespaceConfig,
    )
    from harmony.responses import ResponsesRequest, from_responses, to_responses
    from harmony.streaming import ParsedMessage, StreamableParser, StreamState
    from harmony.training import TrainingConfig, TrainingExample
    from harmony.transcript import Segment, TokenCounts, Transcript
    from harmony.turns import DropRule

__all__ = [
    "AnswerFormat",
    "ApprovalNeededError",
    "Author",
    "ChannelConfig",
    "ChatRequest",
    "CheckpointError",
    "Choices",
    "ConstraintError",
    "Content",
    "ContextLengthError",
    "Conversation",
    "ConversionError",
    "DeveloperContent",
    "Diagnostic",
    "DropRule",
    "EngineError",
    "Fault",
    "GrammarError",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "JsonSchema",
    "Lark",
    "Message",
    "ModelError",
    "ModelNotFoundError",
    "NotEnoughMemoryError",
    "OutputError",
    "ParseError",
    "ParsedCompletion",
    "ParsedMessage",
    "ReasoningEffort",
    "Regex",
    "RenderConversationConfig",
    "RenderError",
    "RenderOptions",
    "ResponsesRequest",
    "Role",
    "SandboxUnavailableError",
    "Segment",
    "SessionError",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "TokenCounts",
    "ToolCall",
    "ToolDescription",
    "ToolError",
    "ToolNamespaceConfig",
    "TrainingConfig",
    "TrainingExample",
    "Transcript",
    "TranscriptError",
    "TurnGrammar",
    "UnsupportedModelError",
    "UsageError",
    "VocabularyError",
    "from_chat",
    "from_responses",
    "load_encoding",
    "load_harmony_encoding",
    "raise_disallowed_special_token",
    "read_completion",
    "to_chat",
    "to_chat_message",
    "to_responses",
]

# Each of these imports at most the ones before it, so that looking for a name loads nothing in vain.
_HOMES = (
    "errors",
    "faults",
    "messages",
    "turns",
    "streaming",
    "training",
    "encoding",
    "transcript",
    "completion",
    "response_formats",
    "chat",
    "responses",
    "formats",
    "grammar",
)


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            public = vars(import_module(f"{__name__}.{home}"))
            if name in public:
                globals()[name] = public[name]
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
