"""Numbers in a prompt as openai-harmony writes them, rounding faults included.

That package sends a schema through serde_json, which reads a decimal as an integer significand and then
multiplies or divides it by powers of ten, rounding each time; about one in ten decimals of 15 or more
digits ends one unit in the last place off. A token-exact prompt needs those digits.
Source: serde_json 1.0.140 without its feature float_roundtrip, and the float layout of ryu.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_INTEGERS: Final = range(-(2**63), 2**64)
_LARGEST_POWER: Final = 308


def number_text(value: float) -> str:
    """The JSON text of an int or float; raises `ValueError` if it is too large for a float."""
    if isinstance(value, int) and value in _INTEGERS:
        return str(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    kept = _leading_digits("".join(map(str, digits)))
    magnitude = _scaled(int(kept), int(exponent) + len(digits) - len(kept))
    return _float_text(-magnitude if sign else magnitude)


def _leading_digits(digits: str) -> str:
    """As many of the digits as an unsigned integer of 64 bits holds."""
    while int(digits) >= _INTEGERS.stop:
        digits = digits[:-1]
    return digits


def _scaled(significand: int, exponent: int) -> float:
    number = float(significand)
    while number and exponent < -_LARGEST_POWER:
        number /= 1e308
        exponent += _LARGEST_POWER
    if not number:
        return 0.0
    if exponent < 0:
        return number / float(f"1e{-exponent}")
    scaled = number * float(f"1e{exponent}")
    if scaled == float("inf"):
        raise ValueError("a number in it is too large for a float")
    return scaled


def _float_text(number: float) -> str:
    """Fixed notation with at least one decimal from 1e-5 to 1e16, else an exponent without plus or zeros."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if not number:
        fixed = "0.0"
    elif 0 < point <= 16:
        fixed = f"{text[:point].ljust(point, '0')}.{text[point:] or '0'}"
    elif -5 < point <= 0:
        fixed = f"0.{'0' * -point}{text}"
    else:
        fixed = f"{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1}"
    return f"-{fixed}" if sign else fixed
