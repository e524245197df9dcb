"""The formats mean the same to the mask and the check, and nothing that others would refuse."""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from writing import MaskWriter

from harmony.schemas import enforce
from harmony.schemas.checker import formats
from harmony.schemas.formats import CHECKED_OUTSIDE, LONGEST, PATTERNS

OURS = formats()
THEIRS = Draft202012Validator.FORMAT_CHECKER
SHARED = sorted(PATTERNS.keys() & THEIRS.checkers.keys())

RIGHT = {
    "date-time": ["2024-02-29T23:59:59.123456789+23:59", "0001-01-01T00:00:00Z"],
    "date": ["2024-02-29", "2000-02-29", "1999-12-31"],
    "time": ["00:00:00Z", "23:59:59.5-00:30"],
    "duration": ["P1Y2M3DT4H5M6S", "P3W", "PT0S", "P1D"],
    "email": ["a.b+c@example.com", "o'neil@x"],
    "hostname": ["a", "xn--bcher-kva.example", "a" * 63],
    "ipv4": ["0.0.0.0", "255.255.255.255"],
    "ipv6": ["::", "::1", "1:2:3:4:5:6:7:8", "1::8", "::ffff:1.2.3.4", "1:2:3:4:5:6:7::"],
    "uri": ["http://a@[::1]:80/b%20c?d#e", "urn:x:y", "mailto:a@b"],
    "uri-reference": ["", "a/b", "//h", "#f"],
    "iri": ["http://é/ü?ß"],
    "iri-reference": ["é"],
    "uuid": ["2EB8AA08-aa98-11ea-b4aa-73b441d16380"],
    "uri-template": ["", "/{a}/{?b,c*}{d:3}"],
    "json-pointer": ["", "/a~0b~1/0", "//"],
    "relative-json-pointer": ["0#", "12/a"],
    "regex": ["^a(b|c)*$"],
    "idn-email": ["é@é"],
    "idn-hostname": ["bücher.example"],
}
WRONG = {
    "date-time": [
        "2016-12-31T23:59:60Z",
        "2024-01-01T10:30:60Z",
        "2024-01-01t00:00:00z",
        "2024-01-01 00:00:00Z",
    ],
    "date": ["2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31", "24-01-01", "0000-01-01"],
    "time": ["10:30:60Z", "23:59:60Z", "24:00:00Z", "10:30:00", "10:60:00Z", "10:30:00z", "10:30:00+24:00"],
    "duration": ["P", "PT", "P1DT", "1D", "P1W2D", "PT1D", "P1.5D", "P1S"],
    "email": ["a", "@b", "a@", ".a@b", "a..b@c", "a@b_c"],
    "hostname": ["", "-a", "a-", "a..b", "a_b", "a" * 64, ".".join(["a" * 50] * 6)],
    "ipv4": ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", ""],
    "ipv6": [":", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7", "::1.2.3", "1:2:3:4:5:6:7:8::"],
    "uri": ["", "a", "//h/p", "http://a b", "http://[::1", "1a:b", "http://%zz"],
    "uri-reference": ["\\", "a b", "http://[x]"],
    "iri": ["é"],
    "iri-reference": ["\\"],
    "uuid": ["2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638"],
    "uri-template": ["{a", "a}", "{}"],
    "json-pointer": ["a", "/~", "/~2"],
    "relative-json-pointer": ["/a", "01/a", "-1"],
    "regex": ["(", "[a"],
    "idn-email": ["x"],
    "idn-hostname": ["〮한국"],
}


def test_every_format_has_examples() -> None:
    """None is forgotten."""
    assert RIGHT.keys() == WRONG.keys() == PATTERNS.keys() | CHECKED_OUTSIDE


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_mask_and_check_know_right_from_wrong(name: str) -> None:
    """Both accept the right examples and refuse the wrong ones; the mask all that it enforces alone."""
    enforced = enforce({"type": "string", "format": name})
    assert bool(enforced.residuals) == (name in CHECKED_OUTSIDE)
    writer = MaskWriter(enforced.mask)
    for text in RIGHT[name]:
        assert writer.text(text) is not None, text
        assert OURS.conforms(text, name), text
    for text in WRONG[name]:
        assert name in CHECKED_OUTSIDE or writer.text(text) is None, text
        assert not OURS.conforms(text, name), text


@pytest.mark.parametrize("name", SHARED)
@given(data=st.data())
def test_what_we_accept_jsonschema_accepts(name: str, data: st.DataObject) -> None:
    """Whatever matches a pattern passes the format checker of jsonschema."""
    text = data.draw(st.from_regex(PATTERNS[name], fullmatch=True))
    assert THEIRS.conforms(text, name)


@given(st.datetimes(timezones=st.timezones()), st.uuids(), st.ip_addresses(), st.dates())
def test_what_python_writes_is_accepted(
    at: datetime.datetime,
    identity: uuid.UUID,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    day: datetime.date,
) -> None:
    """Moments, days, identifiers and addresses of the standard library fit their formats."""
    whole_minutes = at.replace(tzinfo=datetime.timezone(datetime.timedelta(minutes=-90)))
    assert OURS.conforms(whole_minutes.isoformat(), "date-time")
    assert OURS.conforms(whole_minutes.timetz().isoformat(), "time")
    assert OURS.conforms(str(identity), "uuid")
    assert OURS.conforms(str(address), f"ipv{address.version}")
    assert OURS.conforms(day.isoformat(), "date")


@given(st.from_regex(PATTERNS["date-time"], fullmatch=True))
def test_a_moment_that_is_accepted_exists(text: str) -> None:
    """Python reads it: the day is in the calendar, and no second is 60."""
    assert datetime.datetime.fromisoformat(text)
    assert not re.search(":60", text[:19])


def test_a_format_may_be_limited_in_length() -> None:
    """To the character."""
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(longest) == LONGEST["hostname"]
    writer = MaskWriter(enforce({"type": "string", "format": "hostname"}).mask)
    assert writer.text(longest) is not None
    assert writer.text(f"{longest}a") is None
