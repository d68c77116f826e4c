"""Which completions count for which goal state."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.attributes import select
from gcrm.data.preferences import cap_pairs, load_preferences
from gcrm.utils.errors import UserError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ratings(*values):
    """HelpSteer's rows: helpfulness and complexity."""
    return [
        {"prompt": f"q{i}", "response": f"a{i}", "helpfulness": h, "complexity": c}
        for i, (h, c) in enumerate(values)
    ]


def chosen(selection):
    """Completion -> for which goal states it counts."""
    return {pair.chosen: members for pair, members in selection}


def refusal(sources, *options):
    with pytest.raises(UserError) as error:
        list(select(sources, *options))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_highest_values_count(tmp_path):
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
def test_a_share_of_the_highest_values_counts_with_all_ties(tmp_path_factory, values, share):
    rows = [{"prompt": "q", "response": f"a{i}", "x": value} for i, value in enumerate(values)]
    path = write(tmp_path_factory.mktemp("r") / "r.jsonl", rows)
    got = {int(name[1:]) for name in chosen(select([path], ["x"], share))}
    # Slowly: take value after value, from the highest, until the share is reached.
    expected, wanted = set(), max(1, int(np.ceil(share * len(values))))
    for value in sorted(set(values), reverse=True):
        expected |= {i for i, other in enumerate(values) if other == value}
        if len(expected) >= wanted:
            break
    assert got == expected


def test_all_chosen_completions_count_whatever_their_attributes(tmp_path):
    rows = [
        {"question": f"q{i}", "correct": f"a{i}", "incorrect": "no", "helpfulness": i}
        for i in range(4)
    ]
    path = write(tmp_path / "p.jsonl", rows)
    assert set(chosen(select([path]))) == {"a0", "a1", "a2", "a3"}
    members = chosen(select([path], ["helpfulness"]))
    assert members == {f"a{i}": [True, i == 3] for i in range(4)}


def test_pairs_with_equal_sides_are_left_out_and_said_once(tmp_path, capsys):
    rows = [{"question": "q", "correct": "a", "incorrect": other} for other in "ab"]
    path = write(tmp_path / "p.jsonl", rows)
    assert len(list(select([path]))) == 1
    assert capsys.readouterr().err.count("left out 1 pairs") == 1
    assert "no pair has two different sides" in refusal([write(tmp_path / "e.jsonl", rows[:1])])


def test_a_sample_is_that_of_training(tmp_path):
    """The same pairs as `max_pairs` of the preference data gives."""
    rows = [{"question": f"q{i % 7}", "correct": f"a{i}", "incorrect": "no"} for i in range(40)]
    path = write(tmp_path / "p.jsonl", rows)
    selection = select([path], max_pairs=13)
    kept = cap_pairs(load_preferences([path]), 13)
    assert [pair.chosen for pair, _ in selection] == [pair.chosen for pair in kept]
    assert selection.total == 13


def test_the_sample_comes_before_the_highest_values(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings(*((i, 0) for i in range(20))))
    for most in (1, 5, 19, 20, 99):
        selection = select([path], ["helpfulness"], 0.0, most)
        everything = select([path], ["helpfulness"], 0.95, most)
        best = max(int(name[1:]) for name in chosen(everything))
        assert set(chosen(selection)) == {f"a{best}"}


def test_prompts_of_several_turns(tmp_path):
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
def test_broken_rows_are_named(tmp_path, row, message):
    [good, bad] = ratings((1, 2), (3, 4))
    path = write(tmp_path / "r.jsonl", [good, bad | row])
    assert refusal([path], ["helpfulness"]).startswith(f"{path}, {message}")


def test_an_attribute_that_the_data_lacks(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings((1, 2)))
    assert "(columns with numbers: helpfulness, complexity)" in refusal([path], ["humour"])


def test_responses_need_attributes(tmp_path):
    path = write(tmp_path / "r.jsonl", ratings((1, 2)))
    assert "has rows of prompt and response, which are no pairs; name the" in refusal([path])
