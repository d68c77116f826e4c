"""Requests that are refused, and how the answer says so."""

from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response

from gcrm.serving.schemas import ErrorAnswer, ErrorInfo

TYPES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
"""statuses that the server gives, and the `type` of the error"""
LONGEST_MESSAGE = 1000


class Refused(Exception):
    """A request that is not answered, with the reason.

    Attributes:
        status: the HTTP status. param: the field of the request that is wrong, where it is one.
        retry_after: seconds after which the same request may be taken.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, retry_after: int | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.retry_after = retry_after


def error_body(status: int, message: str, param: str | None = None) -> bytes:
    """The JSON of a refused request; invalid characters in the message are escaped."""
    texts = [
        None if text is None else text.encode("utf-8", "backslashreplace").decode()
        for text in (message[:LONGEST_MESSAGE], param)
    ]
    kind = TYPES.get(status, "bad_request")
    info = ErrorInfo(message=texts[0] or "", type=kind, param=texts[1], code=status)
    return ErrorAnswer(error=info).model_dump_json().encode()


def error_response(error: Refused) -> Response:
    """The answer to a refused request."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error_body(error.status, error.message, error.param)
    return Response(body, error.status, headers, media_type="application/json")


def of_validation(error: RequestValidationError) -> Refused:
    """The first thing that is wrong in a request, without the value, which may be long."""
    problem: dict[str, Any] = dict(error.errors()[0])
    path = ".".join(str(part) for part in problem["loc"] if part != "body")
    if problem["type"] == "json_invalid":
        return Refused(400, f"the body is not JSON: {problem['ctx']['error']} (character {path})")
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown field"
    elif problem["type"] == "missing":
        message = "is missing" if path else "the request has no body; expected a JSON object"
    elif problem["type"] == "string_unicode":
        message = "has half a character (a surrogate), which no tokenizer reads"
    return Refused(422, f"{path}: {message}" if path else message, path or None)
