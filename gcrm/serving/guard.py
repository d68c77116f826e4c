"""Checks that every request passes before it is read: its sender, its size, its duration.

Outside of the application, so that no error of it reaches a client or a log with a user's text.
"""

import asyncio
import hmac
import logging
import time
import traceback
from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gcrm.config.serve import Limits
from gcrm.serving.errors import Refused, error_response
from gcrm.serving.metrics import Metrics

OPEN = ("/", "/health", "/docs", "/openapi.json", "/static-offline-docs/")
"""paths that need no token: pages without data. One that ends with / covers all below it"""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
SWAGGER = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
POLICIES = {"/docs": f"{SWAGGER}; img-src 'self' data:; frame-ancestors 'none'"}
"""content security policies of the pages that may load anything"""
NOTHING = "default-src 'none'; frame-ancestors 'none'"
log = logging.getLogger("gcrm.serving")


class Guard:
    """The application with its limits.

    Args:
        token: what requests must show as `Authorization: Bearer …`; None where all may ask.
        policies: content security policies of pages, by path.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        token: str | None,
        policies: Mapping[str, str],
    ):
        self._app, self._limits, self._metrics = app, limits, metrics
        self._token = None if token is None else token.encode()
        self._policies = POLICIES | dict(policies)
        self._open_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.monotonic()
        status = 499  # the client was gone before there was an answer

        async def note_and_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                policy = self._policies.get(scope["path"], NOTHING)
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", policy.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        self._open_requests += 1
        self._metrics.open_requests.inc()
        try:
            await self._let_through(scope, receive, note_and_send)
        except Refused as error:
            await error_response(error)(scope, receive, note_and_send)
        except Exception as error:
            _log_defect(error)
            if status == 499:
                refused = Refused(500, "the server has a defect here; its log says where")
                await error_response(refused)(scope, receive, note_and_send)
        finally:
            self._open_requests -= 1
            self._metrics.open_requests.dec()
            seconds = time.monotonic() - started
            endpoint = getattr(scope.get("route"), "path", "other")  # a client's path may be text
            self._metrics.answered(endpoint, status, seconds)
            log.info("%s %s %d, %.4f s", scope["method"], endpoint, status, seconds)

    async def _let_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        self._check_who_asks(scope["path"], headers)
        if scope["method"] != "POST":
            return await self._app(scope, receive, send)
        if self._open_requests > self._limits.max_requests:
            raise Refused(
                429,
                f"{self._limits.max_requests} requests are open (max_requests)",
                retry_after=1,
            )
        kind = headers.get("content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refused(415, "the Content-Type of the request must be application/json")
        body = await self._body(headers, receive)
        if body is None:
            return  # the client is gone

        async def receive_again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await _unless_gone(self._app(scope, receive_again, send), receive)

    def _check_who_asks(self, path: str, headers: Mapping[str, bytes]) -> None:
        """Check the token; without one, that the request was meant for this machine.

        A page of another site may let its own name point here (DNS rebinding), and ask from the
        browser of who looks at it. It cannot choose the Host that the browser sends.

        Raises:
            Refused: the request shows no token, or another one; or it is for another host.
        """
        if self._token is None:
            host = headers.get("host", b"localhost").decode("latin-1").lower()
            if host not in LOCAL_HOSTS and host.rpartition(":")[0] not in LOCAL_HOSTS:
                raise Refused(
                    403, "a server without a token answers to localhost and 127.0.0.1 only"
                )
        elif not (path in OPEN or path.startswith(OPEN[-1])):
            scheme, _, shown = headers.get("authorization", b"").partition(b" ")
            # In constant time: its duration says nothing about the token.
            if not hmac.compare_digest(shown.strip(), self._token) or scheme.lower() != b"bearer":
                raise Refused(401, "expected the server's token: Authorization: Bearer <token>")

    async def _body(self, headers: Mapping[str, bytes], receive: Receive) -> bytes | None:
        """The whole body; None if the client went away.

        Raises:
            Refused: it is too large, or takes too long.
        """
        most = self._limits.max_body_bytes
        too_large = Refused(413, f"the body is larger than {most} bytes (max_body_bytes)")
        length = headers.get("content-length", b"")
        if length.isdigit() and int(length[:20]) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Refused(
                408, f"the body did not arrive within {self._limits.timeout:g} s (timeout)"
            ) from None


async def _unless_gone(answer: Awaitable[None], receive: Receive) -> None:
    """Answer a request; if its client goes away before, end the work and free its place."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(receive())  # after the body, nothing else can come
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, gone):
            task.cancel()


def _log_defect(error: Exception) -> None:
    """Log where a defect is, without what the error says: that may be a user's text."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("defect: %s\n%s", type(error).__name__, frames)
