"""The endpoints."""

import asyncio
import base64
import hashlib
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gcrm.config.serve import Limits
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.stream import TokenScores
from gcrm.modeling.tokenization import Encoded
from gcrm.serving import schemas
from gcrm.serving.batching import Batcher
from gcrm.serving.errors import Refused, error_response, of_validation
from gcrm.serving.guard import Guard
from gcrm.serving.metrics import Metrics
from gcrm.serving.reading import Reader, costs_of

Result = TypeVar("Result")
PAGE = Path(__file__).with_name("page.html")
"""the page at /: one file, which loads nothing"""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorAnswer, "description": text}
    for status, text in {
        413: "The body, or the number of its tokens, is too large.",
        422: "The request is wrong; the message names the field.",
        429: "Too much waits; try again after Retry-After seconds.",
        503: "It took too long, or the model failed.",
    }.items()
}


class Service:
    """A reward model, and what stands between it and the endpoints."""

    def __init__(self, model: RewardModel, name: str, limits: Limits, per_pass: int | None = None):
        self.model, self.name, self.limits = model, name, limits
        self.metrics = Metrics()
        self.reader = Reader(model, limits)
        self.batcher = Batcher(model, limits, self.metrics, per_pass)
        self.started = int(time.time())
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Score while the application runs."""
        work = asyncio.create_task(self.batcher.run())
        yield
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        self.batcher.close()
        self._reading.shutdown(cancel_futures=True)

    async def read(self, work: Callable[..., Result], *given: Any) -> Result:
        """Do work that uses the tokenizer, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *given)

    async def scores(
        self, name: str | None, read: Callable[..., list[Encoded]], request: BaseModel
    ) -> tuple[list[Encoded], list[TokenScores]]:
        """The texts of a request, and their scores.

        Args:
            name: of the model that the request asks for.

        Raises:
            Refused: the request cannot be read or taken, or it takes too long.
        """
        if name not in (None, self.name):
            raise Refused(404, f"model: there is no such model; here is {self.name!r}", "model")
        try:
            async with asyncio.timeout(self.limits.timeout):
                encoded = await self.read(read, request)
                return encoded, await self.batcher.score(encoded)
        except TimeoutError:
            raise Refused(
                503,
                f"the request was not scored within {self.limits.timeout:g} s (timeout)",
                retry_after=self.batcher.seconds_to_wait(),
            ) from None

    def activation(self, wanted: bool | None) -> Callable[[float], float]:
        """What vLLM puts on the reward of a model with one label (`get_act_fn`)."""
        regression = self.model.model.config.problem_type == "regression"
        return float if regression or wanted is False else _sigmoid


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def create_app(service: Service, token: str | None = None) -> ASGIApp:
    """The whole application.

    Args:
        token: what requests must show; None where all may ask.
    """
    app = FastAPIOffline(
        redoc_url=None,
        title="gcrm",
        summary=f"Rewards and Q-values by {service.name}",
        lifespan=service.running,
    )
    _add_scores(app, service)
    _add_vllm(app, service)
    _add_pages(app, service)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return error_response(of_validation(error))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        response = error_response(Refused(error.status_code, str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        return error_response(Refused(500, "the server has a defect here; its log says where"))

    return Guard(app, service.limits, service.metrics, token, {"/": _policy()})


def _json(answer: BaseModel, leave_out_none: bool = False) -> Response:
    content = answer.model_dump_json(exclude_none=leave_out_none)
    return Response(content, media_type="application/json")


def _add_scores(app: FastAPI, service: Service) -> None:
    @app.post("/score", response_model=schemas.ScoreAnswer, responses=ERRORS)
    async def score(request: schemas.ScoreRequest) -> Response:
        """Rewards of solutions, on request with the scores and texts of all tokens."""
        if request.q_values and service.model.goal_state is None:
            raise Refused(
                422, "q_values: the server has no goal state; start it with one", "q_values"
            )
        encoded, scores = await service.scores(request.model, service.reader.solutions, request)
        tokens: Sequence[list[str] | None] = [None] * len(encoded)
        if request.tokens:
            tokens = await service.read(service.reader.pieces, request, encoded)
        solutions = iter(
            schemas.SolutionScores(
                reward=float(found.rewards[-1]),
                num_tokens=one.num_tokens,
                truncated=one.truncated,
                partial_rewards=found.rewards.tolist() if request.partial_rewards else None,
                q_values=None
                if found.q_values is None or not request.q_values
                else found.q_values.tolist(),
                tokens=pieces,
            )
            for one, found, pieces in zip(encoded, scores, tokens, strict=True)
        )
        groups = [
            schemas.GroupScores(solutions=[next(solutions) for _ in group.solutions])
            for group in request.groups
        ]
        read = sum(costs_of(encoded))
        answer = schemas.ScoreAnswer(model=service.name, groups=groups, tokens_read=read)
        return _json(answer, leave_out_none=True)

    @app.post("/get_reward", response_model=schemas.RewardAnswer, responses=ERRORS)
    async def get_reward(request: schemas.RewardRequest) -> Response:
        """OpenRLHF's remote reward model: `--reward.remote_url http://127.0.0.1:8000/get_reward`."""
        _, scores = await service.scores(None, service.reader.queries, request)
        rewards = [float(found.rewards[-1]) for found in scores]
        last = [float(found.q_values[-1]) for found in scores if found.q_values is not None]
        logs = {"q_values": last} if last else {}
        return _json(schemas.RewardAnswer(rewards=rewards, scores=rewards, extra_logs=logs))


def _add_vllm(app: FastAPI, service: Service) -> None:
    def listed(prefix: str, request: schemas.Prompts, encoded: Sequence[Encoded]) -> dict[str, Any]:
        tokens = sum(one.num_tokens for one in encoded)
        usage = schemas.Usage(prompt_tokens=tokens, total_tokens=tokens)
        return {"id": f"{prefix}-{request.request_id}", "model": service.name, "usage": usage}

    @app.post("/classify", response_model=schemas.ClassifyAnswer, responses=ERRORS)
    async def classify(request: schemas.ClassifyRequest) -> Response:
        """vLLM's classifier: of a reward model, `probs` is the reward alone."""
        encoded, scores = await service.scores(request.model, service.reader.prompts, request)
        activation = service.activation(request.use_activation)
        labels: Any = service.model.model.config.id2label
        data = [
            schemas.ClassifyData(
                index=index,
                label=labels.get(0),
                probs=[activation(found.rewards[-1])],
                num_classes=1,
            )
            for index, found in enumerate(scores)
        ]
        return _json(schemas.ClassifyAnswer(data=data, **listed("classify", request, encoded)))

    @app.post("/pooling", response_model=schemas.PoolingAnswer, responses=ERRORS)
    async def pooling(request: schemas.PoolingRequest) -> Response:
        """vLLM's pooling: the reward of the last token, or of every token of the text."""
        encoded, scores = await service.scores(request.model, service.reader.prompts, request)
        activation = service.activation(request.use_activation)
        data = [
            schemas.PoolingData(
                index=index,
                data=[activation(found.rewards[-1])]
                if request.task == "classify"
                else [[activation(reward)] for reward in found.rewards],
            )
            for index, found in enumerate(scores)
        ]
        return _json(schemas.PoolingAnswer(data=data, **listed("pooling", request, encoded)))

    @app.get("/v1/models", response_model=schemas.Models)
    async def models() -> Response:
        """The one model, as clients of vLLM look it up."""
        model = schemas.Model(
            id=service.name,
            created=service.started,
            max_model_len=service.model.encoder.max_len,
            q_values=service.model.goal_state is not None,
        )
        return _json(schemas.Models(data=[model]))


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> schemas.Health:
        """That the server is ready; it does not answer before."""
        return schemas.Health()

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def root() -> HTMLResponse:
        return HTMLResponse(_page())


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


def _policy() -> str:
    """The content security policy of the page: the server; its own script and style, by hash."""
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            for content in re.findall(rf"<{tag}>(.*?)</{tag}>", _page(), re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
