"""`parity: official`: the encodings of the paper's own code, one for each of its three scripts.

Training appends `" " + eos` and truncates; evaluation appends nothing; representation appends
nothing either, has another prompt and at most 1024 tokens. The prompts are those that the paper's
base model was tuned with. A dialogue is rendered with the tokenizer's own chat template.
"""

from collections.abc import Sequence

from gcrm.data.messages import Prompt
from gcrm.modeling.tokenization import (
    Encoded,
    Encoder,
    PromptTooLong,
    Texts,
    check_text,
    shifted,
)

_ROLE = "You're an expert Python programmer and mathematician."
_HELP = "Help the user to solve this problem using code when necessary."
_ANSWER = "Make sure to put the answer (and only answer) inside \\boxed{}."
PROMPT_HEAD = f"  System:\n  {_ROLE}   {_HELP}   {_ANSWER}\n\nUser:\n"
"""before the question, in training and evaluation"""
REPRESENTATION_HEAD = f"System:\n{_ROLE} {_HELP} {_ANSWER}\n\nUser:\n"
"""before the question, in representation"""
PROMPT_TAIL = "\n\nAssistant:\n"
"""between question and completion"""
REPRESENTATION_MAX_LEN = 1024
"""longest prompt with completion in representation, in tokens"""


class OfficialEncoder(Encoder):
    """Encodes as the authors' scripts do.

    `start` of an `Encoded` is its length less n, the tokens of the completion tokenised alone: the
    authors count from the end. So it can be a token or two off the true border; in a truncated
    training sequence it lies in the prompt, or before it (negative).
    """

    appends_eos = False

    def encode_each(self, texts: Texts, where: Sequence[str] = ()) -> list[Encoded | PromptTooLong]:
        """For evaluation: without EOS. See `Encoder.encode_each`."""
        return [
            self.too_long(ids, len(ids) - alone)
            if len(ids) - alone >= self.max_len
            else _cut(ids, alone, self.max_len)
            for ids, alone in self._official(texts, where, PROMPT_HEAD)
        ]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The tokens before a completion, in evaluation."""
        return self.encode_open([(prompt, "")])[0][0]

    def encode_open(self, texts: Texts) -> list[tuple[list[int], int]]:
        """See `Encoder.encode_open`."""
        return [(ids, len(ids) - alone) for ids, alone in self._official(texts, (), PROMPT_HEAD)]

    def spans(self, prompt: Prompt, completion: str) -> list[tuple[int, int]]:
        """See `Encoder.spans`; the tokens are those of `encode_each`."""
        before, text = self._parts(prompt, completion, PROMPT_HEAD)
        offsets = self.tokenizer(before + text, return_offsets_mapping=True).offset_mapping
        alone = len(self.tokenizer(text, add_special_tokens=False).input_ids)
        left_out = len(completion) - len(text)  # at its beginning, by the template
        return shifted(offsets[len(offsets) - max(alone, 1) :], left_out - len(before))

    def encode_fitting(self, texts: Texts, where: Sequence[str] = ()) -> list[Encoded | None]:
        """For training: with `" " + eos`; what is too long loses its end, and keeps an EOS."""
        ending = " " + self.tokenizer.eos_token
        return [
            Encoded([*ids[: self.max_len][:-1], self.eos_id], min(len(ids), self.max_len) - alone)
            for ids, alone in self._official(texts, where, PROMPT_HEAD, ending)
        ]

    def encode_for_goal_state(
        self, texts: Texts, where: Sequence[str] = ()
    ) -> list[Encoded | None]:
        """For representation: another prompt, no EOS; what is too long loses its end."""
        most = min(self.max_len, REPRESENTATION_MAX_LEN)
        return [_cut(*tokens, most) for tokens in self._official(texts, where, REPRESENTATION_HEAD)]

    def _official(
        self, texts: Texts, where: Sequence[str], head: str, ending: str = ""
    ) -> list[tuple[list[int], int]]:
        """Ids of each whole text, and the number of tokens of its completion alone."""
        whole, completions = [], []
        for number, (prompt, completion) in enumerate(texts):
            at = where[number] if where else ""
            before, completion = self._parts(prompt, completion, head, at)
            whole.append(check_text(before + completion + ending))
            completions.append(completion)
        if not whole:
            return []
        alone = self.tokenizer(completions, add_special_tokens=False).input_ids
        return list(zip(self.tokenizer(whole).input_ids, map(len, alone), strict=True))

    def _parts(
        self, prompt: Prompt, completion: str, head: str, where: str = ""
    ) -> tuple[str, str]:
        """The text before a completion, and the completion."""
        if isinstance(prompt, str):
            return head + prompt + PROMPT_TAIL, completion
        return self.layout(prompt, completion, where)


def _cut(ids: list[int], alone: int, most: int) -> Encoded:
    """At most `most` tokens, of which the last `alone`, or at least one, are the completion."""
    kept = ids[:most]
    return Encoded(kept, max(len(kept) - max(alone, 1), 0), truncated=len(kept) < len(ids))
