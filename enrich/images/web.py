"""Images by http(s) URL, from the hosts that the settings name.

A host's name is resolved once, and every address that it has is checked. The connection goes to one
of these: a name that points elsewhere a moment later changes nothing. Each redirect is checked like
the first URL. Few requests run at a time, and each wait has an end. Proxies of the environment are
not used. The caller retries.
"""

import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from schemas.tables import Status

from enrich.errors import ConfigError
from enrich.images.locations import Location
from enrich.images.settings import ImageProblem, ImageReading, ImageStat

# Requests at a time of a process to one host, as many as a browser has.
MOST_AT_ONCE = 6
# A host that asks for a longer pause is asked again after this one.
LONGEST_PAUSE_S = 60.0
PORTS = {"http": 80, "https": 443}

_CONNECT_TIMEOUT_S = 5.0
_BUSY = (408, 425, 429)
_PAUSES = (429, 503)
# Where IPv6 has the public Internet, and IPv4 addresses that a translator reaches.
_IPV6_PUBLIC, _IPV6_TRANSLATED = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96")
# Oracle's and Azure's clouds answer a machine with its own secrets there.
_IPV4_METADATA = (IPv4Network("192.0.0.0/24"), IPv4Network("168.63.129.16/32"))
_HEADERS = {
    "User-Agent": "catalog-enrichment",
    # Without a list some hosts send formats that cannot be decoded here.
    "Accept": "image/jpeg, image/png, image/webp, image/gif, image/bmp, */*;q=0.1",
    "Accept-Encoding": "identity",
}


def is_public(address: str) -> bool:
    """Return True if an IP address belongs to the public Internet.

    Private, link-local, loopback, multicast, reserved and metadata addresses are not, nor are IPv6
    addresses that stand for one of these.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _IPV6_TRANSLATED:
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is None:
            return found.is_global and found in _IPV6_PUBLIC
        found = inner
    is_special = found.is_multicast or any(found in network for network in _IPV4_METADATA)
    return found.is_global and not is_special


def resolve(name: str, port: int) -> list[str]:
    """Return a host's IP addresses.

    Raises ImageProblem if one of them is not public, and OSError if the name does not exist or no
    name server answers.
    """
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not all(map(is_public, addresses)):
        raise ImageProblem(
            Status.IMAGE_FORBIDDEN, "the host's name leads to an address that is not public"
        )
    return addresses


class _Limited:
    """A socket's part that ends each wait by a deadline."""

    deadline = silence_s = 0.0

    def recv_into(self: Any, *arguments: Any) -> int:
        self.settimeout(min(_left(self.deadline), self.silence_s))
        return super().recv_into(*arguments)  # type: ignore[misc]

    def sendall(self: Any, *arguments: Any) -> None:
        self.settimeout(min(_left(self.deadline), self.silence_s))
        super().sendall(*arguments)  # type: ignore[misc]


class _Socket(_Limited, socket.socket):
    pass


class _TlsSocket(_Limited, ssl.SSLSocket):
    pass


