"""Files and folders on a local disk or in an object store, and atomic writes.

A place is a `pathlib.Path`, or an `ObjectUri` such as s3://bucket/folder, which has the few of its
methods that jobs need. Others see a written file or folder whole or not at all, also after a kill.
"""

import errno
import mimetypes
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Protocol

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from pydantic import PlainValidator

from enrich.errors import ConfigError, first_line, redact, refuse_secrets
from enrich.images.clients import open_object_store
from enrich.images.locations import local_path, s3_endpoint
from enrich.images.settings import ImageReading

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfss": "abfss"}

_TIMES = ImageReading(attempts=3, timeout_s=60)
_RETRIES = 3
_NOT_FOUND = (FileNotFoundError, NotFoundError, InvalidPathError)
_DENIED = (PermissionError, PermissionDeniedError, UnauthenticatedError)


class Place(Protocol):
    """A file or folder; all that fails raises OSError."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> "Place": ...
    def __truediv__(self, name: str, /) -> "Place": ...
    def resolve(self) -> "Place": ...
    def read_bytes(self) -> bytes: ...
    def read_text(self, encoding: str | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class ObjectUri:
    """A file or folder of an object store; `path` has no slash at either end."""

    scheme: str
    authority: str
    path: str

    def __str__(self) -> str:
        """Return the address."""
        return f"{self.scheme}://{self.authority}/{self.path}"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> "ObjectUri":
        """The folder that holds it."""
        return ObjectUri(self.scheme, self.authority, self.path.rpartition("/")[0])

    def __truediv__(self, name: str, /) -> "ObjectUri":
        """Return a file or folder below it."""
        return ObjectUri(self.scheme, self.authority, f"{self.path}/{name}".strip("/"))

    def resolve(self) -> "ObjectUri":
        """Return itself: an address does not depend on a working directory."""
        return self

    def read_bytes(self) -> bytes:
        """Return the object's bytes. Raises OSError."""
        with self._told():
            return bytes(obstore.get(self._store(), self.path).bytes())

    def read_text(self, encoding: str | None = None) -> str:
        """Return the object's text. Raises OSError, UnicodeDecodeError."""
        return self.read_bytes().decode(encoding or "utf-8")

    def write_bytes(self, content: bytes) -> None:
        """Write the object, whole or not at all, with the content type of its name."""
        kind, _ = mimetypes.guess_type(self.name)
        attributes: Any = {"Content-Type": kind} if kind else None
        with self._told():
            obstore.put(self._store(), self.path, content, attributes=attributes)

    def names(self) -> set[str]:
        """Return the names of the files in this folder itself. Raises OSError."""
        with self._told():
            listed = obstore.list_with_delimiter(self._store(), f"{self.path}/".lstrip("/"))
            return {PurePosixPath(one["path"]).name for one in listed["objects"]}

    def remove(self) -> bool:
        """Remove all objects below; return whether there were any. Raises OSError."""
        with self._told():
            pages = obstore.list(self._store(), f"{self.path}/")
            paths = [one["path"] for page in pages for one in page]
            if paths:
                obstore.delete(self._store(), paths)
            return bool(paths)

    def _store(self) -> Any:
        return _open_store(SCHEMES[self.scheme], self.authority, s3_endpoint())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise OSError for what the store's client raises."""
        try:
            yield
        except _NOT_FOUND as error:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(self)) from error
        except _DENIED as error:
            raise PermissionError(errno.EACCES, "the store denies access", str(self)) from error
        except (BaseError, OSError, ValueError) as error:
            raise OSError(errno.EIO, redact(first_line(error)), str(self)) from error


@lru_cache(maxsize=16)
def _open_store(scheme: str, authority: str, endpoint: str | None) -> Any:
    """Return a store, cached: opening one of S3 asks for its region.

    `endpoint` is part of the key.
    """
    return open_object_store(scheme, authority, _TIMES, _RETRIES)


