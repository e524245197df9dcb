"""Built-in tools in the words of OpenAI: the items of hosted tools, and annotations for citations.

Source: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harmony.call_ids import random_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harmony.server.generation import Returned
    from harmony.tools.citations import Citation

Json = dict[str, Any]


@dataclass(frozen=True)
class Hosted:
    """How the calls of a tool are written.

    An item of type `item` begins with what `opening` gives for the called address, and ends with what
    `result` gives for the answer. The events of the item are named after it; while the tool runs, it is
    `running`. `shows_code` says that the text of the call streams.
    """

    item: str
    prefix: str
    running: str
    opening: Callable[[str], Json]
    result: Callable[[Returned], Json]
    shows_code: bool = False

    def new_item(self, address: str) -> Json:
        """The item of a call that begins."""
        item = {"type": self.item, "id": random_id(self.prefix), "status": "in_progress"}
        return {**item, **self.opening(address)}


def url_citation(citation: Citation) -> Json:
    """What a citation leads to, and where it stands: `text[start_index:end_index]`.

    `lines`, the first and last line that it names, are ours; clients of OpenAI pass over them.
    """
    written: Json = {
        "start_index": citation.start,
        "end_index": citation.end,
        "url": citation.url,
        "title": citation.title,
    }
    return written if citation.lines is None else {**written, "lines": [*citation.lines]}


def hosted(address: str) -> Hosted | None:
    """How calls to the built-in tool at this address are written; None if its calls are not shown."""
    return _HOSTED.get(address.partition(".")[0])


_ACTIONS: Final[Mapping[str, Json]] = {
    "browser.search": {"type": "search", "query": ""},
    "browser.open": {"type": "open_page", "url": ""},
    "browser.find": {"type": "find_in_page", "pattern": "", "url": ""},
}
"""What a call looks up, as far as its address tells."""

_HOSTED: Final[Mapping[str, Hosted]] = {
    "python": Hosted(
        "code_interpreter_call",
        "ci",
        "interpreting",
        opening=lambda _: {"code": "", "container_id": "local", "outputs": []},
        result=lambda returned: {"outputs": [{"type": "logs", "logs": returned.text}]},
        shows_code=True,
    ),
    "browser": Hosted(
        "web_search_call",
        "ws",
        "searching",
        opening=lambda address: {"action": _ACTIONS.get(address, _ACTIONS["browser.search"])},
        result=lambda returned: {} if returned.action is None else {"action": {**returned.action}},
    ),
}

ITEMS: Final = frozenset(written.item for written in _HOSTED.values())
"""The types of their items."""

CHOICES: Final[Mapping[str, str]] = {
    "code_interpreter": "python",
    "web_search": "browser",
    "web_search_preview": "browser",
    "web_search_preview_2025_03_11": "browser",
}
"""The tools by the types under which a `tool_choice` names them."""