class Host:
    """Idle connections, slots and pause of a host; safe to use from many threads.

    There is one per host and process.
    """

    def __init__(self, scheme: str, authority: str) -> None:
        self._scheme, self._authority = scheme, authority
        self._name, _, port = authority.partition(":")
        self._port = int(port or PORTS[scheme])
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._idle: deque[HTTPConnection] = deque()
        self._pause_ends = 0.0

    @contextmanager
    def ask(
        self, method: str, target: str, limit_s: float, silence_s: float
    ) -> Iterator[tuple[HTTPResponse, float]]:
        """Yield the answer to one request, and its deadline on the monotonic clock.

        The method is GET or HEAD, the target path and query. Request and answer have `limit_s`
        seconds after the wait for a slot and the host's pause; for `silence_s` of them the host may
        say nothing.
        """
        self._slots.acquire()
        connection: HTTPConnection | None = None
        try:
            # Not of the request's time: a pause is mostly longer.
            time.sleep(max(0.0, self._pause_ends - time.monotonic()))
            deadline = time.monotonic() + limit_s
            connection = self._find_idle() or self._connect(deadline)
            opened: Any = connection.sock
            opened.deadline, opened.silence_s = deadline, silence_s
            connection.request(method, target, headers={"Host": self._authority, **_HEADERS})
            with connection.getresponse() as answer:
                yield answer, deadline
                is_usable = answer.isclosed() and not answer.will_close
            if is_usable:
                self._idle.append(connection)
                connection = None
        except HTTPException as error:
            raise OSError(f"the host's answer cannot be read: {type(error).__name__}") from error
        finally:
            if connection is not None:
                connection.close()
            self._slots.release()

    def check(self, answer: HTTPResponse) -> None:
        """Raise an OSError that says what the status means, but for a success."""
        status = answer.status
        if status == 200:
            return
        if status in _PAUSES:
            pause_s = _parse_pause(answer.getheader("Retry-After", ""))
            self._pause_ends = max(self._pause_ends, time.monotonic() + pause_s)
        said = f"the host answered with status {status}"
        if status in (404, 410):
            raise FileNotFoundError(said)
        # 501: the host does not know the method.
        is_busy = status in _BUSY or (status >= 500 and status != 501)
        raise OSError(said) if is_busy else PermissionError(said)

    def _find_idle(self) -> HTTPConnection | None:
        """Return a connection that the host has neither closed nor sent data on."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()
        return None

    def _connect(self, deadline: float) -> HTTPConnection:
        """Connect to the first address that answers, of those that were checked."""
        connection, failure = HTTPConnection(self._name, self._port), OSError("no address")
        connection.auto_open = 0
        for address in resolve(self._name, self._port):
            limit_s = min(_left(deadline), _CONNECT_TIMEOUT_S)
            try:
                opened = socket.create_connection((address, self._port), timeout=limit_s)
            except OSError as error:
                failure = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._scheme == "http":
                connection.sock = _Socket(fileno=opened.detach())
                return connection
            context = open_tls()
            context.sslsocket_class = _TlsSocket
            with opened:  # which the wrapped one replaces
                # The certificate is held against the name, not against the address.
                connection.sock = context.wrap_socket(opened, server_hostname=self._name)
            return connection
        raise failure


@cache
def host_of(scheme: str, authority: str) -> Host:
    """Return this process's own of a host; `authority` is its name, or name:port."""
    return Host(scheme, authority)


@cache
def open_tls() -> ssl.SSLContext:
    """Return the TLS context: the machine's certificates, or SSL_CERT_FILE."""
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; raise TimeoutError behind it."""
    if (left_s := deadline - time.monotonic()) <= 0:
        raise TimeoutError("the host was too slow")
    return left_s


def parse_date(text: str | None) -> datetime | None:
    """Return the moment of a header, in UTC; None for what is not a date."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_pause(text: str) -> float:
    """Return the seconds of a Retry-After, which are a number or end at a date."""
    try:
        left_s = float(text)
    except ValueError:
        ends = parse_date(text)
        left_s = (ends - datetime.now(UTC)).total_seconds() if ends else 0.0
    return min(max(0.0, left_s), LONGEST_PAUSE_S)


MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_LEFT_AS_IT_IS = "%/:=&?~+!$,;'@()*[]"
_PIECE = 1 << 16
_BEFORE_A_PAGE = b"\xef\xbb\xbf \t\r\n"


