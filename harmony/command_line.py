"""What the command lines share: options and files whose every mistake is a UsageError of one line."""

import argparse
import json
import math
import sys
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from harmony.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser of options that raises UsageError, and shows its texts as they are written."""

    def __init__(self, **options: Any) -> None:
        given: dict[str, Any] = {
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        } | options
        super().__init__(**given)

    def error(self, message: str) -> NoReturn:
        unknown = next((word.rstrip(":") for word in message.split() if word.startswith("--")), "")
        raise UsageError(f"{message}{did_you_mean(unknown, self._option_string_actions)} (see --help)")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A question to end an error with, where a known name is spelled nearly like an unknown one."""
    near = [] if name in known else get_close_matches(name, known, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def positive(text: str) -> int:
    """The type of an option that is a number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on: {text}")
    return int(text)


def seconds(text: str) -> float:
    """The type of an option that is a time."""
    try:
        given = float(text)
    except ValueError:
        given = -1.0
    if not 0 < given < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0: {text}")
    return given


def read_text(file: str) -> str:
    """The text of a file; - is standard input."""
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{_name(file)} is not UTF-8 (byte {error.start}); give a text file") from None


def read_json(file: str) -> Any:
    """The JSON of a file; - is standard input."""
    return parse_json(read_text(file), file)


def parse_json(text: str, file: str) -> Any:
    """The JSON in a text that was read from this file."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{_name(file)} is not JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{_name(file)} is nested too deeply") from None


def read_schema(file: str) -> dict[str, object]:
    """The JSON schema of a file; - is standard input."""
    schema = read_json(file)
    if not isinstance(schema, dict):
        raise UsageError(f"{_name(file)} holds no JSON schema; write an object into it")
    return schema


def _name(file: str) -> str:
    return "standard input" if file == "-" else file
