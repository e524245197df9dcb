"""Strings of JSON as symbols."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from harmony.runtime.closing.regexes import found_in, whole_match
from harmony.runtime.closing.symbols import (
    Chars,
    Choice,
    Example,
    Range,
    Repeat,
    Sequence,
    Symbol,
    Text,
    chars,
    others,
)

_CONTROLS: Final = (0, 31)
_ESCAPED: Final = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\b": r"\b", "\f": r"\f"}
_HEX: Final = chars((48, 57), (65, 70), (97, 102))
_RAW: Final = others(chars(_CONTROLS, (34, 34), (92, 92)))
_ESCAPE: Final = Sequence(
    (
        Text("\\"),
        Choice((chars(*((ord(c), ord(c)) for c in 'nrbtf\\"')), Sequence((Text("u"), Repeat(_HEX, 4, 4))))),
    )
)
_CHARACTER: Final = Choice((_RAW, _ESCAPE))
_DATE: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_NAME: Final = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_FORMATS: Final = {  # an example of each, and texts that are begun like it
    "date": ("2000-01-01", _DATE),
    "time": ("00:00:00Z", _TIME),
    "date-time": ("2000-01-01T00:00:00Z", f"{_DATE}T{_TIME}"),
    "email": ("a@a.aa", rf"[^\s@\\]+@{_NAME}\.[A-Za-z0-9]+"),
    "hostname": ("a", _NAME),
    "ipv4": ("0.0.0.0", r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"),
    "ipv6": ("::", r"[0-9A-Fa-f:.]+"),
    "uuid": (
        "00000000-0000-0000-0000-000000000000",
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    ),
    "uri": ("a:a", r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]*"),
}


def string(schema: Mapping[str, Any]) -> Symbol:
    """The strings that a schema accepts; of bounds beside a pattern the pattern alone is heeded."""
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        return in_quotes(found_in(schema["pattern"]))
    text = Sequence((Text('"'), Repeat(_CHARACTER, least, most), Text('"')))
    if schema.get("format") not in _FORMATS:
        return text
    example, pattern = _FORMATS[schema["format"]]
    return Example(in_quotes(whole_match(f"^{pattern}$")), f'"{example}"')


def string_besides(names: Iterable[str]) -> Symbol:
    """Any string but these."""
    return Sequence((Text('"'), _besides([[_ESCAPED.get(c, c) for c in name] for name in names])))


def _besides(names: Collection[list[str]]) -> Symbol:
    """The rest of a string, and its end, if it is not the rest of one of these."""
    heads = dict.fromkeys(name[0] for name in names if name)
    raw = others(chars(_CONTROLS, (34, 34), (92, 92), *((ord(h), ord(h)) for h in heads if len(h) == 1)))
    options: list[Symbol] = [] if any(not name for name in names) else [Text('"')]
    for head in heads:
        rests = [name[1:] for name in names if name[:1] == [head]]
        options.append(Sequence((Text(head), _besides(rests))))
    options.append(Sequence((Choice((raw, _ESCAPE)), Repeat(_CHARACTER), Text('"'))))
    return Choice(tuple(options))


def in_quotes(symbol: Symbol) -> Symbol:
    """The texts of a symbol as strings of JSON."""
    return Sequence((Text('"'), _escaped(symbol, {}), Text('"')))


def _escaped(symbol: Symbol, known: dict[Symbol, Symbol]) -> Symbol:
    """A symbol of characters as JSON writes them within a string."""
    if symbol in known:
        return known[symbol]
    match symbol:
        case Text(text):
            known[symbol] = Text("".join(_ESCAPED.get(c, c) for c in text))
        case Chars(ranges):
            raw = chars(*_intersected(ranges, _RAW.ranges))
            short = [Text(written) for c, written in _ESCAPED.items() if c in symbol]
            known[symbol] = Choice((raw, *short) if raw.ranges else tuple(short))
        case Sequence(parts):
            known[symbol] = Sequence(tuple(_escaped(part, known) for part in parts))
        case Choice(options):
            known[symbol] = Choice(tuple(_escaped(option, known) for option in options))
        case Repeat(part, least, most):
            known[symbol] = Repeat(_escaped(part, known), least, most)
        case _:
            known[symbol] = symbol
    return known[symbol]


def _intersected(one: tuple[Range, ...], other: tuple[Range, ...]) -> Iterator[Range]:
    for low, high in one:
        for start, end in other:
            if max(low, start) <= min(high, end):
                yield max(low, start), min(high, end)
