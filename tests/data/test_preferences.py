"""Reading preference data of every format and layout."""

import json
import random
import subprocess
import sys
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.data.preferences import (
    Preference,
    cap_pairs,
    iter_preferences,
    load_preferences,
)
from gcrm.utils.errors import UserError
from helpers.rows import write_rows

PAIR = {"question": "How many?", "correct": "It is 7.", "incorrect": "It is 8."}
USER, ANSWER, OTHER = (
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "It is 7."},
    {"role": "assistant", "content": "It is 8."},
)
READ = Preference("How many?", "It is 7.", "It is 8.")
READ_AS_DIALOGUE = Preference([USER], "It is 7.", "It is 8.")


def write(path, *rows):
    return str(write_rows(path, *rows))


def save(path, *rows):
    """Write rows in the format of the suffix: JSON lines, Parquet, or a folder of `datasets`."""
    if path.suffix in (".jsonl", ".json"):
        return write(path, *rows)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
        return str(path)
    import datasets

    data = datasets.Dataset.from_list(rows)
    if path.suffix == ".splits":
        data = datasets.DatasetDict({"test": data.select([0]), "train": data})
    data.save_to_disk(path)
    return str(path)


def read(tmp_path, *rows, **options):
    return load_preferences([write(tmp_path / "pairs.jsonl", *rows)], **options)


def refusal(*sources):
    with pytest.raises(UserError) as error:
        load_preferences([str(source) for source in sources])
    assert "\n" not in str(error.value)
    return str(error.value)


def pairs(count, name="question"):
    return [PAIR | {"question": f"{name} {i}?"} for i in range(count)]


# Formats.


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        PAIR | {"why": 1, "chosen": None},
        {"prompt": "How many?", "chosen": "It is 7.", "rejected": "It is 8."},
        {"chosen": "How many? 7.", "rejected": "How many? 8."},
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "folder", "splits"])
def test_every_format_with_every_layout(tmp_path, row, suffix):
    [one, other] = load_preferences([save(tmp_path / f"pairs.{suffix}", row, row)])
    assert one == other
    assert (one.prompt, one.chosen[-2:], one.rejected[-2:]) == ("How many?", "7.", "8.")


@pytest.mark.parametrize("suffix", ["parquet", "folder"])
def test_messages_in_tables(tmp_path, suffix):
    """Tables give each object the fields of all others, with null in them."""
    calls = [
        {"role": "assistant", "content": "", "tool_calls": [{"arguments": arguments}]}
        for arguments in ({"a": 1}, {"b": "2"})
    ]
    rows = [{"chosen": [USER, call, ANSWER], "rejected": [USER, call, OTHER]} for call in calls]
    found = load_preferences([save(tmp_path / f"pairs.{suffix}", *rows)])
    assert found == [Preference([USER, call], "It is 7.", "It is 8.") for call in calls]


@given(row=st.fixed_dictionaries(dict.fromkeys(PAIR, st.text(min_size=1).filter(str.strip))))
def test_texts_are_kept_unchanged(tmp_path_factory, row):
    row["correct"] += "!" * (row["correct"] == row["incorrect"])
    [one] = read(tmp_path_factory.mktemp("pairs"), row)
    assert one == Preference(row["question"], row["correct"], row["incorrect"])


# Errors.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"incorrect": None}, "incorrect is missing or null"),
        ({"correct": " \n"}, "correct is empty"),
        ({"question": ""}, "question is empty"),
        ({"correct": 7}, "correct must be text, not int"),
        ({"correct": float("nan")}, "correct must be text, not float"),
        ({"question": {"a": 1}}, "question must be text, not dict"),
    ],
)
def test_invalid_rows_are_named_with_file_line_and_key(tmp_path, change, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(PAIR)}\n\n\n{json.dumps(PAIR | change)}\n")
    assert refusal(path).startswith(f"{path}, row 4: {message}")


def test_missing_keys_are_named(tmp_path):
    path = write(tmp_path / "pairs.jsonl", PAIR, {"question": "a", "correct": "b"})
    assert refusal(path).startswith(f"{path}, row 2: incorrect is missing")


