"""Which characters of a solution each of its tokens stands for, to show scores on the text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gcrm.utils.errors import UserError

Spans = list[tuple[int, int]]
Finder = Callable[[str, str, int], Spans | str]
"""From question, solution and its number of tokens to the tokens' spans, or why there are none."""


def token_spans(model: Path) -> Finder:
    """A function that finds the tokens of solutions as the reward model in `model` reads them.

    The tokens are those of `gcrm.modeling.tokenization`; where each lies in the text is only taken
    from another run of the tokenizer if that gives the very same tokens. The function returns for
    each token of the completion but EOS the characters [begin, end) of the solution.

    Raises:
        UserError: the folder has no tokenizer.
    """
    # Without AutoTokenizer, which imports torch; checkpoints have a tokenizer.json.
    from transformers import PreTrainedTokenizerFast

    from gcrm.modeling.tokenization import Encoder

    try:
        tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{model}: has no tokenizer that can be read ({reason})") from None
    encoder = Encoder(tokenizer, max_len=1 << 30)

    def find(question: str, solution: str, num_tokens: int) -> Spans | str:
        try:
            encoded = encoder.encode(question, solution)
        except UserError as error:
            return str(error)
        if encoded.num_tokens != num_tokens:
            return f"it has {encoded.num_tokens} tokens, and scores of {num_tokens}"
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            chat_template=encoder.template,
            tokenize=False,
            add_generation_prompt=True,
        )
        text = tokenizer(prompt + solution, add_special_tokens=False, return_offsets_mapping=True)
        border = len(prompt)
        spans = [
            (token, max(begin - border, 0), end - border)
            for token, (begin, end) in zip(text["input_ids"], text["offset_mapping"], strict=True)
            if end > border
        ]
        if [token for token, _, _ in spans] != encoded.input_ids[encoded.start : -1]:
            return "its tokens cannot be placed in its text"
        return [(begin, end) for _, begin, end in spans]

    return find
