"""The properties of the harmony format on many examples, not only the hundred each of the tests.

    python tests/bench/fuzz_format.py --examples 20000 --seed 1

The examples are split evenly over the properties. Prints how many of each passed; exit status 0 if all did.
The same seed gives the same examples. What fails is shrunk and shown, as in the tests. Without `CI` in the
environment, the tests themselves run new examples each time.
"""

import argparse
import re
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent / "format"
PROPERTIES = {
    "test_rendering.py": (
        "test_any_conversation_renders_as_in_the_oracle",
        "test_any_message_renders_as_in_the_oracle",
        "test_what_the_oracle_refuses_is_refused",
    ),
    "test_signatures.py": (
        "test_a_sensible_schema_renders_as_in_the_oracle",
        "test_any_schema_renders_as_in_the_oracle",
        "test_default_numbers_are_rounded_as_in_the_oracle",
    ),
    "test_parsing.py": (
        "test_rendered_conversations_parse_back",
        "test_well_formed_streams_parse_as_in_the_oracle",
    ),
    "test_educational.py": (
        "test_the_twin_renders_the_same_tokens",
        "test_the_twin_parses_the_same_messages",
    ),
    "test_streaming.py": (
        "test_a_lenient_parser_takes_anything_and_loses_no_text",
        "test_a_strict_parser_raises_or_agrees_with_a_lenient_one",
        "test_deltas_make_up_the_decoded_text",
    ),
}


class Fuzz:
    """A pytest plugin: each property runs this many examples, however slow, and a line tells how it went."""

    def __init__(self, examples: int) -> None:
        self._examples = examples

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        from hypothesis import HealthCheck, settings  # pytest rewrites its assertions, so not before pytest

        settings.register_profile(
            "fuzz",
            max_examples=self._examples,
            deadline=None,
            database=None,
            suppress_health_check=[*HealthCheck],
        )

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.when == "call":
            outcome = "failed" if call.excinfo else "passed"
            counts = re.findall(r"\d+ passing.*", getattr(item, "hypothesis_statistics", ""))
            print(f"{outcome}: {item.name}: {'; '.join(counts)}; {call.duration:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=20_000, help="in all (default 20000)")
    parser.add_argument("--seed", type=int, default=0, help="(default 0)")
    options = parser.parse_args()
    names = [f"{TESTS / file}::{name}" for file, properties in PROPERTIES.items() for name in properties]
    fuzz = Fuzz(-(-options.examples // len(names)))
    settings = ["--hypothesis-profile=fuzz", f"--hypothesis-seed={options.seed}", "-p", "no:cacheprovider"]
    return int(pytest.main([*names, *settings, "-s", "--no-header"], plugins=[fuzz]))


if __name__ == "__main__":
    sys.exit(main())
