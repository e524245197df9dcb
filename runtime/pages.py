"""The pages of a cache, counted: in use, kept for a later prompt, or free."""

from collections.abc import Callable

PAGE = 64  # positions, as the GPU's kernels read them


class PagePool:
    """Numbers of pages, of one layer type.

    A page in use has users. A page that is kept goes idle when the last of them leaves, and is evicted when
    nothing else is free: first the one that went idle first.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(reversed(range(size)))  # the last one freed is taken first, so few are touched
        self._users = [0] * size
        self._idle: dict[int, None] = {}
        self._kept: dict[int, Callable[[], None]] = {}  # what to do when it is evicted

    @property
    def available(self) -> int:
        """How many pages can be taken."""
        return len(self._free) + len(self._idle)

    def take(self) -> int:
        """A page for one user; there must be one available."""
        page = self._free.pop() if self._free else self._evict()
        self._users[page] = 1
        return page

    def share(self, page: int) -> None:
        """One user more for a page that is in use or idle."""
        self._idle.pop(page, None)
        self._users[page] += 1

    def release(self, page: int) -> None:
        """One user less."""
        self._users[page] -= 1
        if self._users[page] == 0:
            if page in self._kept:
                self._idle[page] = None
            else:
                self._free.append(page)

    def keep(self, page: int, evicted: Callable[[], None]) -> None:
        """Keep what a page in use holds when it goes idle; `evicted` is called when it is lost."""
        self._kept[page] = evicted

    def drop(self, page: int) -> None:
        """Keep a page no longer."""
        del self._kept[page]
        if page in self._idle:
            del self._idle[page]
            self._free.append(page)

    def is_idle(self, page: int) -> bool:
        """Whether a page is kept and has no user."""
        return page in self._idle

    def _evict(self) -> int:
        page = next(iter(self._idle))
        del self._idle[page]
        self._kept.pop(page)()
        return page


def pages_of(length: int) -> int:
    """How many pages hold `length` positions."""
    return -(-length // PAGE)
