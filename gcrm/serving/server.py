"""Starting the server, and ending it once what was accepted is finished."""

import os
import re
import signal
import socket
from asyncio import TimerHandle
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gcrm.config.serve import ServeOptions
from gcrm.modeling.reward_model import RewardModel
from gcrm.modeling.tokenization import Encoded
from gcrm.serving.app import Service, create_app
from gcrm.serving.errors import error_body
from gcrm.utils.errors import UserError
from gcrm.utils.logging import hide_secret, say
from gcrm.utils.paths import set_name

TOKEN = "GCRM_SERVE_TOKEN"
"""environment variable with the token"""
SHORTEST_TOKEN = 16
KEEP_ALIVE = 75
"""seconds that an idle connection stays open; proxies close theirs after 60"""
HEADER_SECONDS = 20.0
"""seconds that a client has to send the header of a request"""


def serve(options: ServeOptions) -> None:
    """Load the model and answer requests until SIGTERM or SIGINT.

    Raises:
        UserError: no such model, no token where one is needed, or the port is taken.
    """
    token = read_token(options)
    listener = _listen(options.host, options.port)
    with listener:
        model = RewardModel.from_pretrained(**options.loading, goal_state=options.goal_state_path)
        # What is measured or compiled at first use is there before requests.
        model.score_encoded([Encoded([0, 1], 1)])
        name = options.model_name or set_name(options.reward_model_path)
        service = Service(model, name, options, options.tokens_per_batch)
        # uvicorn sends itself the signal again, once it has finished what was accepted.
        signal.signal(signal.SIGTERM, lambda *_: None)
        _Server(config_of(service, token), f"{_address(listener)} serves {name}").run([listener])
    say("serve: all requests are answered")


def config_of(service: Service, token: str | None) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        create_app(service, token),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # paths and queries may be texts of users
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(service.limits.timeout) + 10,
    )


def read_token(options: ServeOptions) -> str | None:
    """The token that requests must show; None where the server is for this machine alone.

    Raises:
        UserError: it cannot be read, it is too short, or there is none and others reach the server.
    """
    where, token = TOKEN, os.environ.get(TOKEN)
    if options.token_file is not None:
        where = str(options.token_file)
        try:
            token = options.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            raise UserError(f"{where}: the token cannot be read: {reason}") from None
    if token is None:
        if options.is_local:
            return None
        raise UserError(
            f"--host {options.host}: others can reach the server, so it needs a token; set the "
            f"variable {TOKEN}, or give --token_file"
        )
    if len(token) < SHORTEST_TOKEN or not re.fullmatch("[!-~]+", token):
        raise UserError(
            f"{where}: the token must have {SHORTEST_TOKEN} or more ASCII letters, and no spaces; "
            "`openssl rand -hex 32` makes one"
        )
    hide_secret(token)
    return token


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such address"
        raise UserError(f"--host {host} --port {port}: cannot listen there: {reason}") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, message: str):
        super().__init__(config)
        self._message = message

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        say(f"serve: {self._message}")

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take note of a signal to end."""
        if not self.should_exit:
            say("serve: ending; requests that were accepted are finished")
        super().handle_exit(sig, frame)


class Protocol(HttpToolsProtocol):
    """HTTP whose headers must arrive in time, and whose errors are JSON."""

    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # uvicorn narrows asyncio's type
        """A header must follow in time."""
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._end_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins; its header must follow in time."""
        self._set_deadline()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The header is there in time."""
        self._end_deadline()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        body = error_body(400, msg)
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(
            f"HTTP/1.1 400 Bad Request\r\n{head}connection: close\r\n\r\n".encode() + body
        )
        self.transport.close()

    def _set_deadline(self) -> None:
        self._end_deadline()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
