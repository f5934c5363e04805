"""An S3 server that answers as badly as a test wants: moto behind a faulty proxy."""

import http.client
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import boto3
from moto.server import ThreadedMotoServer

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# What is wrong with the answer to one request; None for nothing. Given the method, the object's
# key, and how many requests for it came before.
Fault = Callable[[str, str, int], str | None]


@dataclass
class FaultyStore:
    """Where the store is, what it holds, what is wrong with it, and what it was asked for."""

    endpoint: str
    client: Any
    fault: Fault = lambda method, key, before: None
    asked: Counter[str] = field(default_factory=Counter)
    released: threading.Event = field(default_factory=threading.Event)

    def heal(self) -> None:
        """Ends the answers that hang, and with them the reads that wait for them."""
        self.fault = lambda method, key, before: None
        self.released.set()
        self.released = threading.Event()
        self.asked.clear()

    def put(self, key: str, data: bytes, bucket: str = "shop") -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)


@contextmanager
def faulty_store() -> Iterator[FaultyStore]:
    """Serves an empty bucket called `shop`."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="shop")
    proxy = _Proxy(("127.0.0.1", 0), _Answer)
    proxy.upstream = (host, port)
    proxy.store = FaultyStore(f"http://127.0.0.1:{proxy.server_port}", client)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy.store
    finally:
        proxy.store.heal()
        proxy.shutdown()
        proxy.server_close()
        moto.stop()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    upstream: tuple[str, int]
    store: FaultyStore


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        key = unquote(self.path.split("?")[0]).removeprefix("/shop/")
        store = self.server.store
        before = store.asked[key]
        store.asked[key] += 1
        fault = store.fault(self.command, key, before)
        if fault is None:
            self._forward()
        elif fault.isdigit():
            self._send(int(fault), {}, b"")
        elif fault == "reset":
            self._reset()
        elif fault == "silent":
            store.released.wait()
            self.close_connection = True
        elif fault.startswith("slow "):
            store.released.wait(float(fault.removeprefix("slow ")))
            self._forward()
        elif self.command == "HEAD":
            self._forward()
        else:
            self._send_badly(fault)

    def _ask_upstream(self) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(*self.server.upstream)
        connection.request(self.command, self.path, headers=dict(self.headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def _forward(self) -> None:
        self._send(*self._ask_upstream())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        # To a HEAD the length is that of a body which is not sent.
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_badly(self, fault: str) -> None:
        status, _, body = self._ask_upstream()
        released = self.server.store.released
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.close_connection = True
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
        elif fault == "drip":
            # Fast enough for the client never to call it silent.
            for byte in body:
                if released.wait(0.2):
                    return
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:
                    return

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.shutdown(socket.SHUT_RD)
        self.close_connection = True
