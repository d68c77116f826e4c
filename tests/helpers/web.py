"""A small web server on this machine: ranges, interruptions and errors on demand."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gcrm.config.download import RemoteFile


@dataclass
class Site:
    """What is served, how, and what was asked for."""

    files: dict[str, bytes]
    port: int = 0
    cut: list[int] = field(default_factory=list)
    """for the next requests: the connection ends after so many bytes"""
    statuses: list[int] = field(default_factory=list)
    """for the next requests: the answer is this status"""
    ranges: bool = True
    with_length: bool = True
    in_parts: int = 0
    """bytes that an answer to a Range has, at the most; then it does not tell the whole length"""
    with_etag: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """path and Range header of each request"""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def file(self, path: str, **expected: int | str | None) -> RemoteFile:
        return RemoteFile(url=self.url(path), **expected)


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Site]:
    site = Site(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            path = self.path.lstrip("/")
            site.asked.append((path, wanted))
            if site.statuses:
                return self.send_error(site.statuses.pop(0))
            if path not in site.files:
                return self.send_error(404)
            content = site.files[path]
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            begin = 0
            same = self.headers.get("If-Range") in (None, etag)
            if site.ranges and wanted and same:
                begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(content):
                    return self.send_error(416)
                self.send_response(206)
                whole: int | str = len(content)
                if site.in_parts:
                    content, whole = content[: begin + site.in_parts], "*"
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {begin}-{last}/{whole}")
            else:
                self.send_response(200)
            if site.with_etag:
                self.send_header("ETag", etag)
            if site.with_length:
                self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            sent = content[begin:]
            if site.cut:
                sent = sent[: site.cut.pop(0)]
            self.wfile.write(sent)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            """Nothing: the test says what went wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
