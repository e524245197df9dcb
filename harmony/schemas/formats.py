"""The formats of JSON Schema 2020-12 that a regular expression can state, and those that it cannot.

One text serves the mask and the check, so that both mean the same. It may be narrower than the RFC where
the difference is of no use to a program that reads the value: no leap seconds, no year 0, an upper-case
T and Z, no address literals in an e-mail. Names that the specification does not define are annotations
(section 7.2.1) and constrain nothing.
"""

from __future__ import annotations

from typing import Final

_YEAR: Final = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR: Final = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE: Final = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_TIME: Final = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_DURATION_TIME: Final = r"T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DURATION_DATE: Final = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"

_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP: Final = r"[0-9A-Fa-f]{1,4}"
_LAST: Final = rf"(?:{_GROUP}:{_GROUP}|{_IPV4})"
# RFC 3986, appendix A: each line has one group less after the `::`.
_IPV6: Final = (
    "(?:"
    + "|".join(
        (
            rf"(?:{_GROUP}:){{6}}{_LAST}",
            rf"::(?:{_GROUP}:){{5}}{_LAST}",
            rf"(?:{_GROUP})?::(?:{_GROUP}:){{4}}{_LAST}",
            rf"(?:(?:{_GROUP}:){{0,1}}{_GROUP})?::(?:{_GROUP}:){{3}}{_LAST}",
            rf"(?:(?:{_GROUP}:){{0,2}}{_GROUP})?::(?:{_GROUP}:){{2}}{_LAST}",
            rf"(?:(?:{_GROUP}:){{0,3}}{_GROUP})?::{_GROUP}:{_LAST}",
            rf"(?:(?:{_GROUP}:){{0,4}}{_GROUP})?::{_LAST}",
            rf"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}",
            rf"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
        )
    )
    + ")"
)

_PERCENT: Final = r"%[0-9A-Fa-f]{2}"
_WIDE: Final = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U0001fffd\U00020000-\U0002fffd"


def _reference(wide: str, *, relative: bool) -> str:
    """A URI (RFC 3986, appendix A) or, with more letters, an IRI (RFC 3987, section 2.2)."""
    unreserved = rf"A-Za-z0-9._~{wide}\-"
    plain = rf"{unreserved}!$&'()*+,;="
    character = rf"(?:[{plain}:@]|{_PERCENT})"
    host = rf"(?:\[(?:{_IPV6}|v[0-9A-Fa-f]+\.[{unreserved}!$&'()*+,;=:]+)\]|(?:[{plain}]|{_PERCENT})*)"
    authority = rf"(?:(?:[{plain}:]|{_PERCENT})*@)?{host}(?::[0-9]*)?"
    rest = rf"(?:/{character}*)*"
    tail = rf"(?:\?(?:{character}|[/?])*)?(?:\#(?:{character}|[/?])*)?"
    absolute = rf"/(?:{character}+{rest})?"
    uri = rf"[A-Za-z][A-Za-z0-9+.\-]*:(?://{authority}{rest}|{absolute}|{character}+{rest}|){tail}"
    if not relative:
        return uri
    first = rf"(?:[{plain}@]|{_PERCENT})+"
    return rf"(?:{uri}|(?://{authority}{rest}|{absolute}|{first}{rest}|){tail})"


_POINTER: Final = r"(?:/(?:[^~/]|~[01])*)*"
_VARIABLE: Final = (
    rf"(?:[A-Za-z0-9_]|{_PERCENT})(?:\.?(?:[A-Za-z0-9_]|{_PERCENT}))*(?:\*|:[1-9][0-9]{{0,3}})?"
)

PATTERNS: Final = {
    "date-time": rf"{_DATE}T{_TIME}",
    "date": _DATE,
    "time": _TIME,
    "duration": rf"P(?:{_DURATION_DATE}(?:{_DURATION_TIME})?|{_DURATION_TIME}|[0-9]+W)",
    "email": rf"{_ATOM}(?:\.{_ATOM})*@{_HOSTNAME}",
    "hostname": _HOSTNAME,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _reference("", relative=False),
    "uri-reference": _reference("", relative=True),
    "iri": _reference(_WIDE, relative=False),
    "iri-reference": _reference(_WIDE, relative=True),
    "uuid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    "uri-template": (
        rf"""(?:[^\x00-\x20\x7f"'%<>\\^`{{|}}]|{_PERCENT}|\{{[+\#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"""
    ),
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9][0-9]*)(?:\#|{_POINTER})",
}
"""Regular expressions for the whole of a string, by format; without look-around or backreferences."""

LONGEST: Final = {"hostname": 253, "email": 254}
"""The most characters that a value of a format may have."""

CHECKED_OUTSIDE: Final = frozenset(("regex", "idn-email", "idn-hostname"))
"""Formats of the specification that no regular expression states; a checker does."""
