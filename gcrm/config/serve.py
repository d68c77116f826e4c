"""Options of `serve`: a reward model behind HTTP."""

import ipaddress
from pathlib import Path

from pydantic import Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.compute import PassSettings, RewardModelOptions


class Limits(Settings):
    """What a server takes; the answer to more is an error with the reason."""

    max_body_bytes: int = Field(4_194_304, gt=0)
    """largest body of a request, in bytes; more is refused with 413"""
    max_request_tokens: int = Field(131_072, gt=0)
    """most tokens of a request, a prompt that solutions share counted once; more gives 413"""
    max_queue_tokens: int = Field(1_048_576, gt=0)
    """most tokens of all requests that wait; further requests get 429 with Retry-After"""
    max_requests: int = Field(512, gt=0)
    """most requests at a time; further ones get 429 with Retry-After"""
    max_batch_tokens: int = Field(8_192, gt=0)
    """most tokens that are scored before waiting requests get their turn"""
    timeout: float = Field(60.0, gt=0)
    """seconds that a request may take; then it ends with 503. A client has as long to send it"""

    @model_validator(mode="after")
    def _queue_holds_a_request(self) -> "Limits":
        if self.max_queue_tokens < self.max_request_tokens:
            raise ValueError(
                "max_queue_tokens is less than max_request_tokens, so that a request of that size "
                "would never be taken; give a larger one"
            )
        return self


class ServeOptions(PassSettings, RewardModelOptions, Limits):
    """Score over HTTP: own endpoints, OpenRLHF's and vLLM's, metrics, and a page to try it out.

    The answers are those of `RewardModel.score`. Requests are scored together as they arrive.
    """

    goal_state_path: Path | None = None
    """goal state (.npy, or the folder with goal_state.npy); gives the Q-values (default: none)"""
    model_name: str | None = Field(None, min_length=1)
    """name of the model in requests and answers (default: the last part of its path)"""
    host: str = Field("127.0.0.1", min_length=1)
    """address to listen on; any but this machine's own (127.0.0.1, ::1) needs a token"""
    port: int = Field(8000, ge=0, le=65_535)
    """port to listen on; 0 takes a free one, and says which"""
    token_file: Path | None = None
    """file with the token that requests must show (default: the variable GCRM_SERVE_TOKEN, or no
    token); never an option, which others see in ps"""
    max_len: int = Field(2048, gt=1)
    """longest prompt with completion, in tokens; a longer completion loses its end and is marked"""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return False
