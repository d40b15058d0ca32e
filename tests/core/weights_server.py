"""A web server on this machine that serves one file well or badly, in a thread of the test."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

CONTENT = bytes(range(256)) * 1200
"""What is to be fetched, 300 kB."""


class Handler(BaseHTTPRequestHandler):
    """`/<way>/...` serves `CONTENT` in that way; see `do_GET`."""

    protocol_version = "HTTP/1.1"
    requests: ClassVar[list[tuple[str, str]]] = []  # (path, range header)
    stopped = threading.Event()

    def do_GET(self) -> None:
        """Serve by the first part of the path."""
        asked = self.headers.get("Range", "")
        self.requests.append((self.path, asked))
        way = self.path.split("/")[1]
        getattr(self, f"serve_{way}")(asked)

    def answer(self, code: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def ranged(self, asked: str, content: bytes = CONTENT, stop: int | None = None) -> None:
        """Honour a range; send what ends before byte `stop` of the file and hang up."""
        span = re.fullmatch(r"bytes=(\d+)-", asked)
        start = int(span[1]) if span else 0
        length = len(content) - start
        if length <= 0:
            self.answer(416, b"", Content_Range=f"bytes */{len(content)}")
            return
        facts = (
            {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if span else {}
        )
        self.answer(206 if span else 200, content[start:stop], length, **facts)

    def serve_good(self, asked: str) -> None:
        self.ranged(asked)

    def serve_norange(self, asked: str) -> None:
        self.answer(200, CONTENT)

    def serve_chunked(self, asked: str) -> None:
        self.answer(200, CONTENT, length=-1)

    def serve_wrong(self, asked: str) -> None:
        self.ranged(asked, CONTENT[::-1])

    def serve_cut(self, asked: str) -> None:
        """Each request ends 110 kB further on."""
        start = int(asked[6:-1]) if asked else 0
        self.ranged(asked, stop=start + 110_000)

    def serve_stuck(self, asked: str) -> None:
        """The same point is never passed."""
        self.ranged(asked, stop=100_000)

    def serve_stall(self, asked: str) -> None:
        """Half of it, and then silence."""
        start = int(asked[6:-1]) if asked else 0
        self.ranged(asked, stop=max(150_000, start))
        self.wfile.flush()
        self.stopped.wait(30)

    def serve_slow(self, asked: str) -> None:
        """For ever a little more."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        for place in range(0, len(CONTENT), 2000):
            self.wfile.write(CONTENT[place : place + 2000])
            time.sleep(0.05)
            if self.stopped.is_set():
                return

    def serve_mute(self, asked: str) -> None:
        """No answer at all."""
        self.stopped.wait(30)

    def serve_promises_more(self, asked: str) -> None:
        self.answer(200, CONTENT, length=len(CONTENT) + 10)

    def serve_promises_less(self, asked: str) -> None:
        self.answer(200, CONTENT, length=len(CONTENT) - 10)

    def serve_sends_more(self, asked: str) -> None:
        self.answer(200, CONTENT + b"more", length=-1)

    def serve_otherrange(self, asked: str) -> None:
        """Another part than asked for."""
        if not asked:
            self.ranged("")
            return
        size = len(CONTENT)
        self.answer(206, CONTENT[5:], Content_Range=f"bytes 5-{size - 1}/{size}")

    def serve_refusesrange(self, asked: str) -> None:
        self.answer(416, b"") if asked else self.answer(200, CONTENT)

    def serve_page(self, asked: str) -> None:
        """The log-in page of a network that wants one."""
        self.answer(200, b"<html>Please accept our terms</html>")

    def serve_redirect(self, asked: str) -> None:
        self.answer(302, b"", Location="/good/file")

    def serve_loop(self, asked: str) -> None:
        self.answer(302, b"", Location="/loop/file")

    def serve_tofile(self, asked: str) -> None:
        self.answer(302, b"", Location="file:///etc/hostname")

    def serve_404(self, asked: str) -> None:
        self.answer(404, b"no")

    def serve_500(self, asked: str) -> None:
        self.answer(500, b"no")

    def serve_garbage(self, asked: str) -> None:
        self.wfile.write(b"\x00\x01 what is this\r\n\r\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    """Clients that hang up are part of the tests."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a running server."""
    server = QuietServer(("127.0.0.1", 0), Handler)
    Handler.requests.clear()
    Handler.stopped.clear()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        Handler.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
