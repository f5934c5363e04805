"""Ends a refresh by SIGKILL at a chosen point: driver, JVM and Python workers, all at once.

Runs inside the processes that are to be killed, and reaches into the product from outside: the
product has no hooks for it. Whoever uses this starts the driver in a session of its own.
"""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from enrich.calibration import Thresholds
from enrich.fake_engine import FakeEngine, FakeEngineSpec
from enrich.images.store import ImageStore
from enrich.records import EnrichedProduct, Product
from enrich.spark.tables.output_tables import OutputTables

Kind = Literal["call", "statement", "files", "engine", "worker", "image", "merge"]


@dataclass(frozen=True)
class KillPoint:
    """Where a run is killed.

    `what` is a call of `OutputTables`, the beginning of an SQL statement, a pattern of files below
    the database's folder, the product that the engine is asked about, or the image that is read.
    """

    kind: Kind
    what: str = ""
    nth: int = 1
    when: Literal["before", "after", "at"] = "at"

    def __str__(self) -> str:
        """Returns it for people: `after call publish 1`."""
        return f"{self.when} {self.kind} {self.what} {self.nth}"


@dataclass(frozen=True)
class Control:
    """What the driver tells its workers by a file, as they outlive one run."""

    home: Path
    attempt: str
    point: KillPoint | None = None

    def tell(self) -> None:
        """Writes the file."""
        told = {"attempt": self.attempt, "point": self.point and asdict(self.point)}
        file = self.home / "control.part"
        file.write_text(json.dumps(told))
        file.replace(self.home / "control.json")

    @classmethod
    def ask(cls, home: Path) -> "Control":
        """Reads the file."""
        told = json.loads((home / "control.json").read_text())
        return cls(home, told["attempt"], told["point"] and KillPoint(**told["point"]))

    def is_at(self, kind: Kind, what: str) -> bool:
        """Returns whether the run is to be killed here."""
        return self.point is not None and (self.point.kind, self.point.what) == (kind, what)


def kill_session() -> None:
    """Kills every process of this session: Java first, so that it sees nobody else die."""
    session, mine = os.getsid(0), os.getpid()
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    victims = [pid for pid in found if pid != mine and _session_of(pid) == session]
    for pid in sorted(victims, key=lambda pid: not _is_java(pid)):
        os.kill(pid, signal.SIGKILL)
    os.kill(mine, signal.SIGKILL)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _is_java(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("java")
    except OSError:
        return False


@dataclass(frozen=True)
class WatchedSpec:
    """A fake engine that notes whom it was asked about, and is killed where it is told to be."""

    home: Path
    model_version: str = "fake-1"

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        return FakeEngineSpec().attributes

    @property
    def thresholds(self) -> Thresholds:
        return FakeEngineSpec().thresholds

    def build(self, device: Any) -> "WatchedEngine":
        """Returns the engine; `device` is not used."""
        return WatchedEngine(self.home, FakeEngine(FakeEngineSpec()))


class WatchedEngine:
    """Answers as the fake engine does, one product at a time."""

    def __init__(self, home: Path, engine: FakeEngine) -> None:
        self._home = home
        self._engine = engine

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yields one answer a product, in order."""
        control = Control.ask(self._home)
        with (self._home / "asked.txt").open("a", buffering=1) as asked:
            for product in products:
                if control.is_at("engine", product.product_id):
                    kill_session()
                if control.is_at("worker", product.product_id):
                    # Once: it is no product that kills every worker.
                    Control(self._home, control.attempt).tell()
                    os.kill(os.getpid(), signal.SIGKILL)
                asked.write(f"{control.attempt} {product.product_id}\n")
                yield from self._engine.enrich([product])


class WatchedStore(ImageStore):
    """A store in which the survey is killed when it reads one image."""

    def __init__(self, root: str, home: Path) -> None:
        super().__init__(root)
        self._home = home

    def read(self, image_path: str | None) -> bytes:
        """Returns the image's bytes."""
        if Control.ask(self._home).is_at("image", str(image_path)):
            kill_session()
        return super().read(image_path)


def arm(point: KillPoint, database: Path) -> None:
    """Makes this driver die at the point; what workers need to know, `Control` tells them."""
    seen = 0

    def count(what: str, when: str) -> None:
        nonlocal seen
        if what.startswith(point.what) and when in ("before", "at"):
            seen += 1
        if what.startswith(point.what) and when == point.when and seen == point.nth:
            kill_session()

    if point.kind == "call":
        wrap_calls(count)
    elif point.kind == "statement":
        _wrap(SparkSession, "sql", lambda _, text, *rest, **named: text, count)
    elif point.kind == "merge":
        _kill_in_merge()
    elif point.kind == "files":
        there = len(list(database.glob(point.what)))
        threading.Thread(
            target=_kill_at_files, args=(database, point.what, there + point.nth), daemon=True
        ).start()


def wrap_calls(
    notice: Callable[[str, str], None], patch: Callable[[type, str, Any], None] = setattr
) -> None:
    """Has `notice` told of every call of `OutputTables`: its name and table, before and after."""
    for name, method in list(vars(OutputTables).items()):
        if callable(method) and not name.startswith("_"):
            _wrap(OutputTables, name, _describe(name), notice, patch)


def _describe(name: str) -> Callable[..., str]:
    def describe(_: OutputTables, *arguments: Any, **named: Any) -> str:
        table = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        return f"{name} {table}".strip()

    return describe


def _wrap(
    owner: type,
    name: str,
    describe: Callable[..., str],
    notice: Callable[[str, str], None],
    patch: Callable[[type, str, Any], None] = setattr,
) -> None:
    method = getattr(owner, name)

    @wraps(method)
    def watched(*arguments: Any, **named: Any) -> Any:
        what = describe(*arguments, **named)
        notice(what, "before")
        answer = method(*arguments, **named)
        notice(what, "after")
        return answer

    patch(owner, name, watched)


def _kill_in_merge() -> None:
    from delta.tables import DeltaTable

    merge = DeltaTable.merge

    @F.udf("boolean")
    def dies(_: str) -> bool:
        kill_session()
        return True

    def merge_and_die(self: DeltaTable, source: Any, condition: Any) -> Any:
        return merge(self, source.where(dies("product_id")), condition)

    DeltaTable.merge = merge_and_die


def _kill_at_files(folder: Path, pattern: str, count: int) -> None:
    while len(list(folder.glob(pattern))) < count:
        pass
    kill_session()


class CommitRecorder:
    """Notes which calls of `OutputTables` committed something, in order."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._open: list[int] = []
        self.committed: list[str] = []

    def notice(self, what: str, when: str) -> None:
        """Takes part in every call."""
        commits = len(list(self._database.glob("*/_delta_log/*.json")))
        if when == "before":
            self._open.append(commits)
            return
        own = commits - self._open.pop()
        if own:
            self.committed.append(what)
            # What an inner call committed is not the outer one's.
            self._open = [outer + own for outer in self._open]