def parse_url(url: str, hosts: Collection[str]) -> Location:
    """Return the normal form of an http(s) URL; its path holds the query.

    Characters that no URL may hold are percent-encoded. `hosts` is what `image_hosts` allows:
    names, with a port where it is not the scheme's own. Raises ConfigError for what is not a URL, a
    login in it, or a host that is not one of `hosts`.
    """
    if not url.isprintable() or "\\" in url:
        raise ConfigError("a URL with control characters or backslashes in it is not allowed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError("the URL of an image cannot be read") from error
    if parts.scheme not in PORTS:
        raise ConfigError("the URL of an image is of another kind than http and https")
    if "@" in parts.netloc:
        raise ConfigError("credentials are not allowed in the URL of an image")
    host = (parts.hostname or "").rstrip(".")
    authority = host if port in (None, PORTS[parts.scheme]) else f"{host}:{port}"
    if authority not in hosts:
        raise ConfigError(
            f"the host of an image is not allowed: found {authority[:100]}, expected one of the "
            f"setting image_hosts ({', '.join(sorted(hosts)[:3]) or 'none'}). Add it there"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Location(parts.scheme, authority, quote(target, safe=_LEFT_AS_IT_IS))


def read_url(
    location: Location, limit: int, hosts: Collection[str], reading: ImageReading
) -> bytes:
    """Return what a URL names, after redirects.

    Raises:
        ImageProblem: more than `limit` bytes, too many redirects, or a host or an address that is
            not allowed.
        FileNotFoundError: the host has no such file, or sends a page for people instead.
        OSError: the host failed or denied it, or was too slow.
    """
    with _ask("GET", location, hosts, reading) as answer:
        length, data = answer.length, bytearray()
        while max(len(data), length or 0) <= limit and (piece := answer.read(_PIECE)):
            data += piece
    if max(len(data), length or 0) > limit:
        raise ImageProblem(Status.IMAGE_TOO_LARGE, f"more than max_bytes = {limit:,} bytes")
    if length is not None and len(data) < length:
        raise OSError(f"the host sent {len(data):,} of {length:,} bytes")
    if data[:100].lstrip(_BEFORE_A_PAGE).startswith(b"<"):
        raise FileNotFoundError("the host sent a page instead of an image")
    return bytes(data)


def stat_url(location: Location, hosts: Collection[str], reading: ImageReading) -> ImageStat:
    """Return what a host tells of a file without sending it (HEAD).

    Etag and time are None where it tells neither, or refuses the question. Raises as `read_url`.
    """
    try:
        with _ask("HEAD", location, hosts, reading) as answer:
            answer.read()
            length, etag = answer.getheader("Content-Length", ""), answer.getheader("ETag")
            modified = parse_date(answer.getheader("Last-Modified"))
    except PermissionError:
        # An address that is signed for GET alone, or a host without HEAD.
        return ImageStat(0, None, None)
    return ImageStat(int(length) if re.fullmatch("[0-9]{1,18}", length) else 0, etag, modified)


@contextmanager
def _ask(
    method: str, location: Location, hosts: Collection[str], reading: ImageReading
) -> Iterator[HTTPResponse]:
    """Yield the answer behind all redirects, of a status that promises a file."""
    left_s, silence_s = reading.timeout_s, reading.timeout_s / reading.attempts
    for _ in range(MOST_REDIRECTS + 1):
        host = host_of(location.scheme, location.authority)
        with host.ask(method, location.path, left_s, silence_s) as (answer, deadline):
            if answer.status not in _REDIRECTS:
                host.check(answer)
                yield answer
                return
            target = answer.getheader("Location", "")
            answer.read(_PIECE)  # what it says to people; then the connection can be used again
        location, left_s = _follow(location, target, hosts), deadline - monotonic()
    raise ImageProblem(Status.IMAGE_UNREADABLE, f"more than {MOST_REDIRECTS} redirects")


def _follow(location: Location, target: str, hosts: Collection[str]) -> Location:
    try:
        # http.client reads headers as Latin-1, and hosts write them in UTF-8.
        target = target.encode("latin-1").decode("utf-8", "replace")
        url = urljoin(f"{location.scheme}://{location.authority}{location.path}", target)
        found = parse_url(url, hosts)
    except (ConfigError, ValueError) as error:
        raise ImageProblem(Status.IMAGE_FORBIDDEN, f"after a redirect, {error}") from error
    if (location.scheme, found.scheme) == ("https", "http"):
        raise ImageProblem(Status.IMAGE_FORBIDDEN, "a redirect from https to http is not followed")
    return found
