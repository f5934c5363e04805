"""Normal form of image locations, to refuse those outside the allowed roots.

No store is asked, but the symbolic links of local paths are followed.
"""

import errno
import os
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from enrich.errors import ConfigError

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "hdfs": "hdfs", "abfss": "abfss", "file": "file"}
# Longer than any store's names, percent-encoded. Resolving a path of a million parts takes hours.
LONGEST_PATH = 16_384

# Where clouds answer a machine with its own credentials.
_METADATA_NAMES = {"metadata", "metadata.google.internal", "instance-data"}
_METADATA_ADDRESSES = {ip_address("fd00:ec2::254"), ip_address("100.100.100.200")}


class Location(NamedTuple):
    """A file; `path` is absolute inside the authority (bucket, host, container)."""

    scheme: str
    authority: str
    path: str

    def is_under(self, root: "Location") -> bool:
        """Return True for the root itself and for locations below it."""
        below = f"{root.path.rstrip('/')}/"
        same_store = self[:2] == root[:2]
        return same_store and (self.path == root.path or self.path.startswith(below))


def parse_location(location: str, relative_to: Location | None = None) -> Location:
    """Return the normal form of a path or URI.

    Symbolic links and `..` of a local path are resolved. The path of a URI is percent-decoded once.

    Raises ConfigError, which repeats only the scheme, if the scheme is not allowed, the URI holds
    credentials or a query, it is the address of a machine's own metadata, or the path of an object
    holds `..`. Raises ValueError or OSError if no file system can spell such a path, or follow it.
    """
    location = spell_out(location)
    if "://" in location:
        scheme, authority, path = _split_uri(location)
    elif location.startswith("/") or relative_to is None:
        scheme, authority, path = "file", "", location
    else:
        # A disk would leave out the dots itself.
        below = "/".join(part for part in location.split("/") if part != ".")
        scheme, authority, path = relative_to._replace(path=f"{relative_to.path}/{below}")
    if "\0" in path:
        raise ConfigError("a path with a NUL character in it is not allowed")
    if scheme == "file":
        return Location(scheme, "", _follow_links(path))
    if ".." in path.split("/"):
        raise ConfigError("'..' is not allowed in the path of an object")
    return Location(scheme, authority, "/" + path.strip("/"))


def _follow_links(path: str) -> str:
    try:
        # Not Path.resolve: until Python 3.13 that raises where links lead in a circle.
        return os.path.realpath(path)
    except RecursionError as error:
        # Python calls itself for each link of a chain. Nothing is lost: systems follow 40 of them.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


def spell_out(location: str) -> str:
    """Return a local URI with the slashes that Hadoop leaves out, others as given."""
    return re.sub(r"^file:/(?!/)", "file:///", location, flags=re.IGNORECASE)


def local_path(location: str) -> str:
    """Return the path of a local URI, not decoded, as Hadoop does; others as given."""
    return re.sub(r"^file:(//)?(?=/(?!/))", "", location, flags=re.IGNORECASE)


def s3_endpoint() -> str | None:
    """Return the S3 server that the environment names; None for AWS itself.

    Raises ConfigError if the address holds credentials, or is that of a machine's own metadata.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return None
    authority = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").netloc
    if "@" in authority:
        raise ConfigError(
            "AWS_ENDPOINT_URL holds credentials: expected an address alone. Give the credentials "
            "in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile."
        )
    _refuse_metadata_host(authority)
    return endpoint


def _split_uri(uri: str) -> tuple[str, str, str]:
    # By hand: urlsplit drops line breaks and leading control characters, and so reads another name.
    scheme, _, rest = uri.partition("://")
    if scheme.lower() not in SCHEMES:
        named = f"'{scheme}://'" if re.fullmatch(r"[A-Za-z0-9+.-]{1,20}", scheme) else "that scheme"
        raise ConfigError(f"{named} is not allowed for images: expected {', '.join(SCHEMES)}")
    if "?" in rest or "#" in rest:
        # An option such as another endpoint, or a signature: never part of a name. Whoever means
        # the characters themselves can encode them.
        raise ConfigError(
            "a query or fragment is not allowed in the URI of an image; '?' and '#' in a name are "
            "written %3F and %23"
        )
    scheme = SCHEMES[scheme.lower()]
    authority, slash, path = rest.partition("/")
    if not _is_free_of_secrets(scheme, authority):
        raise ConfigError("credentials are not allowed in the URI of an image")
    if scheme in ("hdfs", "abfss"):
        _refuse_metadata_host(authority)
    return scheme, "" if scheme == "file" else authority, unquote(slash + path)


def _is_free_of_secrets(scheme: str, authority: str) -> bool:
    """Return True if only Azure's container or `anonymous` stands before an `@`."""
    user_info, at, _ = authority.rpartition("@")
    if not at:
        return True
    return (scheme == "abfss" and ":" not in user_info) or (scheme, user_info) == (
        "gs",
        "anonymous",
    )


def _refuse_metadata_host(authority: str) -> None:
    host = (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    address = _as_address(host)
    if host in _METADATA_NAMES or (
        address is not None and (address.is_link_local or address in _METADATA_ADDRESSES)
    ):
        raise ConfigError("the address of a machine's own metadata is not allowed for images")


def _as_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a host's name spells out, in any notation."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            # 2852039166 and 0xa9fea9fe are addresses too.
            return IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_url(image_path: str) -> bool:
    """Return True if a path is an http(s) URL."""
    return image_path[:8].lower().startswith(("http://", "https://"))
