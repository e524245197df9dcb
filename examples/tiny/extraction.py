"""JSON answers: a sentence, a schema, and the object that the sentence fills."""

import json
from random import Random
from typing import Any

from functions import CITIES

from harmony import JsonSchema

NAMES = (
    "Anna", "Maria", "John", "Peter", "Laura", "David", "Sarah", "James", "Emma", "Oliver", "Paul",
    "Julia", "Thomas", "Martin", "Clara", "Alice", "Robert", "Linda", "Daniel", "Sofia", "Lucas",
    "Nina", "Victor", "Helen", "George", "Ivan", "Carlos", "Eva", "Simon", "Grace", "Ahmed", "Yuki",
)  # fmt: skip
ITEMS = (
    "apples", "books", "chairs", "pens", "lamps", "tables", "cups", "shirts", "shoes", "phones",
    "bottles", "bags", "clocks", "plates", "bikes", "tickets", "cameras", "boxes", "keys", "hats",
)  # fmt: skip


def _object(**properties: str) -> dict[str, Any]:
    fields = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": fields, "required": list(fields)}


SCHEMAS = {
    "person": _object(name="string", age="integer", city="string"),
    "order": _object(item="string", quantity="integer", price="number"),
}


def question(random: Random) -> tuple[str, str, str]:
    """A request, the name of its schema, and the JSON text that answers it."""
    return _person(random) if random.random() < 0.5 else _order(random)


def section(name: str) -> str:
    """The part of a developer message that asks for this schema."""
    return JsonSchema(SCHEMAS[name], name).section


def _person(random: Random) -> tuple[str, str, str]:
    name, age, city = random.choice(NAMES), random.randrange(1, 100), random.choice(CITIES)
    told = random.choice((
        "{name} is {age} years old and lives in {city}.", "{name}, {age}, from {city}.",
        "My friend {name} lives in {city} and is {age}.", "I am {name}, {age} years old, from {city}.",
        "In {city} lives {name}, who is {age} years old.", "{name} ({age}) lives in {city}.",
    )).format(name=name, age=age, city=city)  # fmt: skip
    return _ask(random, told), "person", json.dumps({"name": name, "age": age, "city": city})


def _order(random: Random) -> tuple[str, str, str]:
    item, quantity = random.choice(ITEMS), random.randrange(2, 1000)
    price = random.choice((float(f"{random.uniform(0.5, 999):.2f}"), random.randrange(1, 999)))
    told = random.choice((
        "I ordered {quantity} {item} for {price}.", "{quantity} {item} at {price} each.",
        "Please send {quantity} {item}, price {price}.", "She bought {quantity} {item} for {price}.",
        "Order: {quantity} {item}, {price}.",
    )).format(item=item, quantity=quantity, price=price)  # fmt: skip
    return _ask(random, told), "order", json.dumps({"item": item, "quantity": quantity, "price": price})


def _ask(random: Random, told: str) -> str:
    return random.choice(("{}", "Extract: {}", "Extract the data: {}", "Fill in the JSON: {}")).format(told)
