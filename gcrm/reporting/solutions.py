"""A page of correct and incorrect solutions with their tokens coloured by Q-value.

The solutions are not picked by appearance: they are the first of each benchmark by hash of their
question, the same for all variants.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_hash, question_key
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.reporting.templates import render
from gcrm.utils.errors import UserError

END = "■"
"""shown for the end token"""
STEPS = 9
"""number of shades from the lowest Q-value to the highest"""
LOW = (0xD5, 0x5E, 0x00)
"""colour of the lowest Q-value; the highest is white, so low values are dark in print, too"""
VISIBLE = {mark: chr(0x2400 + mark) for mark in range(32) if chr(mark) not in "\n\t"}
VISIBLE |= {0x7F: "\u2421"}
"""visible symbols of control characters"""
Spans = list[tuple[int, int]]
Finder = Callable[[str, str, int], Spans | str]
"""maps question, solution and its number of tokens to the tokens' spans, or a reason for none"""


@dataclass(frozen=True)
class Model:
    """The first seed of a variant: model folder, score tables by benchmark, range of Q-values."""

    variant: str
    folder: Path
    scores: dict[str, Path]
    q_range: tuple[float, float]


@dataclass(frozen=True)
class Filter:
    """The filter: a Q-value below `threshold` after `skip_tokens` tokens drops a sample."""

    threshold: float
    skip_tokens: int


def solutions_page(title: str, models: Sequence[Model], each: int, filter: Filter) -> str:
    """The page as HTML without scripts or external resources.

    Args:
        title: heading of the page.
        models: the models whose Q-values are shown; all have scored the same solutions.
        each: number of correct and of incorrect solutions per benchmark.
        filter: Q-values below its threshold are underlined.
    """
    finders = [token_spans(model.folder) for model in models]
    benchmarks = []
    for name in models[0].scores if models else []:
        columns = ["completion", "q_values"]
        tables = [read_scores(model.scores[name], columns) for model in models]
        solutions = [
            _solution(tables, row, models, finders, filter) for row in chosen(tables[0], each)
        ]
        benchmarks.append({"name": name, "solutions": solutions})
    return render(
        "solutions.html.j2",
        title=title,
        models=models,
        benchmarks=benchmarks,
        shades=[
            "#" + "".join(f"{round(low + (255 - low) * shade / (STEPS - 1)):02x}" for low in LOW)
            for shade in range(STEPS)
        ],
        threshold=filter.threshold,
        skip_tokens=filter.skip_tokens,
        end=END,
    )


def chosen(table: ScoreTable, each: int) -> Iterator[int]:
    """Rows of the first `each` correct and incorrect solutions by hash, without truncated ones."""
    whole = np.flatnonzero(~table.truncated)
    order = sorted(whole, key=lambda row: question_hash(question_key(str(table.prompt[row]))))
    for correct in (True, False):
        yield from [int(row) for row in order if table.label[row] == correct][:each]


def _solution(
    tables: Sequence[ScoreTable],
    row: int,
    models: Sequence[Model],
    finders: Sequence[Finder],
    filter: Filter,
) -> dict[str, Any]:
    """A solution with its scores by each model, for the template."""
    question, solution = tables[0].prompt[row], _texts(tables[0])[row]
    scores = []
    for table, model, find in zip(tables, models, finders, strict=True):
        found = np.flatnonzero((table.prompt == question) & (_texts(table) == solution))
        score: dict[str, Any] = {"variant": model.variant, "missing": None, "not_shown": None}
        if not len(found):
            score["missing"] = "has not scored it"
        elif table.q_values is None:
            score["missing"] = "has no Q-values"
        else:
            values = table.q_values[int(found[0])]
            reward = float(table.reward[found[0]])
            score |= {
                "reward": reward,
                "num_tokens": len(values),
                "lowest": _lowest(values, filter),
            }
            spans = find(question, solution, len(values))
            if isinstance(spans, str):
                score["not_shown"] = spans
            else:
                shades = shades_of(values, model.q_range)
                score["tokens"] = _tokens(solution, spans, values, shades, filter)
        scores.append(score)
    return {
        "question": _shown(question),
        "correct": bool(tables[0].label[row]),
        "scores": scores,
    }


def _texts(table: ScoreTable) -> NDArray[Any]:
    assert table.completion is not None  # every table has this column, and it was read
    return table.completion


def _lowest(values: NDArray[np.float32], filter: Filter) -> tuple[float, int] | None:
    """The lowest Q-value that the filter considers, and the number of its token."""
    if len(values) <= filter.skip_tokens:
        return None
    token = int(np.argmin(values[filter.skip_tokens :])) + filter.skip_tokens
    return float(values[token]), token + 1


def shades_of(values: NDArray[np.float32], q_range: tuple[float, float]) -> NDArray[np.int64]:
    """Shade of each Q-value, from 0 at or below the range to STEPS - 1 at or above it."""
    low, high = q_range
    scaled = (values - low) / (high - low) if high > low else np.ones(len(values))
    return np.asarray(np.clip(scaled * STEPS, 0, STEPS - 1), np.int64)


def _tokens(
    solution: str,
    spans: Spans,
    values: NDArray[np.float32],
    shades: NDArray[np.int64],
    filter: Filter,
) -> Iterator[dict[str, Any]]:
    """The tokens of a solution, each with the text between it and the previous one; EOS is last."""
    done = 0
    for index, (value, shade) in enumerate(zip(values, shades, strict=True)):
        begin, end = spans[index] if index < len(spans) else (len(solution), len(solution))
        # Spans may have gaps (white space) and overlap (characters of several tokens).
        text = END if index == len(spans) else _shown(solution[max(begin, done) : end])
        yield {
            "before": _shown(solution[done:begin]),
            "text": text,
            "value": float(value),
            "shade": int(shade),
            "below": index >= filter.skip_tokens and value < filter.threshold,
        }
        done = max(done, end)


def _shown(text: str) -> str:
    """Make control characters visible, except line ends and tabs."""
    return text.translate(VISIBLE)


def token_spans(model: Path) -> Finder:
    """A function that finds the tokens of solutions, as the reward model in `model` sees them.

    The function returns the characters [begin, end) of the solution for each token of the
    completion except EOS.

    Raises:
        UserError: the folder has no tokenizer.
    """
    # AutoTokenizer would import torch; checkpoints always have a tokenizer.json.
    from transformers import PreTrainedTokenizerFast

    from gcrm.modeling.tokenization import Encoder

    try:
        tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{model}: has no readable tokenizer ({reason})") from None
    encoder = Encoder(tokenizer, max_len=1 << 30)

    def find(question: str, solution: str, num_tokens: int) -> Spans | str:
        try:
            spans = encoder.spans(question, solution)
        except UserError as error:
            return str(error)
        if len(spans) + 1 != num_tokens:
            return f"it has {len(spans) + 1} tokens, but {num_tokens} scores"
        return spans

    return find
