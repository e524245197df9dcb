"""The measurement of the first token runs."""

import first_token


def test_the_first_token_comes_before_the_end() -> None:
    """On the clock and in CPU time."""
    first_wall, first_cpu, end_wall, end_cpu = first_token.measure("process")
    assert 0 < first_wall < end_wall
    assert 0 < first_cpu < end_cpu
