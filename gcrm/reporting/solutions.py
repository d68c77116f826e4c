"""A page of solutions, right and wrong, whose tokens are coloured by their Q-values.

Which solutions are shown does not depend on how they look: in each benchmark they are the first by
hash of their question, and the same for all variants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gcrm.data.questions import question_hash, question_key
from gcrm.data.scores import ScoreTable, read_scores
from gcrm.reporting.table_files import page
from gcrm.reporting.token_texts import Finder, Spans, token_spans

END = "■"
"""Stands for the end token."""
STEPS = 9
"""Shades from the lowest Q-value to the highest."""
LOW = (0xD5, 0x5E, 0x00)
"""Colour of the lowest; the highest is white, so that low ones are dark in print, too."""
STYLE = """h2 { font-size: 1.05rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #999; }
.question { white-space: pre-wrap; max-width: 60rem; }
.solution { border-left: 4px solid #0072B2; padding-left: .8rem; margin: 1rem 0; }
.solution.wrong { border-left: 4px dashed #D55E00; }
.verdict { font-weight: 600; }
.tokens { white-space: pre-wrap; font: 14px/1.9 ui-monospace, monospace; max-width: 60rem;
  overflow-wrap: anywhere; unicode-bidi: isolate; }
.tokens span { border-radius: 2px; box-shadow: inset 0 0 0 .5px #bbb; }
.tokens .below { text-decoration: underline 2px; text-underline-offset: 3px; }
.facts { color: #444; font-size: .87rem; }
.facts b { color: #1a1a1a; }"""


@dataclass(frozen=True)
class Model:
    """A variant's first seed: its folder, its score tables by benchmark, its range of Q-values."""

    variant: str
    folder: Path
    scores: dict[str, Path]
    q_range: tuple[float, float]


@dataclass(frozen=True)
class Filter:
    """The vote's filter: Q-values below `threshold` drop a sample, after `skip_tokens` tokens."""

    threshold: float
    skip_tokens: int


def solutions_page(title: str, models: Sequence[Model], each: int, filter: Filter) -> str:
    """The page as HTML that runs no script and loads nothing.

    Args:
        title: heading of the page.
        models: whose Q-values are shown; all have scored the same solutions.
        each: right ones shown of each benchmark, and as many wrong ones.
        filter: by which Q-values are underlined.
    """
    finders = [token_spans(model.folder) for model in models]
    body = [_legend(models, filter)]
    for benchmark in models[0].scores if models else []:
        body.append(f"<h2>{escape(benchmark)}</h2>")
        tables = [
            read_scores(model.scores[benchmark], ["completion", "q_values"]) for model in models
        ]
        shown = list(chosen(tables[0], each))
        if not shown:
            body.append("<p>No solutions that were scored whole.</p>")
        for row in shown:
            body.append(_solution(tables, row, models, finders, filter))
    return page(title, STYLE + "\n" + "\n".join(_shades()), "\n".join(body))


def chosen(table: ScoreTable, each: int) -> Iterator[int]:
    """Rows of the first `each` right and wrong solutions by hash, without cut ones."""
    order = sorted(np.flatnonzero(~table.truncated), key=lambda row: _hash(str(table.prompt[row])))
    for right in (True, False):
        yield from [int(row) for row in order if table.label[row] == right][:each]


def _hash(question: str) -> str:
    return question_hash(question_key(question))


def _solution(
    tables: Sequence[ScoreTable],
    row: int,
    models: Sequence[Model],
    finders: Sequence[Finder],
    filter: Filter,
) -> str:
    question, solution = tables[0].prompt[row], _texts(tables[0])[row]
    right = bool(tables[0].label[row])
    parts = [
        f'<div class="solution {"right" if right else "wrong"}">',
        f'<p class="question">{_shown(question)}</p>',
        f'<p class="verdict">{"✓ right" if right else "✗ wrong"}</p>',
    ]
    for table, model, find in zip(tables, models, finders, strict=True):
        place = _find(table, question, solution)
        if place is None or table.q_values is None:
            reason = "has not scored it" if place is None else "has no Q-values"
            parts.append(f'<p class="facts"><b>{escape(model.variant)}</b> {reason}.</p>')
            continue
        values = table.q_values[place]
        parts.append(_facts(model.variant, float(table.reward[place]), values, filter))
        spans = find(question, solution, len(values))
        if isinstance(spans, str):
            parts.append(f'<p class="facts">Not shown: {escape(spans)}.</p>')
        else:
            shades = shades_of(values, model.q_range)
            parts.append(_tokens(solution, spans, values, shades, filter))
    return "\n".join([*parts, "</div>"])


def _texts(table: ScoreTable) -> NDArray[Any]:
    assert table.completion is not None  # the column is always there, and was asked for
    return table.completion


def _find(table: ScoreTable, question: str, solution: str) -> int | None:
    rows = np.flatnonzero((table.prompt == question) & (_texts(table) == solution))
    return int(rows[0]) if len(rows) else None


def shades_of(values: NDArray[np.float32], q_range: tuple[float, float]) -> NDArray[np.int64]:
    """Shade of each Q-value: 0 at the low end of the range or below, STEPS - 1 at the high end."""
    low, high = q_range
    scaled = (values - low) / (high - low) if high > low else np.ones(len(values))
    return np.asarray(np.clip(scaled * STEPS, 0, STEPS - 1), np.int64)


def _tokens(
    solution: str,
    spans: Spans,
    values: NDArray[np.float32],
    shades: NDArray[np.int64],
    filter: Filter,
) -> str:
    """The solution with a span for each token; EOS is the last."""
    parts, done = [], 0
    for index, (value, shade) in enumerate(zip(values, shades, strict=True)):
        begin, end = spans[index] if index < len(spans) else (len(solution), len(solution))
        # A token may lack characters (white space), or share one with the token before it.
        parts.append(_shown(solution[done:begin]))
        text = END if index == len(spans) else _shown(solution[max(begin, done) : end])
        below = " below" if index >= filter.skip_tokens and value < filter.threshold else ""
        parts.append(f'<span class="q{shade}{below}" title="{value:.3f}">{text}</span>')
        done = max(done, end)
    return f'<div class="tokens">{"".join(parts)}</div>'


def _shown(text: str) -> str:
    """Text for a page: marks escaped, control characters (but not line ends, tabs) made visible."""
    visible = "".join(
        chr(0x2400 + ord(mark)) if ord(mark) < 32 and mark not in "\n\t" else mark for mark in text
    )
    return escape(visible.replace("\x7f", "\u2421"))


def _facts(variant: str, reward: float, values: NDArray[np.float32], filter: Filter) -> str:
    looked_at = values[filter.skip_tokens :]
    facts = f"reward {reward:.3f}, {len(values)} tokens"
    if len(looked_at):
        lowest = int(np.argmin(looked_at)) + filter.skip_tokens
        facts += f", lowest Q-value {values[lowest]:.3f} at token {lowest + 1}"
    return f'<p class="facts"><b>{escape(variant)}</b>: {facts}</p>'


def _legend(models: Sequence[Model], filter: Filter) -> str:
    bar = "".join(f'<span class="q{shade}">&nbsp;&nbsp;&nbsp;</span>' for shade in range(STEPS))
    ranges = ", ".join(
        f"<b>{escape(model.variant)}</b> {model.q_range[0]:z.2f} to {model.q_range[1]:z.2f}"
        for model in models
    )
    return (
        f'<p class="facts">The darker a token, the lower its Q-value: '
        f'<span class="tokens">{bar}</span> is {ranges}, from the lowest 2nd percentile of a '
        f"benchmark's Q-values to the highest 98th (first seed). Underlined: below "
        f"{filter.threshold:g}, from token {filter.skip_tokens + 1} on, for which the "
        f"filter drops a sample. {END} is the end. Point at a token for its value. Solutions are "
        "the first of each benchmark by hash of their question, not picked by how they look.</p>"
    )


def _shades() -> Iterator[str]:
    for shade in range(STEPS):
        share = shade / (STEPS - 1)
        colour = "".join(f"{round(low + (255 - low) * share):02x}" for low in LOW)
        yield f".q{shade} {{ background: #{colour}; }}"