COLUMNS = {name: pa.array([value]) for name, value in PAIR.items()}
INVALID_UTF8 = pa.array([b"\xff\xfe"]).view(pa.string())
TOO_LATE = pa.array([2**31 - 1], pa.date32())  # Python has no such date
UNREADABLE = ": not a readable Parquet file ("


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table(COLUMNS | {"day": TOO_LATE}), UNREADABLE),
        (pa.table(COLUMNS | {"correct": INVALID_UTF8}), UNREADABLE),
        (
            pa.table([*COLUMNS.values(), COLUMNS["question"]], [*PAIR, "question"]),
            ": duplicate column 'question'; remove one",
        ),
        (
            pa.Table.from_pylist([PAIR, PAIR | {"correct": None}]),
            ", row 2: correct is missing or null",
        ),
        (pa.table(COLUMNS).slice(0, 0), ": has no rows"),
    ],
)
def test_invalid_parquet_is_reported(tmp_path, table, message):
    path = tmp_path / "pairs.parquet"
    pq.write_table(table, path)
    assert refusal(path).startswith(f"{path}{message}")


def test_unknown_columns_are_listed(tmp_path):
    path = write(tmp_path / "pairs.jsonl", {"input": "a", "output": "b"})
    assert "(correct/incorrect, chosen/rejected, " in refusal(path)
    assert "found input, output;" in refusal(path)
    assert "found none;" in refusal(write(tmp_path / "empty.jsonl", {}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.jsonl", b"", "has no rows"),
        ("pairs.jsonl", b"\x1f\x8b\x08", "gzip-compressed"),
        ("pairs.jsonl", b'{"question": "a"', "line 1: not valid JSON"),
        ("pairs.parquet", b"PAR1", "not a readable Parquet file"),
        ("pairs.parquet", b"", "not a readable Parquet file"),
        ("pairs.csv", b"a,b", "expected a .jsonl or .parquet file"),
        ("pairs.jsonl.gz", b"\x1f\x8b", "expected a .jsonl or .parquet file"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(path) and str(path) in refusal(path)


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("broken", ["missing", "empty", "cut", "not its own"])
def test_damaged_datasets_folder_is_reported(tmp_path, name, broken):
    import datasets

    datasets.Dataset.from_list([PAIR] * 50).save_to_disk(tmp_path / "d")
    path = tmp_path / "d" / name
    content = path.read_bytes()
    path.unlink()
    contents = {"empty": b"", "cut": content[: len(content) // 2], "not its own": b"PK\x03\x04" * 9}
    if broken != "missing":
        path.write_bytes(contents[broken])
    assert str(tmp_path / "d") in refusal(tmp_path / "d")


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values |= st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2)
values |= st.lists(st.fixed_dictionaries({"role": values, "content": values}), max_size=2)


@given(
    row=st.dictionaries(st.sampled_from([*PAIR, "prompt", "chosen", "rejected"]), values),
    base=st.booleans(),
)
def test_rows_of_any_types_are_read_or_reported(tmp_path_factory, row, base):
    path = write(tmp_path_factory.mktemp("types") / "pairs.jsonl", (PAIR if base else {}) | row)
    try:
        [pair] = load_preferences([str(path)])
    except UserError as error:
        assert str(error).startswith(str(path))
    else:
        assert pair.chosen != pair.rejected
        assert all(type(text) is str for text in (pair.chosen, pair.rejected, pair.question))


def test_100_000_pairs_are_read_in_seconds(tmp_path):
    """About 2 s on one core; a reader that is not linear takes minutes."""
    path = tmp_path / "pairs.jsonl"
    long = "3 + 4 = 7, and so on. " * 20
    rows = (PAIR | {"question": f"Who is {i} ?", "correct": long} for i in range(100_000))
    path.write_text("\n".join(map(json.dumps, rows)))
    started = time.process_time()
    assert len(load_preferences([str(path)], max_pairs=70_000)) == 70_000
    assert time.process_time() - started < 15


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "no such file") for name in ("pairs.jsonl", "pairs.parquet", "pairs", "a/b/c")),
        (".", "neither a local file nor a data set"),
        ("shards", "give its files one by one, such as"),
    ],
)
def test_missing_files_and_other_folders_are_reported(tmp_path, name, message):
    if name == "shards":
        shard = tmp_path / name / "train-00000-of-00002.parquet"
        shard.parent.mkdir()
        save(shard, PAIR)
    assert message in refusal(tmp_path / name)


def test_missing_training_split_is_reported(tmp_path):
    import datasets

    datasets.DatasetDict({"test": datasets.Dataset.from_list([PAIR])}).save_to_disk(tmp_path / "d")
    way_out = f"(there are: test); name the one to read, as in {tmp_path / 'd'}:test"
    for split in ("", ":dev"):
        found = refusal(f"{tmp_path / 'd'}{split}")
        assert "has no split" in found
        assert found.endswith(way_out)


