"""Opens an image where it is: a regular file below the allowed roots, or an object of a store.

Tells a file that is not there from a store that failed. Knows nothing of pixels or of retries.
"""

import errno
import os
import re
import stat
from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pyarrow import fs

from enrich.images.limits import ImageProblem, ImageReading, ImageStat
from enrich.images.places import Place, s3_endpoint
from enrich.records import Status

_CONNECT_TIMEOUT_S = 5.0
# What pyarrow says of an answer of S3 or Azure that asking again does not change: 4xx but for "too
# many requests" and "request timeout".
_DENIED = re.compile(
    r"AWS Error (ACCESS_DENIED|INVALID_\w+|SIGNATURE_DOES_NOT_MATCH|MISSING_\w+|UNRECOGNIZED_CLIENT"
    r"|NOT_SIGNED|OPT_IN_REQUIRED|VALIDATION)\b|(HTTP status|Azure Error: \[\w*\]) 4(?!08|29)\d\d"
)


# A path that names no file that could be read, now or later.
_NO_SUCH_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENXIO,
    errno.EINVAL,
}


def read_bytes(place: Place, limit: int, roots: Collection[Place], reading: ImageReading) -> bytes:
    """Returns at most `limit` bytes of the file.

    Raises:
        ImageProblem: a local file that is none, or that is no longer below one of `roots`.
        OSError, ValueError: no such file, no access, or the store failed.
    """
    if place.scheme == "file":
        return _read_local(place, limit, roots)
    file_system, path = _open_store(place, reading)
    # Else pyarrow unpacks whatever is called .gz.
    with file_system.open_input_stream(path, compression=None) as stream:
        data: bytes = stream.read(limit)
        return data


def read_stat(place: Place, reading: ImageReading) -> ImageStat:
    """Returns the file's size and modification time without reading the file.

    Raises:
        FileNotFoundError: no such file.
        OSError, ValueError: no access, or the store failed.
    """
    if place.scheme == "file":
        status = Path(place.path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError("no regular file")
        return ImageStat(status.st_size, None, datetime.fromtimestamp(status.st_mtime, UTC))
    file_system, path = _open_store(place, reading)
    info = file_system.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError("no such file")
    return ImageStat(info.size, None, info.mtime)


def is_gone(error: BaseException) -> bool:
    """Returns whether there is no such file; a path that no file system can spell names none."""
    if isinstance(error, OSError):
        return error.errno in _NO_SUCH_FILE or isinstance(error, FileNotFoundError)
    return isinstance(error, ValueError)


def is_failure(error: BaseException) -> bool:
    """Returns whether the store itself failed, so that asking again may help."""
    if not isinstance(error, OSError) or is_gone(error):
        return False
    return not isinstance(error, PermissionError) and not _DENIED.search(str(error))


def _read_local(place: Place, limit: int, roots: Collection[Place]) -> bytes:
    with open(place.path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageProblem(Status.IMAGE_MISSING, "no regular file")
        # What was opened counts, and not what was looked at before: a folder on the way may have
        # become a link in between.
        opened = Place("file", "", str(Path(f"/proc/self/fd/{file.fileno()}").readlink()))
        if not any(opened.is_under(root) for root in roots):
            raise ImageProblem(Status.IMAGE_FORBIDDEN, "outside the allowed image roots")
        return file.read(min(limit, status.st_size))


def _open_at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK the open of a named pipe waits for somebody to write to it, for ever.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _open_store(place: Place, reading: ImageReading) -> tuple[fs.FileSystem, str]:
    """Returns pyarrow's file system and how it spells this path."""
    file_system, prefix = _file_system(place.scheme, place.authority, reading)
    return file_system, prefix.rstrip("/") + place.path


@lru_cache(maxsize=32)
def _file_system(scheme: str, authority: str, reading: ImageReading) -> tuple[fs.FileSystem, str]:
    """Returns pyarrow's file system and its name for the authority: a bucket, or nothing."""
    if scheme == "s3":
        endpoint = s3_endpoint()
        # AWS refuses what is asked in another region than the bucket's.
        region = None if endpoint else fs.resolve_s3_region(authority)
        return _open_s3(endpoint, region, reading), authority
    # Google's client retries by itself, for a quarter of an hour if it is not told otherwise.
    options = f"?retry_limit_seconds={reading.timeout_s:g}" if scheme == "gs" else ""
    file_system, prefix = fs.FileSystem.from_uri(f"{scheme}://{authority}/{options}")
    return file_system, prefix


# One for all buckets of a region: while a read hangs, the client of S3 lets no other be made.
@lru_cache(maxsize=32)
def _open_s3(endpoint: str | None, region: str | None, reading: ImageReading) -> fs.S3FileSystem:
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        # Silence, not slowness: the time limit of a whole read is kept by whoever calls.
        request_timeout=max(1.0, reading.timeout_s / reading.attempts),
        connect_timeout=min(_CONNECT_TIMEOUT_S, reading.timeout_s),
        # Retries are the caller's, alike for all stores; the client's own would multiply with them.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
