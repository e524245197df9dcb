"""Functions as tools: what the model reads of them, what reaches them, and what it hears of a failure."""

import asyncio
import contextvars
import dataclasses
import datetime
import enum
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from harmony.errors import ToolError
from harmony.tools import BuiltinTool, CallableTool, FunctionTool, function


def call(tool: FunctionTool[..., Any], arguments: str = "{}", /, **values: Any) -> str:
    """The tool's answer to JSON text, or to values written as JSON."""
    return asyncio.run(tool.call(json.dumps(values) if values else arguments))


def failure(tool: FunctionTool[..., Any], arguments: str = "{}", /, **values: Any) -> str:
    """The text that the model gets when the tool fails."""
    with pytest.raises(ToolError) as caught:
        call(tool, arguments, **values)
    text = str(caught.value)
    assert "\n" not in text
    return text


def parameters(tool: FunctionTool[..., Any]) -> dict[str, Any]:
    assert tool.description.parameters is not None
    return tool.description.parameters


@function
def weather(
    city: Annotated[str, "Its English name"], unit: Literal["c", "f"] = "c", days: int | None = None
) -> str:
    """The weather
    now.

    Not this paragraph.

    Args:
        city: hidden by the annotation
        unit (str): Celsius
            or Fahrenheit
        days: how many

    Returns:
        days: not a parameter's text
    """
    return f"{city} {unit} {days}"


def test_it_is_a_callable_tool() -> None:
    """A function tool is what the agent takes as a function, and not as a trained tool."""
    assert isinstance(weather, CallableTool)
    assert not isinstance(weather, BuiltinTool)


def test_the_function_itself_stays_callable() -> None:
    """Calling the tool directly calls the function."""
    assert weather("Ulm", days=2) == "Ulm c 2"


def test_the_description_comes_from_hints_and_docstring() -> None:
    """Name, first paragraph, types, defaults and the texts of annotations and of the Args section."""
    assert weather.description.name == "weather"
    assert weather.description.description == "The weather now."
    assert parameters(weather) == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its English name"},
            "unit": {
                "type": "string",
                "enum": ["c", "f"],
                "default": "c",
                "description": "Celsius or Fahrenheit",
            },
            "days": {"type": "integer", "description": "how many"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_a_field_describes_itself() -> None:
    """A description in a pydantic Field wins over the docstring."""

    @function
    def tool(
        a: Annotated[int, Field(description="field", ge=1)], b: int = Field(2, description="default")
    ) -> int:
        """Args:
        a: docstring
        b: docstring
        """
        return a + b

    assert [value["description"] for value in parameters(tool)["properties"].values()] == ["field", "default"]
    assert tool.description.description == ""
    assert call(tool, a=1) == "3"
    assert "greater than or equal to 1" in failure(tool, a=0)


def test_name_and_description_can_be_given() -> None:
    """What the decorator is told replaces what the function says."""

    @function(name="sum-of_2", description="Adds.")
    def tool(a: int, b: int) -> int:
        """Not this."""
        return a + b

    assert (tool.description.name, tool.description.description) == ("sum-of_2", "Adds.")


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("python", "python_"),
        ("browser", "browser_"),
        ("browser.search", "browser_search"),
        ("python_", "python_"),
        ("pythonic", "pythonic"),
    ],
)
def test_trained_names_are_aliased(name: str, called: str) -> None:
    """A function may not pass for a tool that the model was trained with."""
    assert function(name=name)(lambda: "").description.name == called
    assert FunctionTool.from_schema(name, "", None, lambda: "").description.name == called


@pytest.mark.parametrize("name", ["", "a b", "ä", "a.b", "x" * 65, "<|end|>", "a\n", "browser.<|end|>"])
def test_names_that_the_format_cannot_call(name: str) -> None:
    """Such a name is refused when the tool is made, with the characters that would do."""
    with pytest.raises(ToolError, match="use 1 to 64 of the characters"):
        FunctionTool.from_schema(name, "", None, lambda: "")
    with pytest.raises(ToolError, match="use 1 to 64 of the characters"):
        function(name=name)(callable_by_its_name)


def callable_by_its_name() -> None:
    """Could be called by its own name."""


def test_a_lambda_needs_a_name() -> None:
    """A function without a usable name of its own is refused."""
    with pytest.raises(ToolError, match="cannot name a function"):
        function(lambda: "")