def test_a_source_names_its_split(tmp_path):
    import datasets

    parts = {
        name: datasets.Dataset.from_list([PAIR | {"correct": name}])
        for name in ("train_prefs", "test_prefs")
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    for name in parts:
        for heldout in (False, True):
            [pair] = load_preferences([f"{tmp_path / 'd'}:{name}"], heldout=heldout)
            assert (pair.chosen, pair.where) == (name, f"{tmp_path / 'd'}:{name}, row 1")
    assert refusal(f"{tmp_path / 'd'}:a:x").endswith(f"no subsets; give {tmp_path / 'd'}:x")
    parts["test_prefs"].save_to_disk(tmp_path / "one")
    assert "the data has no splits; give" in refusal(f"{tmp_path / 'one'}:test")
    path = write(tmp_path / "pairs.jsonl", PAIR)
    assert refusal(f"{path}:test").endswith(f"a file has no splits; give {path}")


def test_subsets_and_splits_of_the_hub(monkeypatch):
    """Without the hub itself: what the library is asked for, and what is made of its answer."""
    import datasets

    asked = []

    def load(*names):
        asked.append(names)
        if names[1] is None:
            raise ValueError("Config name is missing.\nPlease pick one: ['a', 'b']")
        return datasets.DatasetDict({"gen": datasets.Dataset.from_list([PAIR])})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert load_preferences(["owner/name:a:gen"]) == [READ]
    assert "Please pick one: ['a', 'b']; name a subset and a split" in refusal("owner/name")
    assert refusal("owner/name:a:x").endswith("name the one to read, as in owner/name:a:gen")
    assert asked == [("owner/name", "a"), ("owner/name", None), ("owner/name", "a")]


@pytest.mark.parametrize(
    ("splits", "read"),
    [(["train", "test"], "test"), (["validation", "train"], "validation"), (["train"], "train")],
)
def test_heldout_data_come_from_the_test_split(tmp_path, splits, read, capsys):
    """Data sets of the hub are trained on their training split."""
    import datasets

    parts = {name: datasets.Dataset.from_list([PAIR | {"correct": name}]) for name in splits}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    assert [pair.chosen for pair in load_preferences([str(tmp_path / "d")], heldout=True)] == [read]
    assert ("has no split 'test'" in capsys.readouterr().err) == (read != "test")


def test_heldout_files_are_read_like_training_files(tmp_path):
    path = write(tmp_path / "pairs.jsonl", *pairs(9))
    assert load_preferences([path], heldout=True) == load_preferences([path])
    capped = load_preferences([path], max_pairs=4, heldout=True)
    assert capped == load_preferences([path], max_pairs=4)


def test_hub_id_without_network():
    """In a separate process, since `datasets` reads the environment when imported."""
    code = "from gcrm.data import preferences; preferences.load_preferences(['nobody/nothing'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gcrm.utils.errors.UserError: nobody/nothing: neither a local file nor")


# Choice of pairs.


def test_pairs_of_equal_completions_are_left_out_and_counted(tmp_path, capsys):
    equal = PAIR | {"incorrect": PAIR["correct"]}
    assert read(tmp_path, equal, PAIR, equal) == [READ]
    assert "left out 2 pairs with two equal completions" in capsys.readouterr().err
    lead = "\n\nHuman: a\n\nAssistant: b"
    for row in (equal, {"chosen": lead, "rejected": lead}):
        path = write(tmp_path / "equal.jsonl", row)
        assert "both completions of every pair are equal" in refusal(path)


