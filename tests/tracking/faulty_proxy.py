"""A real HTTP proxy on loopback between MLflow's client and its server that misbehaves on demand.

``fault(number, path)`` is asked for each request, counted from 1: None forwards it; "drop before" closes the connection
without asking the server; "drop after" lets the server act and swallows its answer; "half" sends half of the answer;
"hang" never answers; an integer answers with that status itself; a float forwards it after so many seconds.
"""

import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class FaultyProxy:
    """Forwards to ``target`` ("http://127.0.0.1:5000"); ``address`` is where to ask instead."""

    def __init__(self, target):
        self.target = urlsplit(target)
        self.fault = lambda number, path: None
        self.seen = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.listen()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def listen(self):
        """Be there (again)."""
        self._server = _Server(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def refuse(self):
        """Be gone: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self):
        self._over.set()
        self.refuse()

    def again(self, fault=None):
        """Forget what was asked; from now on misbehave like this."""
        with self._lock:
            self.seen.clear()
            self.fault = fault or (lambda number, path: None)

    def _ask(self, path):
        with self._lock:
            self.seen.append(path)
            return self.fault(len(self.seen), path)

    def _handler(proxy):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self._body()
                fault = proxy._ask(self.path)
                if isinstance(fault, float):
                    proxy._over.wait(fault)
                if fault == "hang":
                    proxy._over.wait()
                if fault in ("hang", "drop before"):
                    return self._drop()
                if type(fault) is int:
                    return self._answer(fault, [("Content-Type", "text/plain")], b"You are not welcome.")
                link = http.client.HTTPConnection(proxy.target.hostname, proxy.target.port, timeout=60)
                left_out = ("host", "transfer-encoding", "expect", "content-length")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
                link.request(self.command, self.path, body, headers)
                answer = link.getresponse()
                said = answer.read()
                link.close()
                if fault == "drop after":
                    return self._drop()
                length = answer.getheader("Content-Length")
                kept = [
                    (n, v)
                    for n, v in answer.getheaders()
                    if n.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server")
                ]
                self._answer(answer.status, kept, said, fault == "half", length if self.command == "HEAD" else None)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

            def _body(self):
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, status, headers, said, half=False, length=None):
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)) if length is None else length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said[: len(said) // 2] if half else said)
                if half:
                    self._drop()

            def _drop(self):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_):
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):  # a client that gave up
        pass
