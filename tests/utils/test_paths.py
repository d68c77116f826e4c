"""What a source means: a path, a hub id, and the split that it names."""

from pathlib import Path

import pytest

from gcrm.utils.paths import files_of, is_local, path_of, set_name, source_parts


@pytest.mark.parametrize(
    ("source", "home", "subset", "split"),
    [
        ("owner/name", "owner/name", None, None),
        ("owner/name:test_prefs", "owner/name", None, "test_prefs"),
        ("owner/name:en-US:train", "owner/name", "en-US", "train"),
        ("./data:train.clean", "./data", None, "train.clean"),
        ("pairs.jsonl:train", "pairs.jsonl", None, "train"),
        ("a:b.jsonl", "a:b.jsonl", None, None),
        (r"C:\data", r"C:\data", None, None),
        (r"C:\data:train", r"C:\data", None, "train"),
        ("https://host/data", "https://host/data", None, None),
        ("https://host:80/data", "https://host:80/data", None, None),
        ("data:", "data:", None, None),
    ],
)
def test_colons(source, home, subset, split):
    assert source_parts(source) == (home, subset, split)
    assert path_of(source) == Path(home)
    assert is_local(source) == is_local(home)


def test_what_exists_under_its_whole_name_is_a_path(tmp_path):
    (tmp_path / "a:train").mkdir(parents=True)
    (tmp_path / "a:train" / "file").touch()
    whole = str(tmp_path / "a:train")
    assert source_parts(whole) == (whole, None, None)
    assert files_of(whole) == files_of(f"{whole}:test") == [tmp_path / "a:train" / "file"]
    assert (set_name(whole), set_name(f"{whole}:test")) == ("a:train", "a:train-test")


def test_names_of_sets_differ_by_subset_and_split():
    assert set_name("owner/name:b:c") == "name-b-c"
    assert files_of("owner/name:b:c") == []