def by_text(pairs):
    return sorted((str(pair.prompt), pair.chosen, pair.rejected) for pair in pairs)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=20),
    most=st.integers(1, 20),
    seed=st.randoms(),
)
def test_max_pairs_does_not_depend_on_the_order_of_rows(rows, most, seed):
    """Also within one question."""
    all_pairs = [Preference(name, f"yes {i}", f"no {i}") for name, i in rows]
    mixed = all_pairs[:]
    seed.shuffle(mixed)
    kept = cap_pairs(all_pairs, most)
    assert by_text(kept) == by_text(cap_pairs(mixed, most))
    assert len(kept) == min(most, len(rows))
    rest = iter(all_pairs)
    assert all(pair in rest for pair in kept)  # in their original order
    fewer = by_text(cap_pairs(all_pairs, most // 2 or 1))
    assert set(fewer) <= set(by_text(kept))


def test_max_pairs_applies_to_all_sources_together(tmp_path):
    one = write(tmp_path / "one.jsonl", *pairs(10, "a"))
    other = write(tmp_path / "other.jsonl", *pairs(10, "b"))
    assert len(load_preferences([one, other])) == 20
    capped = load_preferences([one, other], max_pairs=8)
    assert len(capped) == 8
    assert by_text(load_preferences([other, one], max_pairs=8)) == by_text(capped)


@pytest.mark.parametrize(
    ("sizes", "probs", "expected"),
    [
        ((100, 100), (0.5, 0.5), (100, 100)),
        ((100, 50), (0.5, 0.5), (50, 50)),
        ((100, 100), (0.8, 0.2), (100, 25)),
        ((30, 100), (0.75, 0.25), (30, 10)),
        ((7, 5), (1 / 3, 2 / 3), (2, 5)),
        ((1000, 1), (0.999, 0.001), (999, 1)),
        ((3, 1000), (0.001, 0.999), (1, 1000)),
    ],
)
def test_mixtures(tmp_path, sizes, probs, expected):
    """The source that is smallest for its share is used in full, the others up to their shares."""
    sources = [
        write(tmp_path / f"{name}.jsonl", *pairs(size, name))
        for name, size in zip("ab", sizes, strict=True)
    ]
    mixed = load_preferences(sources, probs)
    counts = tuple(sum(pair.prompt.startswith(name) for pair in mixed) for name in "ab")
    assert counts == expected
    assert len({pair.prompt for pair in mixed}) == len(mixed)


def test_mixtures_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = pairs(40)
    one = write(tmp_path / "one.jsonl", *rows)
    random.Random(0).shuffle(rows)
    other = write(tmp_path / "other.jsonl", *rows)
    rest = write(tmp_path / "rest.jsonl", *pairs(10, "rest"))
    probs = (0.5, 0.5)
    assert by_text(load_preferences([one, rest], probs)) == by_text(
        load_preferences([other, rest], probs)
    )


def test_question_of_a_dialogue():
    turns = [USER, ANSWER, {"role": "user", "content": "And now?"}]
    assert Preference(turns, "a", "b").question == "How many?\nIt is 7.\nAnd now?"


# Margins.


def with_margins(*margins):
    return [PAIR | {"margin": margin} for margin in margins]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "folder"])
def test_margins_are_read(tmp_path, suffix):
    path = save(tmp_path / f"pairs.{suffix}", *with_margins(0.5, 2.0, -1.0))
    assert [pair.margin for pair in load_preferences([path])] == [0.5, 2.0, -1.0]


def test_data_without_margins_has_none(tmp_path):
    assert [pair.margin for pair in read(tmp_path, PAIR, PAIR)] == [None, None]
    assert [pair.margin for pair in read(tmp_path, *with_margins(None, None))] == [None, None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (with_margins(1, None), "row 2: margin is missing, unlike in the previous rows"),
        ([PAIR, *with_margins(1)], "row 2: margin is given, unlike in the previous rows"),
        (with_margins("1"), "row 1: margin must be a finite number, not '1'"),
        (with_margins(True), "row 1: margin must be a finite number, not 'True'"),
        (with_margins(float("nan")), "row 1: margin must be a finite number, not 'nan'"),
        (with_margins(1, float("inf")), "row 2: margin must be a finite number, not 'inf'"),
        (with_margins(1e39), "row 1: margin must be a finite number, not '1e+39'"),
        (with_margins([1]), "row 1: margin must be a finite number, not '[1]'"),
    ],
)
def test_invalid_margins_are_named(tmp_path, rows, message):
    path = write(tmp_path / "pairs.jsonl", *rows)
    assert refusal(path).startswith(f"{path}, {message}")


def test_either_all_sources_or_none_have_margins(tmp_path):
    one = write(tmp_path / "one.jsonl", *with_margins(1))
    other = write(tmp_path / "other.jsonl", PAIR)
    assert refusal(one, other).startswith(f"{other}: has no column margin, but {one} has")


# Data of any size.


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "folder"])
def test_rows_are_read_one_by_one(tmp_path, suffix):
    """The first pair is read before the invalid row at the end."""
    rows = [*pairs(3000), PAIR | {"question": ""}]
    stream = iter_preferences(save(tmp_path / f"pairs.{suffix}", *rows))
    assert next(stream).question == "question 0?"
    with pytest.raises(UserError, match="row 3001: question is empty"):
        list(stream)
