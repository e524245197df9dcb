"""Function calls: four tools, how people ask for them, what they return, what is then said."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

CITIES = (
    "Paris", "London", "Berlin", "Tokyo", "Rome", "Madrid", "Oslo", "Vienna", "Dublin", "Lisbon",
    "Athens", "Cairo", "Delhi", "Mumbai", "Beijing", "Seoul", "Sydney", "Toronto", "Boston", "Chicago",
    "Dallas", "Denver", "Miami", "Seattle", "Houston", "Moscow", "Prague", "Warsaw", "Zurich", "Geneva",
    "Munich", "Hamburg", "Milan", "Naples", "Brussels", "Amsterdam", "Stockholm", "Helsinki", "Istanbul",
    "Singapore", "Bangkok", "Jakarta", "Lima", "Nairobi", "Lagos", "Montreal", "Barcelona", "New York",
    "San Francisco", "Los Angeles", "Hong Kong", "Mexico City",
)  # fmt: skip
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "INR", "CNY", "SEK")
SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy", "clear", "snow", "storm")


@dataclass(frozen=True)
class FunctionCall:
    """A question, the call that answers it, what the tool returned, and the answer."""

    question: str
    name: str
    arguments: dict[str, Any]
    returned: str
    answer: str


def _weather(random: Random) -> FunctionCall:
    city, sky, degrees = random.choice(CITIES), random.choice(SKIES), random.randrange(-20, 45)
    unit = random.choice((None, None, None, "c", "f"))
    asked = random.choice((
        "What's the weather in {}?", "What is the weather in {}?", "what is the weather in {}",
        "What is the weather like in {}?", "How is the weather in {}?", "How's the weather in {}",
        "Weather in {}?", "weather in {}", "Is it raining in {}?", "Is it sunny in {}?",
        "Is it cold in {}?", "Tell me the weather in {}.", "Get the weather in {}.",
        "What is the temperature in {}?", "Can you check the weather in {}?", "Do I need a coat in {}?",
    )).format(city)  # fmt: skip
    arguments: dict[str, Any] = {"city": city}
    if unit:
        arguments["unit"] = unit
        name = {"c": "celsius", "f": "fahrenheit"}[unit]
        asked = asked.rstrip("?.") + f" in {name}" + ("?" if asked.endswith("?") else "")
    fields = {"temperature": degrees, "sky": sky, "unit": unit or "c"}
    keys = random.choice((("temperature", "sky"), ("temperature", "unit"), ("temperature",),
                          ("sky", "temperature"), ("temperature", "unit", "sky"), ("sky",)))  # fmt: skip
    if random.random() < 0.75:
        returned = _dumped(random, {key: fields[key] for key in keys})
        told = ", ".join(f"{key} {fields[key]}" for key in keys)
    else:
        returned = told = random.choice((f"{degrees} degrees, {sky}", f"{sky}, {degrees}", f"{sky}"))
    return FunctionCall(asked, "get_weather", arguments, returned, f"Weather in {city}: {told}.")


def _time(random: Random) -> FunctionCall:
    city = random.choice(CITIES)
    clock = f"{random.randrange(24):02}:{random.randrange(60):02}"
    asked = random.choice((
        "What time is it in {}?", "what time is it in {}", "What is the time in {}?", "Time in {}?",
        "Tell me the time in {}.", "What is the local time in {}?", "Is it late in {}?",
        "Can you tell me the time in {}?",
    )).format(city)  # fmt: skip
    returned = clock if random.random() < 0.5 else _dumped(random, {"time": clock})
    return FunctionCall(asked, "get_time", {"city": city}, returned, f"It is {clock} in {city}.")


def _dice(random: Random) -> FunctionCall:
    sides = random.choice((4, 6, 8, 10, 12, 20, 100, random.randrange(2, 1000)))
    rolled = random.randrange(1, sides + 1)
    asked = random.choice((
        "Roll a die with {} sides.", "Roll a {}-sided die", "roll a {} sided die", "Roll a d{}.",
        "Please roll a die with {} sides", "Throw a {}-sided die.", "Can you roll a {}-sided die?",
    )).format(sides)  # fmt: skip
    return FunctionCall(asked, "roll_dice", {"sides": sides}, str(rolled), f"You rolled {rolled} of {sides}.")


def _currency(random: Random) -> FunctionCall:
    amount = random.choice((random.randrange(1, 1000), random.randrange(1, 1000000), 100, 50))
    source, target = random.sample(CURRENCIES, 2)
    money = f"{random.uniform(0.1, 5000):.2f}"
    asked = random.choice((
        "Convert {} {} to {}.", "convert {} {} to {}", "How much is {} {} in {}?", "What is {} {} in {}?",
        "Change {} {} into {}.", "{} {} in {}?", "How many {2} are {0} {1}?",
    )).format(amount, source, target)  # fmt: skip
    arguments = {"amount": amount, "source": source, "target": target}
    returned = _dumped(random, {"amount": float(money)}) if random.random() < 0.3 else money
    shown = str(float(money)) if returned.startswith("{") else money
    return FunctionCall(
        asked, "convert_currency", arguments, returned, f"{amount} {source} is {shown} {target}."
    )


def _dumped(random: Random, value: dict[str, Any]) -> str:
    """JSON as tools return it, most of them with spaces."""
    return json.dumps(value, separators=(",", ":") if random.random() < 0.25 else None)


MAKERS: dict[str, Callable[[Random], FunctionCall]] = {
    "get_weather": _weather,
    "get_time": _time,
    "roll_dice": _dice,
    "convert_currency": _currency,
}
_CITY = {"type": "string"}
PARAMETERS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "get_weather": (
        {"city": _CITY, "unit": {"type": "string", "enum": ["c", "f"], "default": "c"}},
        ("city",),
    ),
    "get_time": ({"city": _CITY}, ("city",)),
    "roll_dice": ({"sides": {"type": "integer"}}, ("sides",)),
    "convert_currency": (
        {"amount": {"type": "number"}, "source": {"type": "string"}, "target": {"type": "string"}},
        ("amount", "source", "target"),
    ),
}


def schema(name: str, describe: Callable[[], str | None]) -> dict[str, Any]:
    """The JSON schema of a tool's parameters; `describe` gives each one a description or None."""
    properties, required = PARAMETERS[name]
    described = {}
    for key, value in properties.items():
        text = describe()
        described[key] = {**value, "description": text} if text else dict(value)
    return {"type": "object", "properties": described, "required": list(required)}
