"""Clients of disks and object stores: bytes of a file, or its size and time.

Every request of a client ends within `timeout_s`, however slowly the store answers. The caller
retries.
"""

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import AzureStore, GCSStore, S3Store
from pyarrow import ArrowException, fs
from schemas.tables import Status

from enrich.errors import ConfigError
from enrich.images.locations import Location, s3_endpoint
from enrich.images.settings import ImageProblem, ImageReading, ImageStat

# All that a client raises about a file or its store.
CLIENT_ERRORS = (OSError, ValueError, BaseError, ArrowException)

_CONNECT_TIMEOUT_S = 5.0
# 4xx is an answer that a retry does not change, but for "request timeout" and "too many requests".
_DENIED = re.compile(r"status code: 4(?!08|29)\d\d")
# A path that names no readable file, now or later.
_NO_SUCH_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENXIO,
    errno.EINVAL,
}


class Client(Protocol):
    """Reader of the files of one store; both methods raise CLIENT_ERRORS."""

    def read(self, path: str, limit: int) -> bytes:
        """Return the file's bytes; raise ImageProblem for more than `limit`."""

    def stat(self, path: str) -> ImageStat:
        """Return the file's size, etag and time by one request."""


def is_gone(error: BaseException) -> bool:
    """Return True if the file does not exist; an impossible path is one such."""
    if isinstance(error, OSError):
        return error.errno in _NO_SUCH_FILE or isinstance(error, FileNotFoundError)
    return isinstance(error, ValueError)


def is_failure(error: BaseException) -> bool:
    """Return True if the store itself failed, so that a retry may help."""
    if isinstance(error, OSError):
        return not is_gone(error) and not isinstance(error, PermissionError)
    return isinstance(error, GenericError) and not _DENIED.search(str(error))