def parse_place(given: object) -> Place:
    """Return the place that a path or an address names.

    Raises ValueError if it is empty, or of another kind of store, and ConfigError if it holds a
    password or a token.
    """
    if isinstance(given, Path | ObjectUri):
        return given
    if not isinstance(given, str):
        raise ValueError("expected a path or an address")
    # Of a variable that was not set: it would be the working directory.
    if given == "":
        raise ValueError("found an empty text, expected a path or an address")
    text = local_path(given)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    refuse_secrets(given, "an address")
    authority, _, path = rest.partition("/")
    if scheme.lower() not in SCHEMES or not authority:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"expected a local path, or an address of {known}")
    if ".." in path.split("/") or {"?", "#"} & set(rest):
        raise ValueError("expected an address without '..', '?' and '#'")
    return ObjectUri(scheme.lower(), authority, path.strip("/"))


# The field of a settings class that names a place.
PlaceField = Annotated[Place, PlainValidator(parse_place)]


def parse_flag(given: object) -> Place:
    """Return the place that a flag names; raises ConfigError if it does not name one."""
    try:
        return parse_place(given)
    except ValueError as error:
        raise ConfigError(f"{given!r} names no file: {error}") from error


def start_in(folder: Place, place: Place) -> Place:
    """Return a place, where a relative path starts in `folder`."""
    if not isinstance(place, Path):
        return place
    path = place.expanduser()
    return path if path.is_absolute() else folder / str(path)


def names_in(folder: Place) -> set[str]:
    """Return the names of a folder's own files; of a folder that is not there, none."""
    if isinstance(folder, ObjectUri):
        return folder.names()
    path = Path(str(folder))
    return {one.name for one in path.iterdir()} if path.is_dir() else set()


def remove_place(folder: Place) -> bool:
    """Remove a folder with all its files; return whether it existed. Raises OSError."""
    if isinstance(folder, ObjectUri):
        return folder.remove()
    path = Path(str(folder))
    if not path.is_dir():
        return False
    shutil.rmtree(path)
    return True


# Also as Path leaves a URI: of s3://b it makes s3:/b.
_URI = re.compile(r"[a-z][a-z0-9+.-]+:(/|$)", re.IGNORECASE)


def prepare_target(output: Path, *inputs: str | Path | None) -> None:
    """Create the folder of an output file.

    `inputs` are files, and folders of files, that the job reads. Raises ConfigError if the folder
    cannot be written, or `output` is one of the inputs or lies in one.
    """
    target = output.resolve()
    for given in inputs:
        if given is not None and Path(given).resolve() in (target, *target.parents):
            raise ConfigError(f"--output would change {given}, which is read. Name another file.")
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; give --output the name of a file")
    if output.exists() and not output.is_file():
        raise ConfigError(
            f"{output} is a device or a pipe, which a file would replace. Name a file."
        )
    require_writable(output.parent)


def require_suffix(output: Path, *suffixes: str) -> None:
    """Raise ConfigError if the name of an output file ends in none of the suffixes."""
    if output.suffix not in suffixes:
        known = " or ".join(suffixes)
        raise ConfigError(f"{output} has another suffix than its format: expected {known}.")


def require_writable(folder: Path) -> None:
    """Create a folder.

    Raises ConfigError if it cannot be created or written, or is a URI.
    """
    if _URI.match(str(folder)):
        raise ConfigError(
            f"{folder} is not a local path. Write to a local folder, and copy the result there."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"nothing can be written in {folder}: {error.strerror}") from error


def refuse_existing(output: Path) -> None:
    """Raise ConfigError if the path of --output exists already."""
    if output.exists():
        raise ConfigError(f"{output} exists already. Remove it, or give another --output.")


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Yield a temporary path beside `file`, which becomes `file` at the end.

    If the block raises, the temporary file is deleted and `file` stays as it was. Folders are
    created. With several writers at a time the last one wins. A killed process leaves its
    temporary file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_place(place: Place, content: bytes) -> None:
    """Write a file, whole or not at all; folders are made. Raises OSError."""
    if isinstance(place, ObjectUri):
        place.write_bytes(content)
        return
    with atomic_write(Path(str(place))) as partial:
        partial.write_bytes(content)


@contextmanager
def atomic_write_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces `folder` at the end.

    If the block raises, the temporary folder is deleted, and `folder` stays as it was. A process
    that is killed while it replaces leaves the old folder beside the new one, under a hidden name.
    """
    partial, old = (
        folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{kind}")
        for kind in ("partial", "old")
    )
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
