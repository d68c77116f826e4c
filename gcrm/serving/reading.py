"""From requests to tokens.

Our own endpoint encodes as `RewardModel.score` does. The others get whole texts, with the special
tokens in them, and add nothing: the reward is that of the last token, as OpenRLHF and vLLM read it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from gcrm.config.serve import Limits
from gcrm.data.layouts import checked_prompt
from gcrm.data.messages import Prompt, text_of
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoded, check_text
from gcrm.serving.errors import Refused
from gcrm.serving.schemas import Group, Prompts, RewardRequest, ScoreRequest
from gcrm.utils.errors import UserError

Job = list[Encoded]
LETTERS_PER_TOKEN = 64
"""A text with more than so many letters for each token that the model reads is not tokenised."""
TEXTS_AT_ONCE = 8
"""texts that are tokenised before the tokens of a request are counted"""


def costs_of(encoded: Iterable[Encoded]) -> list[int]:
    """Tokens that are read for each text; a prompt that neighbours share counts for the first."""
    costs, prompt = [], None
    for one in encoded:
        its = one.input_ids[: one.start]
        costs.append(one.num_tokens if its == prompt else one.start + one.num_tokens)
        prompt = its
    return costs


class Reader:
    """Encodes requests for a reward model. Only one thread at a time may use its tokenizer.

    A request with too many tokens is refused before all of it is tokenised, which takes long.
    """

    def __init__(self, model: RewardModel, limits: Limits):
        self._most = limits.max_request_tokens
        self._encoder = model.encoder
        self._tokenizer: Any = model.tokenizer
        self._vocabulary = model.passes.vocabulary

    def solutions(self, request: ScoreRequest) -> Job:
        """The solutions of all groups.

        Raises:
            Refused: a prompt cannot be read, or leaves no room; its group is named.
        """
        return self._counted(
            _named(f"groups.{number}", self._encode, group, texts)
            for number, group in enumerate(request.groups)
            for texts in batched(group.solutions, TEXTS_AT_ONCE)
        )

    def pieces(self, request: ScoreRequest, encoded: Sequence[Encoded]) -> list[list[str]]:
        """For each solution the texts of its tokens; see `SolutionScores.tokens`."""
        texts = ((group, text) for group in request.groups for text in group.solutions)
        return [
            pieces(
                text,
                self._encoder.spans(_prompt(group), text),
                one.num_tokens,
                self._encoder.appends_eos,
            )
            for (group, text), one in zip(texts, encoded, strict=True)
        ]

    def queries(self, request: RewardRequest) -> Job:
        """OpenRLHF's queries; one that is too long loses its end, as there.

        Raises:
            Refused: there are not as many prompts, or a query has no tokens.
        """
        prompts = [""] * len(request.query) if request.prompts is None else request.prompts
        if len(prompts) != len(request.query):
            raise Refused(422, "prompts: expected as many as in query", "prompts")
        return self._counted(
            [_named(f"query.{number}", self._query, query, prompt)]
            for number, (query, prompt) in enumerate(zip(request.query, prompts, strict=True))
        )

    def prompts(self, request: Prompts) -> Job:
        """vLLM's inputs, or its dialogue.

        Raises:
            Refused: one has no tokens, too many, or one that the model does not know.
        """
        if request.messages is not None:
            text = _named("messages", self._rendered, request)
            return [self._whole("messages", text, bool(request.add_special_tokens))]
        added = request.add_special_tokens is not False
        return self._counted(
            [self._whole(f"input.{number}", one, added)] for number, one in enumerate(request.texts)
        )

    def _counted(self, parts: Iterable[Job]) -> Job:
        """The parts together, as long as they have not too many tokens."""
        job: Job = []
        tokens = 0
        for part in parts:
            tokens += sum(costs_of(part))
            if tokens > self._most:
                raise Refused(
                    413,
                    f"the request has more than {self._most} tokens (max_request_tokens); send its "
                    "parts one by one",
                )
            job += part
        return job

    def _encode(self, group: Group, solutions: Sequence[str]) -> Job:
        prompt = checked_prompt(_prompt(group), "the prompt")
        for text in (text_of(prompt), *solutions):
            self._check_length(text)
        return self._encoder.encode_many((prompt, text) for text in solutions)

    def _query(self, query: str, prompt: str) -> Encoded:
        before = len(prompt) if query.startswith(prompt) else 0
        ids, start = self._ids(query, False, before)
        kept = ids[: self._encoder.max_len]
        return Encoded(kept, min(start, len(kept) - 1), truncated=len(kept) < len(ids))

    def _check_length(self, text: str) -> None:
        most = LETTERS_PER_TOKEN * self._encoder.max_len
        if len(text) > most:
            raise Refused(
                413,
                f"a text has {len(text)} letters, and no text of more than {most} fits into the "
                f"{self._encoder.max_len} tokens (max_len) that the model reads",
            )

    def _rendered(self, request: Prompts) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                request.messages,
                chat_template=self._encoder.template,
                tokenize=False,
                add_generation_prompt=request.add_generation_prompt,
                continue_final_message=request.continue_final_message,
            )
        except RecursionError:
            raise
        except Exception as error:  # templates are programs and raise what they like
            raise UserError(f"the chat template refuses them: {error}") from None
        return text

    def _whole(self, where: str, text: str | list[int], add_special_tokens: bool) -> Encoded:
        if isinstance(text, str):
            ids, _ = _named(where, self._ids, text, add_special_tokens)
        else:
            ids = text
        if not ids:
            raise Refused(422, f"{where}: has no tokens", where)
        if len(ids) > self._encoder.max_len:
            raise Refused(
                422,
                f"{where}: has {len(ids)} tokens, more than the {self._encoder.max_len} (max_len) "
                "that the model reads",
                where,
            )
        if min(ids) < 0 or max(ids) >= self._vocabulary:
            raise Refused(422, f"{where}: a token is not in 0 … {self._vocabulary - 1}", where)
        return Encoded(ids, 0)

    def _ids(self, text: str, add_special_tokens: bool, before: int = 0) -> tuple[list[int], int]:
        """Tokens of a text, and how many of them lie in its first `before` characters."""
        self._check_length(text)
        encoding = self._tokenizer(
            check_text(text), add_special_tokens=add_special_tokens, return_offsets_mapping=True
        )
        ids: list[int] = encoding["input_ids"]
        if not ids:
            raise UserError("has no tokens")
        ends = (end for _, end in encoding["offset_mapping"])
        return ids, next((i for i, end in enumerate(ends) if end > before), len(ids))


def _prompt(group: Group) -> Prompt:
    prompt = group.question if group.messages is None else group.messages
    assert prompt is not None
    return prompt


def pieces(text: str, spans: Sequence[tuple[int, int]], tokens: int, eos: bool) -> list[str]:
    """One text a token, which together are `text` as far as it was read.

    What lies between two tokens, such as white space, belongs to the second. Of several tokens of a
    letter, the first has it, and the others are empty.

    Args:
        spans: [begin, end) of each token, without EOS, perhaps of more than were read.
        tokens: number of tokens that were read. eos: the last is EOS, which has what is left.
    """
    found, done = [], 0
    for _, end in spans[: tokens - eos]:
        found.append(text[done:end])
        done = max(done, end)
    return [*found, text[done:] if len(spans) < tokens else ""] if eos else found


def batched(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The texts in lists of at most `size`."""
    rest = iter(texts)
    while some := list(islice(rest, size)):
        yield some


def _named(where: str, work: Callable[..., Any], *given: Any) -> Any:
    """What the work gives; its error names the part of the request."""
    try:
        return work(*given)
    except UserError as error:
        raise Refused(422, f"{where}: {error}", where) from None
    except RecursionError:
        raise Refused(422, f"{where}: is nested too deeply", where) from None
