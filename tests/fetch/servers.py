"""A local HTTP server that misbehaves on purpose."""

import contextlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves the files of a folder, as a good server does unless told otherwise.

    faults: what the next requests meet, one each: functions of (handler, body), where the body is
        what a good server would send; None for no fault.
    ranges, etag: whether byte ranges are served; the ETag of all files, or None.
    requests: the path and the Range of each request so far.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.url = folder, f"http://127.0.0.1:{self.server_port}"
        self.faults, self.requests = [], []
        self.ranges, self.etag, self.always = True, '"1"', None
        self.reached, self.released = threading.Event(), threading.Event()

    def handle_error(self, request, client_address):
        """Clients that are killed hang up; everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        fault = server.faults.pop(0) if server.faults else server.always
        with contextlib.suppress(ConnectionError):
            self._answer(fault or whole)

    def _answer(self, fault):
        path = self.server.folder / self.path.strip("/")
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        self.begin, self.size, self.status = 0, len(content), 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", self.server.etag) == self.server.etag
        if wanted and same and self.server.ranges:
            self.begin, self.status = int(wanted[1]), 206
            if self.begin >= self.size:
                return self.head(0, 416, Content_Range=f"bytes */{self.size}")
        fault(self, content[self.begin :])

    def head(self, length, status=None, **headers):
        self.send_response(status or self.status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.status == 206 and not status:
            self.send_header("Content-Range", f"bytes {self.begin}-{self.size - 1}/{self.size}")
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_):
        pass


def whole(handler, body):
    """No fault."""
    handler.head(len(body))
    handler.wfile.write(body)


def cut_after(number):
    """Close the connection after some bytes of the body."""

    def fault(handler, body):
        handler.head(len(body))
        handler.wfile.write(body[:number])
        handler.close_connection = True

    return fault


def status(code, **headers):
    """Answer with a status and nothing else."""

    def fault(handler, body):
        handler.head(0, code, **headers)

    return fault


def hang_up(handler, body):
    """Close the connection without a word."""
    handler.close_connection = True


def without_length(handler, body):
    """Chunks, as from a server that does not know the length."""
    handler.head(None, Transfer_Encoding="chunked")
    for start in range(0, len(body), 1000):
        piece = body[start : start + 1000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


def odd_length(handler, body):
    """All of it, then the end of the connection, as by a proxy that says "unknown"."""
    handler.head("unknown")
    handler.wfile.write(body)
    handler.close_connection = True


def trickle(handler, body):
    """A few bytes at a time."""
    handler.head(len(body))
    size = len(body) // 20 + 1
    for start in range(0, len(body), size):
        handler.wfile.write(body[start : start + size])
        handler.wfile.flush()
        time.sleep(0.03)


def stall(handler, body):
    """Half, then silence until the test releases it."""
    handler.head(len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.server.reached.set()
    handler.server.released.wait(30)
    handler.wfile.write(body[len(body) // 2 :])


def corrupt(handler, body):
    """One byte in the middle is another."""
    middle = len(body) // 2
    whole(handler, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])
