"""The tiny model's lessons about the browser: what is asked, what is shown, what is held out."""

import dataclasses
import itertools
import json
from random import Random

import copying
import lookups
import pytest
from conversations import Writer
from evaluate import cited
from scripted import Scripted

from harmony import HarmonyEncoding, ReasoningEffort
from harmony.agent import Agent
from harmony.runtime.models import load_engine
from harmony.tools import Browser


@pytest.fixture(scope="module")
def library() -> lookups.Library:
    """The documentation of this package."""
    return lookups.real_library()


@pytest.fixture(scope="module")
def writer(encoding: HarmonyEncoding) -> Writer:
    return Writer(encoding, seed=3)


def test_a_lookup_is_written_as_the_agent_runs_it(
    encoding: HarmonyEncoding, library: lookups.Library, writer: Writer
) -> None:
    """An agent whose model samples what is learned gives it the very tokens that it learned from."""
    setting = dataclasses.replace(
        writer._setting(browser=True),
        effort=ReasoningEffort.MEDIUM,
        python=False,
        functions=(),
        instructions=None,
    )
    lookup = library.lookup("loss mask", view_tokens=512)
    assert lookup is not None
    example = writer._answered(setting, lookup)
    pairs = zip(example.tokens, example.sampled, strict=True)
    said = [
        (mine, [token for token, _ in run]) for mine, run in itertools.groupby(pairs, lambda pair: pair[1])
    ]
    asked = encoding.decode(said[0][1]).split("<|message|>")[1].split("<|end|>")[0]
    engine = Scripted(*(encoding.decode(tokens) for mine, tokens in said if mine), context_length=4096)
    browser = Browser()
    result = Agent(engine, tools=[browser]).run_sync(asked)
    prompt = encoding.decode(engine.prompts[-1])
    assert prompt.endswith(encoding.decode([token for _, run in said[:-1] for token in run]))
    assert result.text == lookup.answer
    assert cited(browser, "loss mask")(result, ["browser.search", "browser.open"])
    assert not cited(browser, "gate opens")(result, ["browser.search", "browser.open"])
    assert not cited(browser, "loss mask")(result, ["browser.search"])


def test_what_is_held_out_is_never_asked(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in searches nor in whole lookups, though there are such sections."""
    held_out = {phrase.casefold() for phrase in lookups.held_out_phrases()}
    assert len(held_out) > 40
    tempting = dataclasses.replace(writer._documentation, phrases=("loss mask", *held_out))
    monkeypatch.setattr(writer, "_documentation", tempting)
    asked = [writer._about() for _ in range(500)]
    found = [writer._found(tempting, 128, 0).about for _ in range(2)]
    assert not held_out & {about.casefold() for about in (*asked, *found)}


def test_invented_pages_have_the_form_of_real_ones(writer: Writer) -> None:
    """They are found, opened and cited in the same way, under their own titles."""
    libraries = lookups.invented_libraries(Random(5), list(lookups.words_of_documentation()))
    invented = next(libraries)
    found = [lookup for about in invented.phrases[:20] if (lookup := invented.lookup(about, 256, cursor=2))]
    assert found
    for lookup in found:
        assert lookup.opened.startswith("[3] ")
        title = lookup.opened.split("\n")[0].removeprefix("[3] ").rpartition(" (local")[0]
        assert lookup.answer.startswith(f"The documentation has it on the page {title}【3†L")
    next(libraries)


def test_sections_end_at_headings_outside_of_code() -> None:
    """A comment in code begins no section."""
    text = "# Title\nfirst\n```bash\n# a comment\n```\n## 2. Next\nsecond"
    found = list(lookups.sections("page.md", text))
    assert [section.heading for section in found] == ["", "Title", "2. Next"]
    assert found[1].lines == ("first", "```bash", "# a comment", "```")


def test_copying_says_the_same_words_again() -> None:
    """As they were or as a JSON list."""
    random = Random(1)
    for _ in range(20):
        asked, answer = copying.question(random, ["one", "two", "three"], 6)
        kind, _, words = asked.partition(": ")
        assert (answer if kind == "Repeat" else ", ".join(json.loads(answer))) == words


def test_the_bundled_model_finds_what_was_held_out(library: lookups.Library) -> None:
    """Nine of ten phrases that no training question was about; eight, should the documentation change."""
    phrases = [phrase for phrase in lookups.held_out_phrases() if library.lookup(phrase, view_tokens=512)]
    engine, found = load_engine("tiny"), []
    for about in Random(4).sample(phrases, 10):
        browser = Browser()
        result = Agent(engine, tools=[browser]).run_sync(f"What does the documentation say about {about}?")
        called = [message.recipient for message in result.messages if message.recipient != "assistant"]
        found.append(cited(browser, about)(result, [*filter(None, called)]))
    assert sum(found) >= 8
