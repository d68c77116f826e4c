"""Rows of preference data in many layouts, and what is read of them."""

import pytest

from gcrm.data.preferences import Preference, load_preferences
from gcrm.utils.errors import UserError
from helpers.rows import write_rows

SYSTEM, USER, ANSWER, OTHER = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "It is 7."},
    {"role": "assistant", "content": "It is 8."},
)
SIDES = {"chosen": "It is 7.", "rejected": "It is 8."}
DIALOGUES = {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}
READ = Preference("How many?", "It is 7.", "It is 8.")
READ_AS_DIALOGUE = Preference([USER], "It is 7.", "It is 8.")
READ_WITH_SYSTEM = Preference([SYSTEM, USER], "It is 7.", "It is 8.")


def write(path, *rows):
    return str(write_rows(path, *rows))


def read(tmp_path, *rows):
    return load_preferences([write(tmp_path / "pairs.jsonl", *rows)])


def refusal(source):
    with pytest.raises(UserError) as error:
        load_preferences([source])
    assert "\n" not in str(error.value)
    return str(error.value)


def said(from_, value):
    return {"from": from_, "value": value}
