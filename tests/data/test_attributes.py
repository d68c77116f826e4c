"""Selection of completions for goal states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.attributes import select
from gcrm.data.preferences import cap_pairs, load_preferences
from gcrm.utils.errors import UserError
from helpers.rows import write_rows


def write(path, rows):
    return str(write_rows(path, *rows))


def ratings(*values):
    """Rows of HelpSteer's layout, with helpfulness and complexity."""
    return [
        {"prompt": f"q{i}", "response": f"a{i}", "helpfulness": h, "complexity": c}
        for i, (h, c) in enumerate(values)
    ]


def chosen(selection):
    """The goal states of each completion."""
    return {pair.chosen: members for pair, members in selection}


def refusal(sources, *options):
    with pytest.raises(UserError) as error:
        list(select(sources, *options))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_highest_values_are_selected(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings((4, 1), (3, 2), (4, 0), (0, 2), (1, 1)))
    selection = select([path], ["helpfulness", "complexity"])
    assert selection.lowest == {"helpfulness": 4, "complexity": 2}
    assert chosen(selection) == {
        "a0": [True, True, False],
        "a1": [True, False, True],
        "a2": [True, True, False],
        "a3": [True, False, True],
    }
    assert selection.counts == {"": 4, "helpfulness": 2, "complexity": 2}
    assert chosen(selection) == chosen(selection)  # it can be read again


@given(
    values=st.lists(st.sampled_from([0, 1, 2.5, 3, 4]), min_size=1, max_size=30),
    share=st.floats(0, 0.95),
)
def test_share_of_the_highest_values_includes_ties(tmp_path_factory, values, share):
    rows = [{"prompt": "q", "response": f"a{i}", "x": value} for i, value in enumerate(values)]
    path = write(tmp_path_factory.mktemp("r") / "r.jsonl", rows)
    got = {int(name[1:]) for name in chosen(select([path], ["x"], share))}
    # Slow: add value after value, from the highest, until the share is reached.
    expected, wanted = set(), max(1, int(np.ceil(share * len(values))))
    for value in sorted(set(values), reverse=True):
        expected |= {i for i, other in enumerate(values) if other == value}
        if len(expected) >= wanted:
            break
    assert got == expected


def test_all_chosen_completions_are_selected(tmp_path):
    rows = [
        {"question": f"q{i}", "correct": f"a{i}", "incorrect": "no", "helpfulness": i}
        for i in range(4)
    ]
    path = write(tmp_path / "p.jsonl", rows)
    assert set(chosen(select([path]))) == {"a0", "a1", "a2", "a3"}
    members = chosen(select([path], ["helpfulness"]))
    assert members == {f"a{i}": [True, i == 3] for i in range(4)}


def test_pairs_of_equal_completions_are_left_out_and_reported_once(tmp_path, capsys):
    rows = [{"question": "q", "correct": "a", "incorrect": other} for other in "ab"]
    path = write(tmp_path / "p.jsonl", rows)
    assert len(list(select([path]))) == 1
    assert capsys.readouterr().err.count("left out 1 pairs") == 1
    equal = write(tmp_path / "e.jsonl", rows[:1])
    assert "both completions of every pair are equal" in refusal([equal])


def test_max_pairs_keeps_the_same_pairs_as_in_training(tmp_path):
    rows = [{"question": f"q{i % 7}", "correct": f"a{i}", "incorrect": "no"} for i in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    selection = select([path], max_pairs=13)
    kept = cap_pairs(load_preferences([path]), 13)
    assert [pair.chosen for pair, _ in selection] == [pair.chosen for pair in kept]
    assert selection.total == 13


def test_max_pairs_applies_before_the_highest_values(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings(*((i, 0) for i in range(20))))
    for most in (1, 5, 19, 20, 99):
        selection = select([path], ["helpfulness"], 0.0, most)
        everything = select([path], ["helpfulness"], 0.95, most)
        best = max(int(name[1:]) for name in chosen(everything))
        assert set(chosen(selection)) == {f"a{best}"}


def test_prompt_of_several_turns(tmp_path):
    turns = [{"role": "user", "content": "q"}]
    path = write(tmp_path / "r.jsonl", [{"prompt": turns, "response": "a", "x": 1}])
    [(pair, _)] = select([path], ["x"])
    assert pair.prompt == turns


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"helpfulness": None}, "row 2: attribute helpfulness is missing or null; expected a num"),
        ({"helpfulness": "4"}, "row 2: helpfulness must be a finite number, not '4'"),
        ({"response": " "}, "row 2: response is empty"),
        ({"response": None}, "row 2: response must be text, not NoneType"),
        ({"prompt": 3}, "row 2: prompt must be text, not int"),
    ],
)
def test_invalid_rows_are_named(tmp_path, row, message):
    [good, bad] = ratings((1, 2), (3, 4))
    path = write(tmp_path / "r.jsonl", [good, bad | row])
    assert refusal([path], ["helpfulness"]).startswith(f"{path}, {message}")


def test_unknown_and_missing_attributes_are_reported(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings((1, 2)))
    assert "(columns with numbers: helpfulness, complexity)" in refusal([path], ["humour"])
    assert "row 1: has a prompt and one response, which are no pair; name the" in refusal([path])
