"""Whether all questions of the benchmarks fit into `max_len`, before models are trained."""

from collections.abc import Sequence
from pathlib import Path

from gcrm.config.layout import completion_files
from gcrm.data.completions import read_completions
from gcrm.modeling.loading import load_tokenizer
from gcrm.modeling.tokenization import Encoder
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local


def check_prompt_lengths(
    base_model: str,
    folder: Path,
    benchmarks: Sequence[str],
    max_len: int,
    max_problems: int | None = None,
) -> None:
    """Count tokens as `evaluate` will, with the tokenizer that the reward models will have.

    Args:
        base_model: what they will be made from.
        folder: the completions of all benchmarks.
        max_len, max_problems: those of `evaluate`.

    Raises:
        UserError: a question leaves no room for a completion, or a local model has no tokenizer.
    """
    try:
        tokenizer = load_tokenizer(base_model)
    except UserError as error:
        if is_local(base_model):
            raise
        say(f"prepare: the tokens of questions are not counted: {error}")
        return
    encoder = Encoder(tokenizer, max_len)
    found = []
    for name in benchmarks:
        questions = {
            row["question"]
            for split in ("greedy", "all")
            if split == "greedy" or completion_files(folder, name, split)
            for row in read_completions(folder, name, split, max_problems)
        }
        lengths = [len(encoder.prompt_ids(question)) for question in questions]
        if long := sum(length >= max_len for length in lengths):
            found.append(f"{name}: {long} of {len(lengths)}, the longest of {max(lengths)}")
    if found:
        raise UserError(
            f"evaluate.max_len = {max_len} tokens leaves some questions no room for a solution "
            f"({'; '.join(found)}): raise it, if the model's context is longer, or take their rows "
            "out of the files"
        )