def test_star_parameters_are_refused() -> None:
    """Parameters that a schema cannot name are an error at definition."""
    with pytest.raises(ToolError, match=r"takes \*args; .* spell them out"):
        function(name="tool")(lambda *args: "")


def test_a_hint_that_cannot_be_resolved() -> None:
    """The error names the tool and says where to define the type."""

    def tool(a: "Nowhere") -> str:  # type: ignore[name-defined]  # noqa: F821
        return str(a)

    with pytest.raises(ToolError, match="type hint of tool cannot be resolved"):
        function(tool)


def test_a_type_that_json_cannot_hold() -> None:
    """A hint without a schema is an error at definition."""

    def tool(a: threading.Lock) -> str:  # type: ignore[valid-type]
        return str(a)

    with pytest.raises(ToolError, match=r"^tool: "):
        function(tool)


def test_parameters_named_like_pydantics_own() -> None:
    """No name of a parameter clashes with a model's methods, and keywords can be positional."""

    @function
    def tool(
        schema: int, model_config: int, copy: int, json: int, _hidden: int, /, cls: int, *, self_: int
    ) -> list[int]:
        return [schema, model_config, copy, json, _hidden, cls, self_]

    names = list(parameters(tool)["properties"])
    assert json.loads(call(tool, json.dumps({name: i for i, name in enumerate(names)}))) == list(range(7))


def test_a_function_without_parameters() -> None:
    """Nothing, white space and an empty object all call it; it has no parameters in the prompt."""

    @function
    def tool() -> None:
        """Does."""

    assert tool.description.parameters is None
    assert [call(tool, text) for text in ("", " \n", "{}")] == ["null"] * 3
    assert failure(tool, a=1).endswith("a is not a parameter (there are: none)")


def test_methods_and_callable_objects() -> None:
    """A bound method loses self; an object with __call__ is a function."""

    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def add(self, n: int) -> int:
            self.total += n
            return self.total

        def __call__(self, n: int) -> int:
            return -self.add(n)

    counter = Counter()
    assert call(function(counter.add), n=2) == "2"
    assert call(function(name="minus")(counter), n=1) == "-3"


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Item:
    name: str
    size: Size = Size.SMALL


class Order(BaseModel):
    items: list[Item]
    on: datetime.date


def test_arguments_become_the_types_of_the_hints() -> None:
    """Nested models, dataclasses, enums and dates arrive as such, and go back as JSON."""

    @function
    def tool(order: Order) -> Order:
        assert isinstance(order.items[0].size, Size)
        assert order.on.year == 2026
        return order

    order = {"items": [{"name": "é", "size": "l"}], "on": "2026-11-23"}
    assert call(tool, order=order) == json.dumps(order, ensure_ascii=False)
    assert failure(tool, order={"items": [{}], "on": "x"}).startswith(
        "Invalid arguments for tool: order.items.0.name is missing; order.on: Input should be a valid date"
    )


@given(st.text())
def test_any_text_arrives_unchanged(text: str) -> None:
    """What the model writes in a string is what the function gets, and what it returns is what goes back."""
    received = []

    @function
    def tool(text: str) -> str:
        received.append(text)
        return text

    assert asyncio.run(tool.call(json.dumps({"text": text}))) == text
    assert asyncio.run(tool.call(json.dumps({"text": text}, ensure_ascii=False))) == text
    assert received == [text, text]


