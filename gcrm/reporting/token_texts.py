"""Finding the characters of each token of a solution, to show scores on the text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcrm.utils.errors import UserError

Spans = list[tuple[int, int]]
Finder = Callable[[str, str, int], Spans | str]
"""maps question, solution and its number of tokens to the tokens' spans, or a reason for none"""


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
