"""Files that the command lines read; each mistake is a UsageError of one line."""

import json
from pathlib import Path
from typing import Any

from harmony.errors import UsageError


def read_text(path: Path) -> str:
    """The text of a file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a text file") from error


def read_json(path: Path) -> Any:
    """The JSON of a file."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); correct it") from error


def read_schema(path: Path) -> dict[str, object]:
    """The JSON schema of a file."""
    schema = read_json(path)
    if not isinstance(schema, dict):
        raise UsageError(f"{path} holds no JSON schema; write an object into it")
    return schema
