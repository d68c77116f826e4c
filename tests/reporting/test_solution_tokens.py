"""The displayed tokens are the scored tokens, at the right positions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcrm.modeling.tokenization import Encoder
from gcrm.reporting.solutions import token_spans
from gcrm.utils.errors import UserError
from helpers.models import make_byte_tokenizer, make_sentencepiece_tokenizer, make_tokenizer

QUESTION = "How many apples does Tom have now?"
SOLUTION = "3 + 4 = 7, so Tom has 7 😀 apples.\n\nThe answer is \\boxed{7}."
KINDS = {
    "words": make_tokenizer,
    "bytes": make_byte_tokenizer,
    "llama 2": make_sentencepiece_tokenizer,
    "no template": lambda: make_sentencepiece_tokenizer(chat_template=None),
}


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = KINDS[request.param]()
    encoder = Encoder(tokenizer, 1000)
    tokenizer.chat_template = encoder.template  # as a checkpoint is saved
    tokenizer.save_pretrained(folder)
    return folder


def number_of_tokens(folder: Path, question: str, solution: str) -> int:
    from transformers import PreTrainedTokenizerFast

    encoder = Encoder(PreTrainedTokenizerFast.from_pretrained(str(folder)), 10_000)
    return encoder.encode(question, solution).num_tokens


def test_every_token_except_eos_has_a_span(saved: Path) -> None:
    count = number_of_tokens(saved, QUESTION, SOLUTION)
    spans = token_spans(saved)(QUESTION, SOLUTION, count)
    assert not isinstance(spans, str)
    assert len(spans) == count - 1
    assert all(0 <= begin <= end <= len(SOLUTION) for begin, end in spans)
    assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)
    covered = {place for begin, end in spans for place in range(begin, end)}
    left_out = "".join(mark for place, mark in enumerate(SOLUTION) if place not in covered)
    assert left_out.strip() == ""


def test_mismatched_number_of_tokens_is_reported(saved: Path) -> None:
    count = number_of_tokens(saved, QUESTION, SOLUTION)
    found = token_spans(saved)(QUESTION, SOLUTION, count + 1)
    assert found == f"it has {count} tokens, but {count + 1} scores"


def test_any_text_has_spans_or_a_reason(tmp_path: Path) -> None:
    tokenizer = make_byte_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    find, encoder = token_spans(tmp_path), Encoder(tokenizer, 10_000)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
    def check(solution: str) -> None:
        count = encoder.encode(QUESTION, solution).num_tokens
        spans = find(QUESTION, solution, count)
        if not isinstance(spans, str):
            assert len(spans) == count - 1
            assert all(0 <= begin <= end <= len(solution) for begin, end in spans)

    check()


def test_special_tokens_in_a_solution_are_text(tmp_path: Path) -> None:
    make_byte_tokenizer().save_pretrained(tmp_path)
    solution = "7 <|endoftext|> 8"
    count = number_of_tokens(tmp_path, QUESTION, solution)
    spans = token_spans(tmp_path)(QUESTION, solution, count)
    assert not isinstance(spans, str) and len(spans) == count - 1
    assert "".join(solution[begin:end] for begin, end in spans) == solution.replace(" ", "")
    assert max(end - begin for begin, end in spans) < len("<|endoftext|>")


def test_missing_tokenizer_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no readable tokenizer"):
        token_spans(tmp_path)
