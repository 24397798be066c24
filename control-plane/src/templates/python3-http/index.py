"""Entry of Python functions: calls function.handler.handle(event, context), or the classic handle(req)."""
import inspect
import json
import os
import signal
import site
import sys
import threading
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote

ROOT = os.path.dirname(os.path.abspath(__file__))
site.addsitedir(os.path.join(ROOT, "python"))

from function import handler  # noqa: E402  what it imports lies in the folder just added

HEALTH_PATHS = ("/_/health", "/_/ready")


class Query(dict):
    """First value of each name, and all of them by getlist."""

    def __init__(self, text):
        self._pairs = parse_qsl(text, keep_blank_values=True)
        super().__init__(reversed(self._pairs))

    def getlist(self, name):
        return [value for key, value in self._pairs if key == name]

    def to_dict(self, flat=True):
        return dict(self) if flat else {key: self.getlist(key) for key in self}


class Event:
    def __init__(self, body, headers, method, query, path):
        self.body = body
        self.headers = headers
        self.method = method
        self.query = query
        self.path = path


class Context:
    def __init__(self):
        self.hostname = os.getenv("HOSTNAME", "localhost")


def takes_request_only():
    parameters = inspect.signature(handler.handle).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    return len(positional) == 1 and not variadic


CLASSIC = takes_request_only()


def call(event):
    if not CLASSIC:
        return to_answer(handler.handle(event, Context()))
    result = handler.handle(event.body.decode("utf-8", "replace"))
    text = "" if result is None else result if isinstance(result, (str, bytes)) else str(result)
    return 200, [("Content-Type", "text/plain; charset=utf-8")], to_bytes(text)


def to_answer(result):
    """What handlers may return: None, text, bytes, a list, {statusCode, body, headers}, or a tuple as Flask has it."""
    if isinstance(result, tuple):
        return from_tuple(*result)
    if isinstance(result, dict):
        return with_type(result.get("statusCode", 200), result.get("headers"), result.get("body", ""))
    return with_type(200, None, result)


def from_tuple(body, second=None, third=None):
    if isinstance(second, (dict, list)):
        return with_type(200, second, body)
    return with_type(200 if second is None else second, third, body)


def with_type(status, headers, body):
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    pairs = [(str(name), str(value)) for name, value in pairs]
    default = "text/html; charset=utf-8"
    if isinstance(body, (dict, list)):
        default = "application/json"
        body = json.dumps(body) + "\n"
    elif body is None:
        body = ""
    elif not isinstance(body, (str, bytes, bytearray)):
        body = str(body)
    if not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("Content-Type", default))
    return int(str(status).split(" ")[0]), pairs, to_bytes(body)


def to_bytes(body):
    return body.encode("utf-8") if isinstance(body, str) else bytes(body)


def parse_length(text, base):
    """Digits only: int() takes signs and underscores too, and a negative length reads until the client hangs up."""
    if not text.isascii() or not text.isalnum():
        raise ValueError("not a length")
    return int(text, base)


class Truncated(Exception):
    """The client hung up before its request was whole."""


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: without this the second waits for the first one's acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self):
        path, _, query = self.path.partition("?")
        if path in HEALTH_PATHS:
            return self.send(200, [("Content-Type", "text/plain")], b"OK")
        try:
            body = self.read_body()
        except (Truncated, ConnectionError):
            self.close_connection = True
            return
        except ValueError:
            self.close_connection = True
            return self.send(400, [("Content-Type", "text/plain")], b"the request's body is malformed")
        event = Event(body, self.headers, self.command, Query(query), unquote(path))
        try:
            self.send(*call(event))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self.send(500, [("Content-Type", "text/plain; charset=utf-8")], b"Internal Server Error")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.read_chunks()
        return self.read_exactly(parse_length(self.headers.get("Content-Length") or "0", 10))

    def read_exactly(self, length):
        body = self.rfile.read(length)
        if len(body) < length:
            raise Truncated()
        return body

    def read_line(self, limit):
        line = self.rfile.readline(limit)
        if not line.endswith(b"\n"):
            if len(line) >= limit:
                raise ValueError("a line is too long")
            raise Truncated()
        return line

    def read_chunks(self):
        chunks = []
        while True:
            size = parse_length(self.read_line(1024).split(b";")[0].strip().decode("latin-1"), 16)
            if size == 0:
                break
            chunks.append(self.read_exactly(size))
            self.read_line(1024)
        while self.read_line(65536).strip():
            pass
        return b"".join(chunks)

    def send(self, status, headers, body):
        bodiless = status < 200 or status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(len(body)))
        if Server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if not bodiless and self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    stopping = False
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, *args):
        self.active = 0
        self.idle = threading.Condition()
        super().__init__(*args)

    def stop(self):
        Server.stopping = True
        self.shutdown()
        with self.idle:
            self.idle.wait_for(lambda: self.active == 0)
        sys.stdout.flush()
        os._exit(0)


def counted(method):
    """Requests under way are finished before the process ends; connections that merely wait are not."""

    def count(self):
        with self.server.idle:
            self.server.active += 1
        try:
            return method(self)
        finally:
            with self.server.idle:
                self.server.active -= 1
                self.server.idle.notify_all()

    return count


for _name in [name for name in dir(Requests) if name.startswith("do_")]:
    setattr(Requests, _name, counted(Requests.answer))

if __name__ == "__main__":
    port = int(os.environ.get("PORT") or os.environ.get("http_port") or 5000)
    server = Server(("127.0.0.1", port), Requests)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop).start())
    server.serve_forever(poll_interval=0.1)
    # shutdown() returns here; the thread that asked for it ends the process once the requests are answered.
    threading.Event().wait()
