"""Images by http(s) URL, from the hosts that the settings name.

Each redirect is checked like the first URL. Retries are up to the caller.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from time import monotonic
from urllib.parse import quote, urljoin, urlsplit

from enrich.errors import ConfigError
from enrich.images.hosts import PORTS, host_of, parse_date
from enrich.images.limits import ImageProblem, ImageReading, ImageStat
from enrich.images.locations import Location
from enrich.records import Status

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_LEFT_AS_IT_IS = "%/:=&?~+!$,;'@()*[]"
_PIECE = 1 << 16
_BEFORE_A_PAGE = b"\xef\xbb\xbf \t\r\n"


def is_url(image_path: str) -> bool:
    """Return whether a path is an http(s) URL."""
    return image_path[:8].lower().startswith(("http://", "https://"))


def parse_url(url: str, hosts: Collection[str]) -> Location:
    """Return the normal form of an http(s) URL; its path holds the query.

    Args:
        url: an http(s) URL; characters that no URL may hold are percent-encoded.
        hosts: what `image_hosts` allows: names, with a port where it is not the scheme's own.

    Raises:
        ConfigError: not a URL, a login in it, or a host that is not one of `hosts`.
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
        url = urljoin(f"{location.scheme}://{location.authority}{location.path}", target)
        found = parse_url(url, hosts)
    except (ConfigError, ValueError) as error:
        raise ImageProblem(Status.IMAGE_FORBIDDEN, f"after a redirect, {error}") from error
    if (location.scheme, found.scheme) == ("https", "http"):
        raise ImageProblem(Status.IMAGE_FORBIDDEN, "a redirect from https to http is not followed")
    return found
