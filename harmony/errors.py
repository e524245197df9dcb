"""Every error that this package raises on purpose.

    HarmonyError (RuntimeError)
    ├── VocabularyError        the bundled vocabulary is damaged
    ├── RenderError            a conversation that the format cannot express; also a ValueError
    ├── ParseError             tokens that are not a harmony stream (strict parsing)
    ├── TranscriptError        a saved transcript, or parsed messages, that do not fit
    ├── ConversionError        what harmony and another message format cannot both express
    ├── GrammarError           a schema or grammar that cannot be enforced
    │   └── SchemaError            a JSON schema that is none, or that no value satisfies
    │       └── SchemaUnsupportedError  a keyword of a JSON schema that cannot be enforced
    ├── OutputError            an answer that is not of the type or schema asked for
    ├── ConstraintError        a constraint that cannot be kept while a model generates
    │   └── DeadEndError           everything that the grammar allows next was refused
    ├── ModelError             a model that cannot be loaded
    │   ├── ModelNotFoundError     no such name, folder or file
    │   ├── CheckpointError        files that are there, but truncated, incomplete or wrongly shaped
    │   ├── UnsupportedModelError  another architecture, rope type or quantisation
    │   └── NotEnoughMemoryError   the estimate, made before loading, exceeds what is free
    ├── ContextLengthError     a prompt longer than the model's context
    ├── EngineError            an engine that failed while it generated
    │   └── ReplayError            a replay that is asked for something else than what was recorded
    ├── SessionError           a saved session that is not there, damaged, or changed by another process
    ├── ApprovalNeededError    a call that waits for somebody's decision
    ├── TraceError             a file that is no trace, or that cannot be written
    ├── ToolError              a tool that cannot be defined, or that failed; its text is meant for the model
    ├── SandboxUnavailableError  nothing on this machine can confine model code
    ├── UsageError             a bad option or argument of the command line
    └── RequestError           a request that the server refuses

Each message is one line that says what happened and what to do next. Nothing here imports anything,
so every room of the house may use it.
"""


class HarmonyError(RuntimeError):
    """The base of all errors of this package, and the name that openai-harmony gives its own."""


class VocabularyError(HarmonyError):
    """The bundled vocabulary is missing or damaged."""


class RenderError(HarmonyError, ValueError):
    """A conversation that the harmony format cannot express.

    openai-harmony raises `RuntimeError` for some of them and `ValueError` for others; this is both.
    """


class ParseError(HarmonyError):
    """Tokens that are not a harmony stream.

    `position` is the index of the offending token in the stream, counted from 0 (the length of the
    stream when it ended too early); `expected` names what the format allows there.
    """

    def __init__(self, message: str, *, position: int, expected: str) -> None:
        super().__init__(message)
        self.position = position
        self.expected = expected

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_parse_error, (str(self), self.position, self.expected)


def _rebuild_parse_error(message: str, position: int, expected: str) -> ParseError:
    return ParseError(message, position=position, expected=expected)


class TranscriptError(HarmonyError):
    """A text that is not a saved transcript, or parsed messages that are not of the tokens given."""


class GrammarError(HarmonyError):
    """A schema, regular expression or grammar that cannot be enforced."""


class SchemaError(GrammarError):
    """A JSON schema that is none, or that no value satisfies.

    `path` is the JSON pointer of the subschema concerned, which begins with `#`.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_schema_error, (str(self), self.path)


def _rebuild_schema_error(message: str, path: str) -> SchemaError:
    return SchemaError(message, path=path)


class SchemaUnsupportedError(SchemaError):
    """A keyword of a JSON schema that cannot be enforced while decoding; `keyword` is its name."""

    def __init__(self, message: str, *, path: str, keyword: str) -> None:
        super().__init__(message, path=path)
        self.keyword = keyword

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_schema_unsupported_error, (str(self), self.path, self.keyword)


def _rebuild_schema_unsupported_error(message: str, path: str, keyword: str) -> SchemaUnsupportedError:
    return SchemaUnsupportedError(message, path=path, keyword=keyword)


class OutputError(HarmonyError):
    """An answer that is not of the type or schema asked for.

    `path` leads to the first value that is wrong: names of properties and indices of items.
    """

    def __init__(self, message: str, *, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_output_error, (str(self), self.path)


def _rebuild_output_error(message: str, path: tuple[str | int, ...]) -> OutputError:
    return OutputError(message, path=path)


class ConversionError(HarmonyError):
    """Something in a message that the format it is converted to cannot express, or that is malformed.

    `path` leads to it, as in `messages[2].content[0].type`; the message begins with it.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.problem)


class ConstraintError(HarmonyError):
    """A constraint that cannot be kept while a model generates; the turn ends, never goes on without it."""


class DeadEndError(ConstraintError):
    """A place at which everything that the grammar allows next was refused."""


class ModelError(HarmonyError):
    """A model that cannot be loaded."""


class ModelNotFoundError(ModelError):
    """No model has this name, and no folder or file lies at this path."""


class CheckpointError(ModelError):
    """A checkpoint whose files are truncated, incomplete or wrongly shaped."""


class UnsupportedModelError(ModelError):
    """An architecture, rope type or quantisation that this runtime does not compute."""


class NotEnoughMemoryError(ModelError):
    """The memory that a model needs, estimated before loading, exceeds what is free."""


class ContextLengthError(HarmonyError):
    """A prompt longer than the model's context."""


class EngineError(HarmonyError):
    """An engine that failed while it generated, or a server that cannot do what is asked."""


class SessionError(HarmonyError):
    """A saved session that is not there, is damaged, or was changed by somebody else meanwhile."""


class ApprovalNeededError(HarmonyError):
    """A call that nobody has decided on yet; an agent's run ends with it, and goes on after the decision."""


class ReplayError(EngineError):
    """A replay that is asked for something else than what was recorded.

    `turn` is that of the recording, from 1; `position` is the first token of the prompt that differs, None
    where the recording has no more to give.
    """

    def __init__(self, message: str, *, turn: int, position: int | None) -> None:
        super().__init__(message)
        self.turn = turn
        self.position = position

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_replay_error, (str(self), self.turn, self.position)


def _rebuild_replay_error(message: str, turn: int, position: int | None) -> ReplayError:
    return ReplayError(message, turn=turn, position=position)


class TraceError(HarmonyError):
    """A file that is no trace, or that cannot be read or written."""


class ToolError(HarmonyError):
    """A tool that cannot be defined or that failed; the text is written for the model to act on."""


class SandboxUnavailableError(HarmonyError):
    """Nothing on this machine can confine model code, so none is run."""


class UsageError(HarmonyError):
    """A bad option or argument of the command line."""


class RequestError(HarmonyError):
    """A request that the server refuses: the HTTP `status`, a `code`, and the field that is wrong."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