def read_local(path: str, limit: int, roots: Collection[Location]) -> bytes:
    """Return the bytes of a regular file below one of `roots`.

    Raises ImageProblem for what is not a regular file, has more than `limit` bytes or is no longer
    below a root, and OSError or ValueError for a missing file, no access or a broken disk.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageProblem(Status.IMAGE_MISSING, "not a regular file")
        # The opened file counts, not the path that was resolved before: a folder on the way may
        # have become a link in between.
        opened = Location("file", "", _path_of(file.fileno(), path))
        if not any(opened.is_under(root) for root in roots):
            raise ImageProblem(Status.IMAGE_FORBIDDEN, "outside the allowed image roots")
        _refuse_large(status.st_size, limit)
        return file.read(status.st_size)


def _path_of(opened: int, path: str) -> str:
    """Return the real path of an opened file."""
    try:
        return str(Path(f"/proc/self/fd/{opened}").readlink())
    except FileNotFoundError:  # not Linux
        real = Path(path).resolve(strict=True)
        if not os.path.samestat(real.stat(), os.fstat(opened)):
            raise OSError("another file is at this path since it was opened") from None
        return str(real)


def stat_local(path: str) -> ImageStat:
    """Return size and modification time of a regular file.

    Raises OSError or ValueError for a missing file, one that is not regular, or no access.
    """
    status = os.stat(path)  # noqa: PTH116  half the time of Path.stat
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError("not a regular file")
    return ImageStat(status.st_size, None, datetime.fromtimestamp(status.st_mtime, UTC))


def check_s3_settings() -> None:
    """Raise ConfigError if the environment names an S3 server or profile of no use."""
    s3_endpoint()
    if _profile() and find_spec("boto3") is None:
        raise ConfigError(
            f"AWS_PROFILE is set to {_profile()!r}, and profiles are read by boto3, which is not "
            "installed: pip install boto3, or give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


def open_client(location: Location, reading: ImageReading) -> Client:
    """Return this process's client of a store.

    Raises ConfigError, OSError or BaseError if its settings or credentials cannot be used.
    """
    return _client_of(location.scheme, location.authority, reading)


@lru_cache(maxsize=64)
def _client_of(scheme: str, authority: str, reading: ImageReading) -> Client:
    if scheme == "hdfs":
        return _HdfsClient(authority)
    return _ObjectClient(open_object_store(scheme, authority, reading))


def list_objects(
    root: Location, reading: ImageReading, after: str | None, until: str | None
) -> Iterator[tuple[str, ImageStat]]:
    """Yield the key and what is told of each object below a root, in the keys' order.

    A request lists a thousand objects or more. Listed are keys behind `after`, until `until` is
    passed. Azure lists those before `after` all the same and skips them. Raises ConfigError,
    OSError or BaseError if the store cannot be used, or refuses to list.
    """
    store = open_object_store(root.scheme, root.authority, reading, reading.attempts - 1)
    for page in obstore.list(store, root.path.strip("/") or None, offset=after, chunk_size=1_000):
        for meta in page:
            if until is not None and meta["path"] > until:
                return
            yield meta["path"], _stat_of(meta)


def _stat_of(meta: Any) -> ImageStat:
    # HEAD tells whole seconds.
    return ImageStat(meta["size"], meta["e_tag"], meta["last_modified"].replace(microsecond=0))


def open_object_store(scheme: str, authority: str, reading: ImageReading, retries: int = 0) -> Any:
    """Return obstore's store of a bucket or container.

    The scheme is s3, gs, az or abfss. `retries` of a request are 0 where the caller retries, with
    whose attempts they would multiply.
    """
    options: Any = {
        # A slow answer may take all the time, a silent server the share of one attempt.
        "timeout": timedelta(seconds=reading.timeout_s),
        "read_timeout": timedelta(seconds=reading.timeout_s / reading.attempts),
        "connect_timeout": timedelta(seconds=min(_CONNECT_TIMEOUT_S, reading.timeout_s)),
    }
    limit = timedelta(seconds=reading.timeout_s)
    again: Any = {"max_retries": retries, "retry_timeout": limit}
    if scheme == "gs":
        user, _, bucket = authority.rpartition("@")
        config: Any = {"skip_signature": True} if user == "anonymous" else {}
        return GCSStore(bucket, config=config, client_options=options, retry_config=again)
    if scheme == "az":
        return AzureStore(authority, client_options=options, retry_config=again)
    if scheme == "abfss":
        return AzureStore.from_url(
            f"abfss://{authority}", client_options=options, retry_config=again
        )
    endpoint = s3_endpoint()
    if endpoint is None:
        config = {"region": _region_of(authority)}
    else:
        config = {"endpoint": endpoint}
        options["allow_http"] = endpoint.startswith("http:")
    return S3Store(
        authority,
        config=config,
        client_options=options,
        retry_config=again,
        credential_provider=_profile_credentials(),
    )


def _region_of(bucket: str) -> str:
    """Return a bucket's region: AWS refuses requests to another one.

    Where AWS does not tell it, as in a closed network, it is the environment's. Raises OSError if
    the environment names none either.
    """
    try:
        return fs.resolve_s3_region(bucket)
    except OSError:
        if named := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            return named
        raise


def _profile() -> str | None:
    return None if os.environ.get("AWS_ACCESS_KEY_ID") else os.environ.get("AWS_PROFILE")


def _profile_credentials() -> Any:
    """Return the credentials of AWS_PROFILE, which obstore does not read; else None."""
    if not _profile():
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider()


class _ObjectClient:
    """S3, Google Cloud Storage or Azure: one request for an image."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def read(self, path: str, limit: int) -> bytes:
        answer = obstore.get(self._store, path.lstrip("/"))
        _refuse_large(answer.meta["size"], limit)
        return answer.bytes().to_bytes()

    def stat(self, path: str) -> ImageStat:
        return _stat_of(obstore.head(self._store, path.lstrip("/")))


class _HdfsClient:
    """HDFS, through Hadoop's own library, whose settings limit a request's time."""

    def __init__(self, authority: str) -> None:
        self._store, _ = fs.FileSystem.from_uri(f"hdfs://{authority}/")

    def read(self, path: str, limit: int) -> bytes:
        # Else pyarrow unpacks whatever is called .gz.
        with self._store.open_input_stream(path, compression=None) as stream:
            data: bytes = stream.read(limit + 1)
        _refuse_large(len(data), limit)
        return data

    def stat(self, path: str) -> ImageStat:
        info = self._store.get_file_info(path)
        if info.type != fs.FileType.File:
            raise FileNotFoundError("no such file")
        return ImageStat(info.size, None, info.mtime)


def _refuse_large(size: int, limit: int) -> None:
    if size > limit:
        raise ImageProblem(Status.IMAGE_TOO_LARGE, f"more than max_bytes = {limit:,} bytes")


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK the open of a named pipe waits for somebody to write to it, for ever.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
