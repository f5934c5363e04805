"""Reading of images below allowed roots and on allowed web hosts.

Roots lie on a disk or in an object store. A bad image raises `ImageProblem` with the status for its
row; it never stops a run. A store that is down is asked only now and then. Pixels are not looked
at.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

from schemas.tables import Status
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from enrich.errors import ConfigError, NoAnswer, describe_error, redact
from enrich.images.clients import (
    CLIENT_ERRORS,
    check_s3_settings,
    is_failure,
    is_gone,
    list_objects,
    open_client,
    read_local,
    stat_local,
)
from enrich.images.locations import LONGEST_PATH, Location, is_url, parse_location
from enrich.images.settings import (
    NO_IMAGE_PATH,
    ImageLimits,
    ImageLists,
    ImageProblem,
    ImageReading,
    ImageStat,
)

Answer = TypeVar("Answer")

# Questions in a row that failed with all their attempts before the store counts as down. Then one
# question is a trial after each pause, and the pause doubles as long as trials fail. Short pauses
# are slept through, so that an outage of seconds costs few images. In long pauses all questions
# fail at once, so that a run against a dead store ends in minutes instead of days.
FAILURES_TO_OPEN = 10
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
LONGEST_SLEEP_S = 5.0

_LONGEST_BACKOFF_S = 5.0


class StoreDown(Exception):
    """The store failed too often in a row and was not asked."""


class CircuitBreaker:
    """Retries and circuit breaker of one store; safe to use from many threads."""

    def __init__(
        self, *, attempts: int, timeout_s: float, is_failure: Callable[[BaseException], bool]
    ) -> None:
        """Set the limits of one question: its attempts, and the seconds for all of them.

        After `timeout_s` no further attempt begins. `is_failure` says whether an error is the
        store's own and may pass. Any other error is an answer: it is raised at once and does not
        count against the store.
        """
        self._is_failure = is_failure
        self._attempts, self._timeout_s = attempts, timeout_s
        # Only for later attempts: it takes as long as reading a small file.
        self._retrying = Retrying(
            retry=retry_if_exception(is_failure),
            wait=wait_random_exponential(multiplier=0.25, max=_LONGEST_BACKOFF_S),
            reraise=True,
        )
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._next_trial_at = 0.0

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer to `question`, after up to 7 s if the store is down.

        Raises StoreDown if it is down and the next trial is too far away to sleep, else the last
        error of the question.
        """
        while (left_s := self._seconds_to_sleep()) > 0:
            time.sleep(left_s)
        try:
            answer = self._ask_in_attempts(question)
        except Exception as error:
            self._count(failed=self._is_failure(error))
            raise
        self._count(failed=False)
        return answer

    def _ask_in_attempts(self, question: Callable[[], Answer]) -> Answer:
        begin = time.monotonic()
        try:
            return question()
        except Exception as error:
            if not self._is_failure(error):
                raise
            errors = [error]

        def attempt() -> Answer:
            if errors:
                raise errors.pop()
            return question()

        left_s = self._timeout_s - (time.monotonic() - begin)
        stop = stop_after_attempt(self._attempts) | stop_before_delay(left_s)
        return self._retrying.copy(stop=stop)(attempt)

    def _seconds_to_sleep(self) -> float:
        with self._lock:
            if self._failures < FAILURES_TO_OPEN:
                return 0.0
            left_s = self._next_trial_at - time.monotonic()
            if left_s <= 0:
                self._pause(min(2 * self._pause_s, LONGEST_PAUSE_S))
                return 0.0
            if self._pause_s > LONGEST_SLEEP_S:
                raise StoreDown(f"not asked: the store failed {self._failures} times in a row")
            return left_s

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures == FAILURES_TO_OPEN:
                self._pause(FIRST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        self._pause_s, self._next_trial_at = seconds, time.monotonic() + seconds


IMAGES_TRIED = 100


class ImageSample(NamedTuple):
    """Counts of images that were tried and read, and the first problem.

    Images that could be read have `paths` different paths, and `alike` of these hold the same
    bytes.
    """

    tried: int
    read: int
    problem: str | None = None
    paths: int = 0
    alike: int = 0


_SAMPLE_THREADS = 8
# In errors about keys such as `a//b.jpg`, which obstore can neither list nor read.
_UNLISTABLE = "path segment"
_SHOWN = 200  # characters of a path


class ImageStore:
    """Reader of the images below the allowed roots and on allowed web hosts.

    A relative path starts from `root`. After `..` and symbolic links are resolved, an absolute
    path or URI must lie under `root` or one of `allowed_roots`. An http(s) URL must be of one
    of `hosts`. Small and picklable: clients and circuit breakers stay with the process.
    """

    def __init__(
        self,
        root: str,
        allowed_roots: tuple[str, ...] = (),
        limits: ImageLimits | None = None,
        reading: ImageReading | None = None,
        hosts: tuple[str, ...] = (),
        lists: ImageLists | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or ImageLimits()
        self._reading = reading or ImageReading()
        self._hosts = frozenset(hosts)
        self._lists = lists or ImageLists()
        self._root = parse_location(root)
        self._allowed = {self._root, *map(parse_location, allowed_roots)}
        if any(location.scheme == "s3" for location in self._allowed):
            check_s3_settings()  # here, where a wrong address is a wrong setting

    def read(self, image_path: str | None) -> bytes:
        """Return the bytes of a file, or of the first readable one of a list.

        Raises ImageProblem if the path is missing, names no file, lies outside the allowed roots
        and hosts, or names a file of too many bytes, or if the store did not answer within
        `attempts` and `timeout_s`.
        """
        return self.try_each(image_path, lambda image: self.read_at(self.resolve(image)))

    def stat(self, image_path: str | None) -> ImageStat:
        """Return the size, etag and modification time of one file by one request.

        Raises ImageProblem as `read` does, but not for the size.
        """
        return self.stat_at(self.resolve(image_path))

    def stat_at(self, location: Location) -> ImageStat:
        """Return what `stat` returns, of a resolved file."""
        if location.scheme == "file":
            return self._ask(location, lambda: stat_local(location.path))
        if is_url(f"{location.scheme}://"):
            from enrich.images.web import stat_url

            return self._ask(location, lambda: stat_url(location, self._hosts, self._reading))
        return self._ask(location, lambda: open_client(location, self._reading).stat(location.path))

    def try_each(self, image_path: str | None, read: Callable[[str | None], Answer]) -> Answer:
        """Return the first answer of `read` for the images of a path.

        If `read` raised ImageProblem for each of them, raises one that may pass, or else the first.
        """
        images: list[str | None] = [image_path]
        if isinstance(image_path, str):
            images[:] = self._lists.images_of(image_path)
        problems = []
        for image in images:
            try:
                return read(image)
            except ImageProblem as problem:
                problems.append(problem)
        may_pass = (one for one in problems if one.status is Status.IMAGE_UNREADABLE)
        raise next(may_pass, problems[0])

    @property
    def is_listable(self) -> bool:
        """True if the root is in an object store, which lists 1,000 objects a request."""
        return self._root.scheme in ("s3", "gs", "abfss")

    @property
    def lists_from_anywhere(self) -> bool:
        """True if a listing may begin at any key without listing those before it."""
        return self._root.scheme == "s3"

    def address_of_key(self) -> tuple[str, str]:
        """Return the bucket's address, and what all keys below the root begin with."""
        key = self._root.path.strip("/")
        return f"{self._root.scheme}://{self._root.authority}/", f"{key}/" if key else ""

    def list_root(
        self, after: str | None, until: str | None
    ) -> Iterator[tuple[str, int, str | None, int | None]]:
        """Yield key, size, etag and time in microseconds of the objects below the root.

        Raises ConfigError if the store does not let this user list, or has names that cannot be
        listed, and NoAnswer if it is out of reach.
        """
        try:
            for key, found in list_objects(self._root, self._reading, after, until):
                yield key, found.size, found.etag, found.modified_us
        except (ConfigError, *CLIENT_ERRORS) as error:
            kind, reason = NoAnswer if is_failure(error) else ConfigError, describe_error(error)
            action = (
                "Rename or remove this object"
                if _UNLISTABLE in reason
                else "Allow the job to list it (s3:ListBucket)"
            )
            raise kind(
                f"image root {self.root} cannot be listed: {reason}. {action}, or set "
                "'image_identity: stat'."
            ) from error

    def locate(self, image_path: str | None) -> str | None:
        """Return the key of a path below the root; None for lists and other places."""
        if not isinstance(image_path, str) or len(self._lists.images_of(image_path)) > 1:
            return None
        try:
            location = self.try_each(image_path, self.resolve)
        except ImageProblem:
            return None
        return location.path.lstrip("/") if location.is_under(self._root) else None

    def find_local(self, image_path: str | None) -> str | None:
        """Return the path on this machine that `read` would open first, if it is local."""
        try:
            location = self.try_each(image_path, self.resolve)
        except ImageProblem:
            return None
        return location.path if location.scheme == "file" else None

    def read_at(self, location: Location) -> bytes:
        """Return the bytes of a resolved file; raises ImageProblem as `read` does."""
        limit = self.limits.max_bytes
        if location.scheme == "file":
            return self._ask(location, lambda: read_local(location.path, limit, self._allowed))
        if is_url(f"{location.scheme}://"):
            from enrich.images.web import read_url

            return self._ask(
                location, lambda: read_url(location, limit, self._hosts, self._reading)
            )
        return self._ask(
            location, lambda: open_client(location, self._reading).read(location.path, limit)
        )

    def _ask(self, location: Location, question: Callable[[], Answer]) -> Answer:
        try:
            return _breaker_of(location.scheme, location.authority, self._reading).ask(question)
        except ConfigError as error:
            raise ImageProblem(Status.IMAGE_FORBIDDEN, describe_error(error)) from error
        except MemoryError as error:
            # This machine's, at this moment: another run may have it.
            raise ImageProblem(Status.IMAGE_UNREADABLE, describe_error(error)) from error
        except (StoreDown, *CLIENT_ERRORS) as error:
            status = Status.IMAGE_MISSING if is_gone(error) else Status.IMAGE_UNREADABLE
            raise ImageProblem(status, describe_error(error)) from error

    def resolve(self, image_path: str | None) -> Location:
        """Return where one image lies; no store is asked, but local links are followed.

        Raises ImageProblem if the path is missing, or outside the allowed roots and hosts.
        """
        # A column of a wrong type reaches an engine that runs without Spark as numbers or NaN.
        if not isinstance(image_path, str) or not (image_path := image_path.strip()):
            raise ImageProblem(Status.IMAGE_MISSING, NO_IMAGE_PATH)
        if len(image_path) > LONGEST_PATH:
            raise ImageProblem(
                Status.IMAGE_MISSING, f"a path of more than {LONGEST_PATH:,} characters"
            )
        try:
            if is_url(image_path):
                from enrich.images.web import parse_url

                return parse_url(image_path, self._hosts)
            location = parse_location(image_path, relative_to=self._root)
        except (ConfigError, ValueError, OSError) as error:
            raise ImageProblem(Status.IMAGE_FORBIDDEN, describe_error(error)) from error
        if not any(location.is_under(root) for root in self._allowed):
            raise ImageProblem(Status.IMAGE_FORBIDDEN, "outside the allowed image roots")
        return location


class TriedImage(NamedTuple):
    """An image that was tried: the digest of its bytes, or the problem with it."""

    path: str
    digest: str | None
    problem: str | None


def try_images(store: ImageStore, image_paths: Sequence[str]) -> list[TriedImage]:
    """Read each of the images, several at once."""

    def read(path: str) -> TriedImage:
        try:
            return TriedImage(path, hashlib.sha256(store.read(path)).hexdigest(), None)
        except ImageProblem as problem:
            # Redacted before it is cut: a login is recognised by the @ behind it.
            return TriedImage(path, None, f"{redact(path)[:_SHOWN]}: {problem.status}: {problem}")

    with ThreadPoolExecutor(_SAMPLE_THREADS) as pool:
        return list(pool.map(read, image_paths))


def sum_up(tried: Sequence[TriedImage]) -> ImageSample:
    """Count the images that could be read.

    A lost mount shows in seconds instead of after hours.
    """
    problems = (one.problem for one in tried if one.problem is not None)
    read = sum(one.problem is None for one in tried)
    digests = {one.path: one.digest for one in tried if one.problem is None}
    alike = max(Counter(digests.values()).values(), default=0)
    return ImageSample(len(tried), read, next(problems, None), len(digests), alike)


@lru_cache(maxsize=64)
def _breaker_of(scheme: str, authority: str, reading: ImageReading) -> CircuitBreaker:
    """Return this process's circuit breaker of a store."""
    return CircuitBreaker(
        attempts=reading.attempts, timeout_s=reading.timeout_s, is_failure=is_failure
    )
