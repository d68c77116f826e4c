"""Which samples a rule drops, on literal scores."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.decoding.rules import Rule


@dataclass(frozen=True)
class Known:
    q_value: float | None
    reward: float | None = None


def samples(*values: float | None) -> list[Known]:
    return [Known(value, None if value is None else -value) for value in values]


@pytest.mark.parametrize(
    ("rule", "values", "running", "kept", "dropped"),
    [
        # All below the threshold, the worst first, ended or not.
        (Rule("q_value", 1, 0.0), (0.1, -0.2, -0.3, 0.2), "1101", 0, [2, 1]),
        # Exactly the threshold is not below it.
        (Rule("q_value", 1, 0.0), (0.0, -0.1), "11", 0, [1]),
        # Two must stay: the best of those below.
        (Rule("q_value", 2, 0.5), (0.1, 0.3, 0.2), "111", 0, [0]),
        # One that ended before is among those that stay.
        (Rule("q_value", 2, 0.5), (0.1, 0.3, 0.2), "111", 1, [0, 2]),
        (Rule("q_value", 3, 0.5), (0.1, 0.3), "11", 0, []),
        # A share of those that go on: of three, one.
        (Rule("q_value", 1, share=0.5), (0.1, 0.4, 0.2, 0.0), "1110", 0, [0]),
        (Rule("reward", 1, share=0.5), (0.1, 0.4, 0.2, 0.3), "1111", 0, [1, 3]),
        # Samples without a score stay.
        (Rule("q_value", 1, 0.5), (None, 0.1, None), "111", 0, [1]),
        (Rule("q_value", 1, share=0.9), (None, None, 0.1), "111", 0, [2]),
        # Of equal ones, the first.
        (Rule("q_value", 1, share=0.5), (0.1, 0.1), "11", 0, [0]),
    ],
)
def test_literal_scores(rule, values, running, kept, dropped) -> None:
    goes_on = [letter == "1" for letter in running]
    assert rule.dropped(samples(*values), goes_on, kept) == dropped


@given(
    st.lists(st.tuples(st.none() | st.floats(-1, 1), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(0, 6),
    st.floats(-1, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_enough_are_kept_and_none_that_is_better_is_dropped(given_, keep, kept, threshold, share):
    values, running = zip(*given_, strict=True)
    for rule in (Rule("q_value", keep, threshold), Rule("q_value", keep, share=share)):
        dropped = rule.dropped(samples(*values), running, kept)
        assert len(values) + kept - len(dropped) >= min(keep, len(values) + kept)
        assert len(set(dropped)) == len(dropped)
        worst = max((values[place] for place in dropped), default=-2)
        considered = [
            value
            for place, value in enumerate(values)
            if place not in dropped
            and value is not None
            and (running[place] or rule.threshold is not None)
        ]
        assert all(value >= worst for value in considered)
