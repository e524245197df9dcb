"""Results of pure functions, kept while there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """`memo[key]` is `function(key)`, computed once as long as it is remembered.

    `size` tells what a result takes; when all take more than `capacity`, in the same unit, all are
    forgotten, and what alone takes an eighth of it is not remembered at all. A hit costs what a lookup
    in a dict costs, which a least-recently-used order would not.

    >>> squares = Memo(lambda n: n * n, size=lambda n, square: 1, capacity=100)
    >>> squares[7]
    49
    """

    def __init__(
        self, function: Callable[[Key], Value], *, size: Callable[[Key, Value], int], capacity: int
    ) -> None:
        super().__init__()
        self._function = function
        self._size = size
        self._capacity = capacity
        self._used = 0

    def __missing__(self, key: Key) -> Value:
        value = self._function(key)
        size = self._size(key, value)
        if size > self._capacity // 8:
            return value
        self._used += size
        if self._used > self._capacity:
            self.clear()
            self._used = size
        self[key] = value
        return value
