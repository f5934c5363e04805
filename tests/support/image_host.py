"""A web host of images on this machine, which answers as badly as a test wants."""

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from enrich.images import web

Answer = Callable[[BaseHTTPRequestHandler], None]


_RESOLVE = socket.getaddrinfo
_IS_PUBLIC = web.is_public


class Names(dict[str, str]):
    """Names and their addresses, several separated by blanks, as a name server has them."""

    asked = 0

    def __call__(self, name: str, *rest: Any, **options: Any) -> Any:
        if name not in self:
            return _RESOLVE(name, *rest, **options)
        self.asked += 1
        return [entry for one in self[name].split() for entry in _RESOLVE(one, *rest, **options)]


def reach_this_machine(patch: pytest.MonkeyPatch) -> Names:
    """Let this process read images from this machine, under names that others have elsewhere."""
    names = Names(dict.fromkeys(("cdn.example.com", "img.example.com"), "127.0.0.1"))
    patch.setattr(socket, "getaddrinfo", names)
    patch.setattr(web, "is_public", lambda one: one == "127.0.0.1" or _IS_PUBLIC(one))
    return names


@dataclass
class ImageHost:
    """What a host on a port of this machine answers by path, and what it was asked for."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    connections: int = 0

    def url(self, path: str, name: str = "cdn.example.com", scheme: str = "http") -> str:
        """Return the URL of a path."""
        return f"{scheme}://{name}:{self.port}{path}"

    def sends(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> str:
        """Answer a path from now on; return its URL. `_` in a header's name stands for `-`."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(body)

        self.answers[path] = answer
        return self.url(path)


@contextmanager
def image_host(tls: ssl.SSLContext | None = None) -> Iterator[ImageHost]:
    """Serve an empty host on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        disable_nagle_algorithm = True

        def setup(self) -> None:
            host.connections += 1
            super().setup()

        def do_GET(self) -> None:
            host.asked[f"{self.command} {self.path}"] += 1
            host.asked[self.headers["Host"]] += 1
            answer = host.answers.get(self.path)
            if answer is None:
                self.send_error(404)
            else:
                answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Say nothing: tests hang up on slow answers."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    host = ImageHost(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