@given(st.text() | st.text('{}[]",:\\ 0e1truefalsn'))
def test_any_text_is_answered(arguments: str) -> None:
    """Whatever stands where JSON should, the tool answers or raises ToolError with one line."""
    tool = FunctionTool.from_schema("tool", "", {"type": "object"}, lambda **_: "ok")
    try:
        answer = asyncio.run(tool.call(arguments))
    except ToolError as error:
        answer = f"{str(error).count(chr(10))} line breaks"
    assert answer in ("ok", "0 line breaks")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"city": "U', "are cut short: the JSON ends after 11 characters"),
        ('{"city": "Ulm"', "are cut short: the JSON ends after 14 characters"),
        ('{"city":', "are cut short"),
        ('{"city" "Ulm"}', "are not JSON: expected `:` at line 1 column 9"),
        ('["Ulm"]', 'must be a JSON object, such as {}, not ["Ulm"]'),
        ("null", "must be a JSON object"),
        ("[" * 100_000, "are not JSON: recursion limit exceeded"),
        ('{"city": ' + "1" * 5000 + "}", "are not JSON: number out of range"),
        ("{}", "city is missing (expected: string)"),
        ('{"city": 1}', "city: Input should be a valid string, got 1"),
        ('{"city": "U", "unit": "k"}', "unit: Input should be 'c' or 'f', got \"k\""),
        ('{"city": "U", "town": 1}', "town is not a parameter (there are: city, unit, days)"),
        ('{"city": "\\ud800"}', "are not JSON: "),
    ],
)
def test_bad_arguments_tell_the_model_what_to_do(arguments: str, says: str) -> None:
    """The text names the field, the problem and what is expected."""
    assert says in failure(weather, arguments)


def test_only_the_first_errors_are_told() -> None:
    """A long list of errors is cut."""

    @function
    def tool(values: list[int]) -> int:
        return len(values)

    text = failure(tool, values=["x"] * 9)
    assert text.count("valid integer") == 5
    assert text.endswith("; and 4 more")


