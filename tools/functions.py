"""Python functions as tools: the signature becomes the schema, the docstring the description.

    @function
    def get_weather(city: str, unit: Literal["c", "f"] = "c") -> dict[str, float]:
        \"\"\"The weather now.

        Args:
            city: Its English name.
        \"\"\"

Arguments are validated before the function sees them; whatever is wrong goes back to the model as the text
of a ToolError: what, where, what is expected. Synchronous functions run in threads. Not covered: functions
with `*args` or `**kwargs`, and calls in parallel, which the harmony format does not have.
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, cast, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_jsonable_python

from harmony import ToolDescription
from harmony.errors import SandboxUnavailableError, ToolError
from harmony.recipients import is_function_name
from harmony.tools.approval import Approve, ask
from harmony.tools.arguments import Validate, by_model, by_schema, parsed
from harmony.tools.docstrings import read_docstring
from harmony.tools.schemas import Schema, simplify
from harmony.tools.threads import in_thread

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_TRAINED = re.compile(r"(?:python|browser)(?:\..*)?", re.DOTALL)
_AS_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\":]+/)+")


class FunctionTool(Generic[Parameters, Result]):
    """A function that the model can call; calling it directly calls the function itself."""

    def __init__(
        self,
        call: Callable[Parameters, Result],
        description: ToolDescription,
        validate: Validate,
        approve: Approve | None = None,
    ) -> None:
        self._function = call
        self._description = description
        self._validate = validate
        self._approve = approve

    @classmethod
    def from_schema(
        cls,
        name: str,
        description: str,
        parameters: Schema | None,
        call: Callable[..., Any],
        approve: Approve | None = None,
    ) -> "FunctionTool[..., Any]":
        """A tool from a JSON schema; `call` gets the arguments by keyword. ToolError for a bad schema."""
        described = ToolDescription.new(_callable_name(name), description, parameters)
        return FunctionTool(call, described, by_schema(described), approve)

    @property
    def description(self) -> ToolDescription:
        """Name, description and JSON schema of the parameters."""
        return self._description

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self._function(*args, **kwargs)

    async def call(self, arguments: str) -> str:
        """The result as text: a string as it is, anything else as JSON. Raises ToolError for the model."""
        args, kwargs = self._validate(parsed(arguments))
        await ask(self._approve, self._description.name, arguments)
        result = await self._run(cast("Callable[..., Any]", self._function), args, kwargs)
        if isinstance(result, str):
            return result
        if _has_bytes(result):
            raise ToolError(
                f"The result of {self._description.name} is bytes (an image, a file), which cannot be shown; "
                "it has to be text"
            )
        try:
            return _AS_JSON.encode(to_jsonable_python(result))
        except (PydanticSerializationError, ValueError) as error:
            raise ToolError(
                f"The result of {self._description.name} cannot be written as JSON: {error}"
            ) from error

    async def _run(self, call: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            if inspect.iscoroutinefunction(call):
                return await call(*args, **kwargs)
            result = await in_thread(_contained, call, args, kwargs)
            return await result if inspect.isawaitable(result) else result
        except SandboxUnavailableError:
            raise
        except (Exception, SystemExit) as error:  # a function that was a command may leave so
            raise _failure(error) from error


@overload
def function(call: Callable[Parameters, Result], /) -> FunctionTool[Parameters, Result]: ...
@overload
def function(
    *, name: str | None = None, description: str | None = None, approve: Approve | None = None
) -> Callable[[Callable[Parameters, Result]], FunctionTool[Parameters, Result]]: ...
def function(
    call: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    approve: Approve | None = None,
) -> Any:
    """Make a function a tool; `name` and `description` replace what the function itself says.

    `approve` is asked before each call, with the name and the arguments as JSON; unless it says True, the
    model is told that its user refused. Raises ToolError for a signature that the format cannot express.
    """
    if call is None:
        return lambda later: _from_signature(later, name, description, approve)
    return _from_signature(call, name, description, approve)


def _from_signature(
    call: Callable[..., Any], name: str | None, description: str | None, approve: Approve | None
) -> FunctionTool[..., Any]:
    named = str(getattr(call, "__name__", type(call).__name__)) if name is None else name
    tool_name = _callable_name(named)
    summary, texts = read_docstring(inspect.getdoc(call) or "")
    model, parameters = _model(call, tool_name, texts)
    schema = simplify(model.model_json_schema(schema_generator=_QuietSchema)) if parameters else None
    described = ToolDescription.new(tool_name, summary if description is None else description, schema)
    return FunctionTool(call, described, by_model(described, model, parameters), approve)


class _QuietSchema(GenerateJsonSchema):
    """A default that JSON cannot hold is left out of the schema, without a warning."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012 (pydantic's own shape)


def _callable_name(name: str) -> str:
    """A name that the format can call and that is none of the tools the model was trained with."""
    if _TRAINED.fullmatch(name):
        name = name.replace(".", "_") if "." in name else f"{name}_"
    if not is_function_name(name):
        raise ToolError(
            f"{name!r} cannot name a function; use 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
        )
    return name


def _model(
    call: Callable[..., Any], name: str, texts: Mapping[str, str]
) -> tuple[type[BaseModel], list[inspect.Parameter]]:
    """A model with a field for each parameter, named by position so that none can clash with pydantic's."""
    parameters = list(inspect.signature(call).parameters.values())
    try:
        hints = get_type_hints(call if inspect.isroutine(call) else type(call).__call__, include_extras=True)
    except NameError as error:
        raise ToolError(
            f"A type hint of {name} cannot be resolved ({error}); define it at module level"
        ) from error
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise ToolError(
                f"{name} takes *{parameter.name}; a model needs named parameters, so spell them out"
            )
        hint = hints.get(parameter.name, Any)
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        text = _description(hint, default, texts.get(parameter.name))
        field = Field(alias=parameter.name, description=text) if text else Field(alias=parameter.name)
        fields[f"argument_{index}"] = (Annotated[hint, field], default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), parameters
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ToolError(f"{name}: {str(error).splitlines()[0]}") from error


def _description(hint: Any, default: Any, text: str | None) -> str | None:
    """What is to be said of a parameter, unless a pydantic Field says it already."""
    metadata = getattr(hint, "__metadata__", ())
    if any(isinstance(part, FieldInfo) and part.description for part in (*metadata, default)):
        return None
    return next((part for part in metadata if isinstance(part, str)), text)


def _has_bytes(result: object) -> bool:
    """Whether bytes are among what a function returned, which JSON would show as text or not at all."""
    if isinstance(result, Mapping):
        return any(map(_has_bytes, result.values()))
    if isinstance(result, list | tuple | set | frozenset):
        return any(map(_has_bytes, result))
    if isinstance(result, BaseModel):
        return any(_has_bytes(value) for _, value in result)
    if dataclasses.is_dataclass(result):
        return any(_has_bytes(getattr(result, field.name)) for field in dataclasses.fields(result))
    return isinstance(result, bytes | bytearray | memoryview)


def _contained(call: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call in a thread; StopIteration, which no future can carry, leaves as a ToolError."""
    try:
        return call(*args, **kwargs)
    except StopIteration as error:
        raise _failure(error) from error


def _failure(error: BaseException) -> ToolError:
    """What the model may know of an exception: its type and message, no folder of this machine."""
    if isinstance(error, ToolError):
        return error
    message = _FOLDERS.sub("", " ".join(str(error).split()))
    return ToolError(f"{type(error).__name__}: {message}" if message else type(error).__name__)
