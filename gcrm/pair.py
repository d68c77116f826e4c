"""Stage `pair`: makes preference pairs of labelled solutions to the same problems."""

from gcrm.cli import run_stage
from gcrm.config.pair import PairOptions
from gcrm.data.completions import read_file
from gcrm.data.pairing import all_combinations, exchange_sides
from gcrm.data.questions import question_key
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_jsonl
from gcrm.utils.logging import say


def run(options: PairOptions) -> None:
    """Read all files, make pairs, and write them.

    Raises:
        UserError: a file cannot be read, or no problem has a correct and an incorrect solution.
    """
    rows = [row for file in options.completions for row in read_file(file)]
    pairs = all_combinations(rows, options.max_pairs_per_problem, options.data_seed)
    problems = {question_key(row["question"]) for row in rows}
    with_pairs = {question_key(pair["question"]) for pair in pairs}
    if not pairs:
        correct = sum(row["is_correct"] for row in rows)
        raise UserError(
            f"no pairs: none of {len(problems)} problems in {len(options.completions)} files has "
            f"both a correct and an incorrect solution ({correct} of {len(rows)} solutions are "
            "correct); draw more samples, or use a base model that solves some but not all problems"
        )
    write_jsonl(options.output, exchange_sides(pairs, options.label_noise, options.data_seed))
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


if __name__ == "__main__":
    raise SystemExit(run_stage(PairOptions, run))
