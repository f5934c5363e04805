"""Resolves image paths and reads the files below the allowed roots.

A bad image raises `ImageProblem` with the status that its row will carry; it never takes the
run down. Knows nothing of pixels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from pyarrow import ArrowException

from enrich.errors import ConfigError
from enrich.images.files import is_failure, is_gone, read_bytes, read_stat
from enrich.images.limits import ImageLimits, ImageProblem, ImageReading, ImageStat
from enrich.images.patience import Patience, StoreFailed
from enrich.images.places import LONGEST_PATH, Place, parse_place, s3_endpoint
from enrich.records import NO_IMAGE_PATH, Status
from enrich.redaction import describe_error

Answer = TypeVar("Answer")


class ImageStore:
    """Resolves image paths against one root and reads the files below the allowed roots.

    A relative path starts from `root`. An absolute path or URI must lie under `root` or one of
    `allowed_roots`, after `..` and symbolic links are resolved. Small and picklable: what a process
    learns about a store stays with the process.
    """

    def __init__(
        self,
        root: str,
        allowed_roots: tuple[str, ...] = (),
        limits: ImageLimits | None = None,
        reading: ImageReading | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or ImageLimits()
        self._reading = reading or ImageReading()
        self._root = parse_place(root)
        self._allowed = {self._root, *map(parse_place, allowed_roots)}
        if any(place.scheme == "s3" for place in self._allowed):
            s3_endpoint()  # refused here, where a wrong address is a wrong setting

    def read(self, image_path: str | None) -> bytes:
        """Returns the file's bytes.

        Raises:
            ImageProblem: no path, no such file, outside the allowed roots, too many bytes, or a
                store that did not answer in the time and with the attempts it has.
        """
        place = self._resolve(image_path)
        limit = self.limits.max_bytes
        data = self._ask(place, lambda: read_bytes(place, limit + 1, self._allowed, self._reading))
        if len(data) > limit:
            raise ImageProblem(Status.IMAGE_TOO_LARGE, f"more than max_bytes = {limit:,} bytes")
        return data

    def stat(self, image_path: str | None) -> ImageStat:
        """Returns the file's size and modification time without reading the file.

        Raises:
            ImageProblem: as `read`, but for the size.
        """
        place = self._resolve(image_path)
        return self._ask(place, lambda: read_stat(place, self._reading))

    def find_local(self, image_path: str | None) -> str | None:
        """Returns the file on this machine that `read` would read, be it there or not."""
        try:
            place = self._resolve(image_path)
        except ImageProblem:
            return None
        return place.path if place.scheme == "file" else None

    def _ask(self, place: Place, question: Callable[[], Answer]) -> Answer:
        patience = _patience(place.scheme, place.authority, self._reading)
        # A local file system answers or fails; a thread for each file would be felt.
        ask = patience.ask_in_place if place.scheme == "file" else patience.ask
        try:
            return ask(question)
        except ConfigError as error:
            raise ImageProblem(Status.IMAGE_FORBIDDEN, describe_error(error)) from error
        except MemoryError as error:
            # This machine's, at this moment: another run may have it.
            raise ImageProblem(Status.IMAGE_UNREADABLE, describe_error(error)) from error
        except (StoreFailed, OSError, ValueError, ArrowException) as error:
            status = Status.IMAGE_MISSING if is_gone(error) else self._reading.failed_status
            raise ImageProblem(status, describe_error(error)) from error

    def _resolve(self, image_path: str | None) -> Place:
        # A column of a wrong type reaches an engine that runs without Spark as numbers or NaN.
        if not isinstance(image_path, str) or not image_path.strip():
            raise ImageProblem(Status.IMAGE_MISSING, NO_IMAGE_PATH)
        if len(image_path) > LONGEST_PATH:
            raise ImageProblem(
                Status.IMAGE_MISSING, f"a path of more than {LONGEST_PATH:,} characters"
            )
        try:
            place = parse_place(image_path, relative_to=self._root)
        except (ConfigError, ValueError, OSError) as error:
            raise ImageProblem(Status.IMAGE_FORBIDDEN, describe_error(error)) from error
        if not any(place.is_under(root) for root in self._allowed):
            raise ImageProblem(Status.IMAGE_FORBIDDEN, "outside the allowed image roots")
        return place


@lru_cache(maxsize=64)
def _patience(scheme: str, authority: str, reading: ImageReading) -> Patience:
    """Returns what this process knows of a store."""
    return Patience(attempts=reading.attempts, timeout_s=reading.timeout_s, is_failure=is_failure)
