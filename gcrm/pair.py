"""Stage `pair`: makes preference pairs from labelled solutions of the same problems."""

import random
from collections.abc import Iterable
from itertools import product

from gcrm.cli import run_stage
from gcrm.config.pair import PairOptions
from gcrm.data.completions import read_file
from gcrm.data.questions import question_key
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, write_jsonl
from gcrm.utils.logging import say


def run(options: PairOptions) -> None:
    """Read all files, pair, and write the pairs.

    Raises:
        UserError: a file cannot be read, or no problem has a correct and an incorrect solution.
    """
    rows = [row for file in options.completions for row in read_file(file)]
    pairs = make_pairs(rows, options.max_pairs_per_problem, options.data_seed)
    problems = {question_key(row["question"]) for row in rows}
    with_pairs = {question_key(pair["question"]) for pair in pairs}
    if not pairs:
        correct = sum(row["is_correct"] for row in rows)
        raise UserError(
            f"no pairs: none of {len(problems)} problems in {len(options.completions)} files has "
            f"both a correct and an incorrect solution ({correct} of {len(rows)} solutions are "
            "correct); draw more samples, or take a base model that is neither perfect nor hopeless"
        )
    write_jsonl(options.output, pairs)
    say(f"pair: {len(pairs)} pairs from {len(with_pairs)} of {len(problems)} problems")
    write_provenance(
        beside(options.output),
        options,
        inputs=options.completions,
        outputs=[options.output],
        pairs=len(pairs),
        problems=len(problems),
        problems_with_pairs=len(with_pairs),
    )


def make_pairs(rows: Iterable[Row], most: int, seed: int) -> list[Row]:
    """Rows {question, correct, incorrect}, at most `most` of each problem, no pair twice.

    Drawn from all combinations of a correct and an incorrect text: samples that are right are often
    the same, while those that are wrong are wrong in many ways. The choice depends on seed,
    question and texts, not on the order of the rows.
    """
    texts: dict[str, tuple[str, dict[bool, set[str]]]] = {}
    for row in rows:
        key = question_key(row["question"])
        _, kinds = texts.setdefault(key, (row["question"], {True: set(), False: set()}))
        if row["generated_solution"].strip():
            kinds[row["is_correct"]].add(row["generated_solution"])
    pairs = []
    for key, (question, kinds) in texts.items():
        # Where labels contradict each other, as they can if one answer was cut off, neither counts.
        correct, incorrect = kinds[True] - kinds[False], kinds[False] - kinds[True]
        combinations = list(product(sorted(correct), sorted(incorrect)))
        drawn = random.Random(f"{seed} {key}").sample(combinations, min(most, len(combinations)))
        pairs += [{"question": question, "correct": good, "incorrect": bad} for good, bad in drawn]
    return pairs


if __name__ == "__main__":
    raise SystemExit(run_stage(PairOptions, run))
