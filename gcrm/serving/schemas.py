"""Requests and answers: our own, OpenRLHF's (0.11) and vLLM's (0.32).

What a request may say beyond the fields here is refused, and not passed over. vLLM's fields that
change no score (`user`, `priority`) are taken, so that its clients work as they are.
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = str
Message = dict[str, Any]
Texts = Annotated[list[Text], Field(min_length=1)]


class Request(BaseModel):
    """Base of requests."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Group(Request):
    """Solutions of one question, or answers in one dialogue. The prompt is read once for all."""

    question: Text | None = None
    """a question, which the chat template makes the user's message"""
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    """or the dialogue so far: objects with `role` and `content`"""
    solutions: Texts
    """solutions of the question, or the assistant's next messages; they may be incomplete"""

    @model_validator(mode="after")
    def _one_prompt(self) -> "Group":
        if (self.question is None) == (self.messages is None):
            raise ValueError("give either question or messages")
        return self


class ScoreRequest(Request):
    """Groups of solutions to score, and what to tell of each beside its reward."""

    groups: Annotated[list[Group], Field(min_length=1)]
    partial_rewards: bool = False
    """also the reward after every token"""
    q_values: bool = False
    """also the Q-value of every token; the server must have a goal state"""
    tokens: bool = False
    """also the pieces of text that the tokens stand for"""
    model: Text | None = None
    """name of the model; another one than the server's is refused"""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "groups": [{"question": "What is 2 + 3?", "solutions": ["2 + 3 = 5", "6"]}],
                    "partial_rewards": True,
                    "tokens": True,
                }
            ]
        }
    )


class SolutionScores(Answer):
    """The scores of a solution of n tokens, of which the last is EOS."""

    reward: float
    """the final reward"""
    num_tokens: int
    truncated: bool
    """it was longer than the server's max_len and lost its end"""
    partial_rewards: list[float] | None = None
    """the reward after every token, n numbers; the last is `reward`"""
    q_values: list[float] | None = None
    """the cosine of every token's hidden state with the goal state, n numbers"""
    tokens: list[Text] | None = None
    """n texts, together the solution as far as it was read; that of EOS is empty, and so are those
    of all but the first of several tokens of a letter"""


class GroupScores(Answer):
    """The scores of a group's solutions, in its order."""

    solutions: list[SolutionScores]


class Usage(Answer):
    """vLLM's count of tokens."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class ScoreAnswer(Answer):
    """The scores of all groups, in the order of the request."""

    model: Text
    groups: list[GroupScores]
    tokens_read: int
    """tokens of the request, a prompt that solutions share counted once"""


class RewardRequest(Request):
    """OpenRLHF's request, as its trainers send it to `--reward.remote_url`."""

    query: Texts
    """prompts with their answers as one text each, special tokens included: read as they are"""
    prompts: list[Text] | None = None
    """the prompt of each query; queries that begin with equal prompts share the pass over them"""
    labels: list[Any] | None = None
    """taken since OpenRLHF sends it, and not used: a reward model knows no labels"""


class RewardAnswer(Answer):
    """OpenRLHF's answer: a reward for each query."""

    rewards: list[float]
    scores: list[float]
    """the same, by which OpenRLHF filters samples"""
    extra_logs: dict[str, list[float]]
    """what OpenRLHF logs beside: with a goal state, the Q-value of the last token"""


class Prompts(Request):
    """What vLLM's pooling requests have in common: texts or tokens, or one dialogue."""

    model: Text | None = None
    input: Text | Texts | list[int] | list[list[int]] | None = None
    """a text, several, a text's tokens, or those of several; read as they are, special tokens
    included"""
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    """or one dialogue, for the chat template"""
    add_special_tokens: bool | None = None
    """let the tokenizer add its own, such as BOS (default: true for input, false for messages)"""
    add_generation_prompt: bool = False
    """end the dialogue with what stands before the assistant's answer"""
    continue_final_message: bool = False
    """leave the last message open, without the template's ending"""
    use_activation: bool | None = None
    """false: the raw reward. Else vLLM's activation: none for a model whose problem_type is
    regression, which those of gcrm are; a sigmoid for any other with one label"""
    request_id: Annotated[Text, Field(max_length=200)] = Field(default_factory=lambda: uuid4().hex)
    user: Text | None = None
    priority: Literal[0] = 0

    @model_validator(mode="after")
    def _one_kind(self) -> "Prompts":
        if (self.input is None) == (self.messages is None):
            raise ValueError("give either input or messages")
        if self.input is not None and (self.add_generation_prompt or self.continue_final_message):
            raise ValueError(
                "add_generation_prompt and continue_final_message are for messages, not for input"
            )
        if self.add_generation_prompt and self.continue_final_message:
            raise ValueError("cannot both add_generation_prompt and continue_final_message")
        return self

    @property
    def texts(self) -> Sequence[str | list[int]]:
        """The input as a list, whose items are texts or the tokens of texts."""
        given: Any = self.input
        alone = isinstance(given, str) or (given and isinstance(given[0], int))
        return [given] if alone else given


class ClassifyRequest(Prompts):
    """vLLM's request of `/classify`."""


class PoolingRequest(Prompts):
    """vLLM's request of `/pooling`."""

    task: Literal["classify", "token_classify"] = "classify"
    """the reward of the last token, or of every token, those of the prompt included"""
    encoding_format: Literal["float"] = "float"


class ClassifyData(Answer):
    """The class of an input: a reward model has one, whose "probability" is the reward."""

    index: int
    label: Text | None
    probs: list[float]
    num_classes: int


class PoolingData(Answer):
    """The reward of an input, or of each of its tokens."""

    index: int
    object: Text = "pooling"
    data: list[float] | list[list[float]]


class Listed(Answer):
    """What the answers of vLLM have in common."""

    id: Text
    object: Text = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: Text
    usage: Usage


class ClassifyAnswer(Listed):
    """vLLM's answer of `/classify`."""

    data: list[ClassifyData]


class PoolingAnswer(Listed):
    """vLLM's answer of `/pooling`."""

    data: list[PoolingData]


class Model(Answer):
    """A model that is served."""

    id: Text
    object: Text = "model"
    created: int
    owned_by: Text = "gcrm"
    max_model_len: int
    """longest prompt with completion, in tokens"""
    q_values: bool
    """there is a goal state"""


class Models(Answer):
    """vLLM's list of models; here it has one."""

    object: Text = "list"
    data: list[Model]


class Health(Answer):
    """The server is ready."""

    status: Literal["ok"] = "ok"


class ErrorInfo(Answer):
    """Why a request was refused."""

    message: Text
    type: Text
    param: Text | None = None
    """the field of the request that is wrong, where it is one"""
    code: int
    """the HTTP status"""


class ErrorAnswer(Answer):
    """The answer to every request that fails, in the shape of vLLM's and OpenAI's."""

    error: ErrorInfo
