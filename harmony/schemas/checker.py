"""Validation of finished values by jsonschema, with formats, patterns and decimals as the mask reads them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from harmony.errors import SchemaUnsupportedError
from harmony.schemas.document import METASCHEMAS, ROOT, Document
from harmony.schemas.formats import CHECKED_OUTSIDE, LONGEST, PATTERNS
from harmony.schemas.keywords import Draft, escaped
from harmony.schemas.patterns import in_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harmony.schemas.algebra import Schema


_BASE: Final = "urn:schema"


class Checker:
    """The subschemas of a document as validators."""

    def __init__(self, document: Document) -> None:
        """Raises `SchemaUnsupportedError` for a pattern that Python's `re` cannot read."""
        self._document = document
        self._pointers: dict[int, str] = {}
        translated = self._translated(document.schema, ROOT)
        resource = document.resource(translated, document.draft)
        self._base = resource.id() or _BASE
        self._registry = METASCHEMAS.with_resource(self._base, resource)

    def error(self, schema: Schema, value: Any) -> ValidationError | None:
        """What is most wrong with a value by a subschema of the document, or None if it fits."""
        if isinstance(schema, bool):
            return None if schema else ValidationError("No value is allowed here.", validator="false")
        reference = {"$ref": f"{self._base}{self._pointers[id(schema)]}"}
        validator = _draft_as_masked(self._document.draft)(
            reference, registry=self._registry, format_checker=formats()
        )
        try:
            error: ValidationError | None = best_match(validator.iter_errors(value))
        except RecursionError:
            return ValidationError("The value is nested too deeply to be checked.", validator="nesting")
        return error

    def _translated(self, value: Any, pointer: str) -> Any:
        """A copy whose patterns Python reads; notes where the copy of each object stands."""
        if isinstance(value, list):
            return [self._translated(part, f"{pointer}/{index}") for index, part in enumerate(value)]
        if not isinstance(value, dict):
            return value
        self._pointers[id(value)] = pointer
        copy = {name: self._translated(part, f"{pointer}/{escaped(name)}") for name, part in value.items()}
        if not self._document.is_subschema(value):
            return copy
        if self._document.draft_of(value, self._document.draft) is self._document.draft:
            copy.pop("$schema", None)  # it would name the draft without our changes
        if "pattern" in value:
            copy["pattern"] = self._in_python(value["pattern"], value)
        if "patternProperties" in value:
            here = f"{pointer}/patternProperties"
            names = {name: self._in_python(name, value) for name in value["patternProperties"]}
            copy["patternProperties"] = {
                names[name]: self._translated(part, f"{here}/{escaped(names[name])}")
                for name, part in value["patternProperties"].items()
            }
        return copy

    def _in_python(self, pattern: str, schema: dict[str, Any]) -> str:
        try:
            return in_python(pattern)
        except re.error as error:
            path = self._document.path(schema)
            raise SchemaUnsupportedError(
                f"{path}: Python does not read the pattern {pattern!r} ({error}); write it differently.",
                path=path,
                keyword="pattern",
            ) from error


@cache
def _draft_as_masked(draft: Draft) -> Draft:
    """A draft whose numbers are decimal, as in JSON, and that knows `dependencies`."""
    known = {"multipleOf": _multiple_of, "dependencies": Draft7Validator.VALIDATORS["dependencies"]}
    extended: Draft = extend(draft, known)  # type: ignore[no-untyped-call]
    return extended


def _multiple_of(validator: Any, factor: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "number") and Decimal(repr(value)) % Decimal(repr(factor)):
        yield ValidationError(f"{value!r} is not a multiple of {factor!r}")


@cache
def formats() -> FormatChecker:
    """Checks of the formats that are enforced, and of no others."""
    formats = FormatChecker(formats=())
    for name, expression in PATTERNS.items():
        formats.checks(name)(_matches(re.compile(expression), LONGEST.get(name)))
    for name in CHECKED_OUTSIDE:
        check, errors = Draft202012Validator.FORMAT_CHECKER.checkers[name]
        formats.checks(name, raises=errors)(check)
    return formats


def _matches(expression: re.Pattern[str], longest: int | None) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, str):
            return True
        return (longest is None or len(value) <= longest) and expression.fullmatch(value) is not None

    return check
