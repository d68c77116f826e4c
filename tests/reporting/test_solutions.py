"""The page of solutions: choice of solutions, escaping, colours and Q-values."""

import hashlib
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcrm.data.scores import read_scores
from gcrm.modeling.tokenization import Encoder
from gcrm.reporting.solutions import Filter, Model, chosen, shades_of, solutions_page
from helpers.models import make_byte_tokenizer
from helpers.score_rows import columns, write_columns

HOSTILE = "<script>alert('1')</script> & \"7\" \x00\x1b[31m </div></body>\n3 + 4 = 7"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_byte_tokenizer().save_pretrained(folder)
    return folder


def scored(path: Path, solutions: list[str], **changes: Any) -> Path:
    """A score table of solutions; the first is correct, the others are not."""
    n = len(solutions)
    encoder = Encoder(make_byte_tokenizer(), 1000)
    generator = np.random.default_rng(0)
    table = {name: values[:n] for name, values in columns(problems=n).items()}
    table |= {"completion": solutions, "label": np.arange(n) == 0}
    table |= {"truncated": np.zeros(n, bool)} | changes
    table["num_tokens"] = [
        encoder.encode(question, solution).num_tokens
        for question, solution in zip(table["prompt"], solutions, strict=True)
    ]
    for name in ("q_values", "partial_rewards"):
        table[name] = [generator.uniform(-1, 1, count) for count in table["num_tokens"]]
    write_columns(path, table)
    return path


def page_of(model: Path, scores: Path, each: int = 1, **changes: Any) -> str:
    one = Model(
        **{"variant": "v", "folder": model, "scores": {"gsm8k": scores}, "q_range": (-1, 1)}
        | changes
    )
    return solutions_page("title", [one], each, Filter(0.0, 5))


def texts(page: str) -> list[str]:
    """The text of each coloured solution."""
    found = re.findall(r'<div class="tokens">(.*?)</div>', page, re.DOTALL)
    return [unescape(re.sub(r"<[^>]*>", "", part)) for part in found]


def test_solutions_are_chosen_by_hash_of_their_question(tmp_path: Path) -> None:
    table = columns(problems=40)
    write_columns(tmp_path / "s.parquet", table)
    rows = list(chosen(read_scores(tmp_path / "s.parquet"), 2))

    def first(right: bool) -> list[str]:
        of_kind = [
            q for q, good in zip(table["prompt"], table["label"], strict=True) if good == right
        ]
        # Keys have no question mark.
        return sorted(of_kind, key=lambda q: hashlib.sha256(q.rstrip("?").encode()).hexdigest())[:2]

    assert [table["prompt"][row] for row in rows] == [*first(True), *first(False)]


def test_truncated_solutions_are_not_chosen(tmp_path: Path) -> None:
    write_columns(tmp_path / "s.parquet", columns() | {"truncated": np.ones(40, bool)})
    assert list(chosen(read_scores(tmp_path / "s.parquet"), 2)) == []


def test_text_is_complete_and_escaped(tmp_path: Path, model: Path) -> None:
    page = page_of(model, scored(tmp_path / "s.parquet", [HOSTILE, "4 + 4 = 9 apples"]))
    shown = HOSTILE.replace("\x00", "␀").replace("\x1b", "␛")
    assert texts(page) == [shown + "■", "4 + 4 = 9 apples■"]
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert page.count("</body>") == 1


def test_every_token_has_its_q_value(tmp_path: Path, model: Path) -> None:
    scores = scored(tmp_path / "s.parquet", ["3 + 4 = 7"])
    page = page_of(model, scores)
    (values,) = [read_scores(scores).q_values[0]]
    assert re.findall(r'title="(-?[\d.]+)"', page) == [f"{value:.3f}" for value in values]
    marked = [' below"' in span for span in re.findall(r"<span class=.*? title", page)]
    assert marked == [i >= 5 and value < 0 for i, value in enumerate(values)]


def test_shades_of_q_values() -> None:
    shades = shades_of(np.array([-2, -1, 0, 0.999, 1, 2], np.float32), (-1.0, 1.0))
    assert list(shades) == [0, 0, 4, 8, 8, 8]
    assert list(shades_of(np.array([0.5, 0.5], np.float32), (0.5, 0.5))) == [8, 8]


def test_solutions_that_cannot_be_shown_have_a_reason(tmp_path: Path, model: Path) -> None:
    """The numbers of tokens in this table are made up."""
    table = columns(problems=2) | {"label": np.array([True, False])}
    write_columns(tmp_path / "s.parquet", table)
    page = page_of(model, tmp_path / "s.parquet")
    assert len(re.findall(r"Not shown: it has \d+ tokens, but \d+ scores\.", page)) == 2
    assert texts(page) == []


def test_variants_show_the_same_solutions(tmp_path: Path, model: Path) -> None:
    first = scored(tmp_path / "a.parquet", ["3 + 4 = 7", "4 + 4 = 9"])
    second = scored(tmp_path / "b.parquet", ["3 + 4 = 7", "something else"])
    models = [
        Model(name, model, {"gsm8k": path}, (-1, 1)) for name, path in [("a", first), ("b", second)]
    ]
    page = solutions_page("title", models, 1, Filter(0.0, 5))
    assert texts(page) == ["3 + 4 = 7■", "3 + 4 = 7■", "4 + 4 = 9■"]
    assert "<b>b</b> has not scored it" in page


def test_zero_examples_show_no_solutions(tmp_path: Path, model: Path) -> None:
    assert texts(page_of(model, scored(tmp_path / "s.parquet", ["7"]), each=0)) == []