def test_functions_run_beside_the_event_loop() -> None:
    """A synchronous function runs in another thread, in the caller's context."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    @function
    def tool() -> list[object]:
        return [threading.current_thread() is threading.main_thread(), variable.get()]

    variable.set("seen")
    assert call(tool) == '[false, "seen"]'


def test_calls_at_once_do_not_wait_for_each_other() -> None:
    """However many functions block: each has a thread, so that all of a hundred can meet."""
    meeting = threading.Barrier(100)

    @function
    def meet() -> int:
        return meeting.wait(timeout=60)

    async def meet_all() -> list[str]:
        return await asyncio.gather(*(meet.call("{}") for _ in range(100)))

    assert sorted(map(int, asyncio.run(meet_all()))) == list(range(100))


def test_a_call_that_nobody_waits_for_holds_nothing_up() -> None:
    """The event loop ends while the function still blocks; what it gives later is heard by nobody."""
    blocked: list[threading.Thread] = []
    end = threading.Event()

    @function
    def block() -> bool:
        blocked.append(threading.current_thread())
        return end.wait(60)

    async def leave() -> None:
        call = asyncio.create_task(block.call("{}"))
        while not blocked:
            await asyncio.sleep(0.001)
        call.cancel()

    asyncio.run(leave())
    assert blocked[0].is_alive()
    assert blocked[0].daemon  # which is what lets the process end, too
    end.set()
    blocked[0].join()


def test_async_functions_are_awaited() -> None:
    """A coroutine function runs in the event loop; one wrapped in a plain function is awaited too."""

    @function
    async def tool(n: int) -> int:
        await asyncio.sleep(0)
        return n + (threading.current_thread() is threading.main_thread())

    assert call(tool, n=1) == "2"
    assert call(FunctionTool.from_schema("tool", "", {"type": "object"}, lambda n: tool(n)), n=4) == "5"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError(), "ValueError"),
        (StopIteration(1), "StopIteration: 1"),
        (SystemExit("usage: weather CITY"), "SystemExit: usage: weather CITY"),
        (ToolError("for the model"), "for the model"),
        (
            FileNotFoundError(2, "No such file", "/home/me/secret/data.csv"),
            "FileNotFoundError: [Errno 2] No such file: 'data.csv'",
        ),
        (ValueError("see https://example.com/a/b or 1/2"), "ValueError: see https://example.com/a/b or 1/2"),
    ],
)
def test_an_exception_becomes_one_line(error: BaseException, says: str) -> None:
    """The model gets the type and the message, no traceback and no folder of the host."""

    @function
    def tool() -> None:
        raise error

    @function
    async def later() -> None:
        raise error

    assert failure(tool) == says
    if not isinstance(error, StopIteration):  # a coroutine cannot raise it
        assert failure(later) == says


def test_a_missing_file_hides_its_folder(tmp_path: Path) -> None:
    """The name of the file stays, where it lies does not."""

    @function
    def tool() -> str:
        return (tmp_path / "data.csv").read_text()

    assert "data.csv" in failure(tool)
    assert str(tmp_path) not in failure(tool)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is\n", "as it is\n"),
        (None, "null"),
        (True, "true"),
        ({"é": [1, 2.5, None]}, '{"é": [1, 2.5, null]}'),
        ((1, "a"), '[1, "a"]'),
        (Item("x"), '{"name": "x", "size": "s"}'),
        (Order(items=[], on=datetime.date(2026, 1, 2)), '{"items": [], "on": "2026-01-02"}'),
    ],
)
def test_results_become_text(result: object, text: str) -> None:
    """A string stays as it is; everything else is JSON."""
    assert call(function(name="tool")(lambda: result)) == text


def test_a_result_that_json_cannot_hold() -> None:
    """The model hears that the result cannot be written."""
    assert "result of tool cannot be written as JSON" in failure(function(name="tool")(lambda: object()))


SCHEMA = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/small"}, "class": {"type": "string"}},
    "required": ["n"],
    "$defs": {"small": {"type": "integer", "maximum": 9}},
}


def test_a_schema_with_a_callable() -> None:
    """The schema is shown as it is, and its arguments come by keyword, whatever their names."""
    tool = FunctionTool.from_schema("tool", "Does.", SCHEMA, lambda **values: values)
    assert tool.description.parameters == SCHEMA
    assert call(tool, **{"n": 3, "class": "x"}) == '{"n": 3, "class": "x"}'
    assert failure(tool, n=10) == "Invalid arguments for tool: n: 10 is greater than the maximum of 9"
    assert failure(tool) == "Invalid arguments for tool: arguments: 'n' is a required property"


def test_a_schema_that_is_none() -> None:
    """What is no JSON schema is refused when the tool is made."""
    with pytest.raises(ToolError, match="parameters of tool are not a JSON schema"):
        FunctionTool.from_schema("tool", "", {"type": "objekt"}, lambda: "")


def test_a_schema_fetches_nothing() -> None:
    """A reference to the network is an error, not a request."""
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    assert "refers to what is not in it" in failure(FunctionTool.from_schema("tool", "", schema, print), a=1)


class Drawing(BaseModel):
    pages: list[bytes]


@dataclasses.dataclass(slots=True)
class Photo:
    pixels: bytes


@pytest.mark.parametrize(
    "result",
    [
        *(b"png", bytearray(3), [b"x"], {"image": memoryview(b"x")}, ({"a": [b""]},)),
        *(Drawing(pages=[b"x"]), [Photo(b"x")]),
    ],
)
def test_bytes_are_refused(result: object) -> None:
    """Bytes, wherever they are in a result, are no text that a model could read."""
    assert failure(function(name="tool")(lambda: result)).startswith("The result of tool is bytes")


def test_a_number_that_json_has_not() -> None:
    """NaN and the infinities are refused: what goes back is JSON that any parser reads."""
    for number in (float("nan"), float("inf")):
        assert "cannot be written as JSON" in failure(function(name="tool")(lambda number=number: [number]))


@pytest.mark.parametrize("answer", [False, None, "yes", 1])
def test_only_true_approves(answer: object) -> None:
    """A call runs when its tool's `approve` says True, after its arguments were found to fit."""
    asked = []

    def approve(tool: str, arguments: str) -> bool:
        asked.append((tool, arguments))
        return answer  # type: ignore[return-value]

    @function(approve=approve)
    def tool(n: int) -> int:
        """Doubles."""
        return 2 * n

    assert "missing" in failure(tool)
    assert "The user refused this call of tool, so it did not run" in failure(tool, n=1)
    assert asked == [("tool", '{"n": 1}')]
    assert call(function(name="tool", approve=lambda *_: True)(lambda: "ran")) == "ran"


def test_an_approval_without_more_answers_is_an_error() -> None:
    """A StopIteration, which no future can hold, ends the call; nothing waits for it for ever."""
    no_more: Iterator[bool] = iter(())
    tool = function(name="tool", approve=lambda *_: next(no_more))(lambda: "ran")

    async def ask() -> str:
        return await asyncio.wait_for(tool.call("{}"), 60)

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(ask())


def test_an_approval_that_fails_lets_nothing_run() -> None:
    """An exception in `approve` is no yes."""
    ran = []
    tool = FunctionTool.from_schema("tool", "", None, lambda: ran.append(1), lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ZeroDivisionError):
        call(tool)
    assert ran == []
