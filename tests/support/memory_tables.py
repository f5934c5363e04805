"""Output tables in memory: their rows, commits that can be killed, and the ledger of runs.

A content is a text and the name of a picture. Without a text there is nothing to answer from. A
text that begins with "crash" kills its worker, and a picture called "large" is too large under the
limits called "small". What a classifier says depends on content and checkpoint alone, so rows hold
these instead of labels.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Self

from enrich.spark.rules import NEXT_STATES, Attempt, Run
from schemas.tables import Op, Outcome, Reason, State, Status


class Killed(BaseException):
    """The process is gone: nothing that looks after errors catches this."""


class Refused(Exception):
    """A person asked for what cannot be done; the command changed no table."""


class Product(NamedTuple):
    """A row of the product table."""

    product_id: str | None
    text: str
    picture: str | None = None
    category: str | None = None


class Content(NamedTuple):
    """What a content_hash is of: the text, and the picture or a status instead of it."""

    text: str
    picture: str


class Recipe(NamedTuple):
    """What a refresh answers with: checkpoint and target precision, encoder, image limits."""

    model: str = "one-p90"
    encoder: str = "a"
    attributes: tuple[str, ...] = ("color", "pattern")
    limits: str = "big"


class Request(NamedTuple):
    """What a refresh is asked for and meets; `blocks` is the suite that the gate stops it at."""

    run_date: date
    recipe: Recipe = Recipe()
    trigger: str | None = None
    full_refresh: bool = False
    limit: int | None = None
    publishes: bool = True
    blocks: str = ""
    store_is_down: bool = False


class Encoding(NamedTuple):
    """A row of `encodings`."""

    run_id: str
    content: Content
    encoder: str
    at: datetime
    limits: str
    status: Status
    is_readable: bool


class Row(NamedTuple):
    """A row of `product_attributes`."""

    content: Content
    model: str
    status: Status
    category: str | None
    corrections: tuple[tuple[str, str | None], ...]
    attempt: Attempt


class Candidate(NamedTuple):
    """A row of `candidates`."""

    product_id: str
    op: Op
    reason: Outcome
    replaces: str | None
    content: Content = Content("", "")
    model: str = ""
    status: Status = Status.OK
    category: str | None = None


class Finding(NamedTuple):
    """A row of `quarantine`."""

    run_id: str
    product_id: str | None
    content: Content
    reason: Reason
    status: Status | None
    limits: str
    at: datetime


class Event(NamedTuple):
    """An event of `run_events`."""

    run: Run
    counts: Mapping[str, int]
    reason: str | None = None


class Version(NamedTuple):
    """A version of product_attributes, and the commit that made it."""

    run_id: str
    operation: str
    at: datetime
    rows: Mapping[str, Row]
    written: int = 0
    deleted: int = 0


def look_at(product: Product, store_is_down: bool) -> Content:
    """Return the content that the diff sees."""
    if product.picture is None:
        return Content(product.text, Status.IMAGE_MISSING)
    return Content(product.text, f"down {product.picture}" if store_is_down else product.picture)


def read_content(content: Content, limits: str) -> tuple[Status, bool]:
    """Return the status of an encoding, and whether it holds anything to answer from."""
    if content.text.startswith("crash"):
        return Status.WORKER_CRASHED, False
    if content.picture == Status.IMAGE_MISSING:
        return Status.IMAGE_MISSING, bool(content.text)
    if content.picture.startswith("down"):
        return Status.IMAGE_UNREADABLE, bool(content.text)
    if content.picture == "large" and limits == "small":
        return Status.IMAGE_TOO_LARGE, bool(content.text)
    return (Status.OK, True) if content.text else (Status.IMAGE_CORRUPT, False)


def order_of(product: Product) -> tuple[object, ...]:
    """Return by what products are ordered: of one id the first row is kept."""
    fields = (product.text, product.picture, product.category)
    nulls_last = tuple((one is None, one or "") for one in fields)
    return product.product_id is not None, product.product_id or "", nulls_last


@dataclass
class MemoryTables:
    """The tables. `commits` names those of the last command, in their order.

    A command that is told to die after n commits raises Killed there.
    """

    products: list[Product] = field(default_factory=list)
    corrections: dict[tuple[str, str], str | None] = field(default_factory=dict)
    encodings: list[Encoding] = field(default_factory=list)
    candidates: dict[str, tuple[Candidate, ...]] = field(default_factory=dict)
    quarantine: list[Finding] = field(default_factory=list)
    events: dict[str, list[Event]] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)
    # The product table after each commit to it.
    listed: list[tuple[Product, ...]] = field(default_factory=lambda: [()])
    commits: list[str] = field(default_factory=list)
    clock: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    kill_after: int | None = None

    def __post_init__(self) -> None:
        if not self.versions:
            self.versions.append(Version("", "CREATE", self.clock, {}))

    @property
    def published(self) -> Mapping[str, Row]:
        """Rows of product_attributes by product_id."""
        return self.versions[-1].rows

    @property
    def runs(self) -> list[Run]:
        """The last event of every run."""
        return [events[-1].run for events in self.events.values()]

    def last(self, run_id: str) -> Event:
        """Return the last event of a run."""
        return self.events[run_id][-1]

    def find_run(self, name: str) -> Run:
        """Return a run by its id, or by a trigger that has one waiting run (R10)."""
        named = [run for run in self.runs if run.run_id == name]
        triggered = [run for run in self.runs if run.trigger == name]
        waiting = [run for run in triggered if run.is_waiting]
        if named or len(waiting) == 1:
            return (named or waiting)[0]
        if waiting or not triggered:
            raise Refused
        return max(triggered, key=lambda run: run.attempt)

    def corrections_of(
        self, product_id: str | None, recipe: Recipe
    ) -> tuple[tuple[str, str | None], ...]:
        """Return a product's corrections of attributes that the recipe knows."""
        return tuple(
            (attribute, label)
            for (one, attribute), label in sorted(self.corrections.items(), key=lambda it: it[0])
            if one == product_id and attribute in recipe.attributes
        )

    def write_events(self, events: Sequence[Event], commit: str = "merge") -> None:
        """Append events; `merge` where another process may have written the same number."""
        for event in events:
            numbered = event._replace(run=event.run._replace(at=self.now()))
            self.events.setdefault(event.run.run_id, []).append(numbered)
        self.commit(commit)

    def commit(self, name: str) -> None:
        """Note what was changed as one commit, behind which the process may die."""
        self.commits.append(name)
        if len(self.commits) == self.kill_after:
            raise Killed

    def now(self) -> datetime:
        """Return the time, which is later at each question."""
        self.clock += timedelta(seconds=1)
        return self.clock

    def copy(self) -> Self:
        """Return tables that go their own way from here."""
        names = ("corrections", "candidates", "recipes", "products", "encodings", "quarantine")
        own = {name: copy(getattr(self, name)) for name in (*names, "versions", "listed")}
        events = {run_id: list(events) for run_id, events in self.events.items()}
        return replace(self, events=events, **own)


def follow(event: Event, state: State, **changes: object) -> Event:
    """Return the event after `event`."""
    run = event.run
    before = run.state or None
    assert state in NEXT_STATES[before], f"{run.run_id} is {before}, and cannot be {state}"
    reason = changes.pop("reason", event.reason)
    run = run._replace(number=run.number + 1, state=state, **changes)
    return event._replace(run=run, reason=reason)


def take_back(event: Event, reason: str | None, caused_by: str | None) -> Event:
    """Return the event after `event` that says that nothing of the run stands any more."""
    counts = dict(event.counts)
    counts |= {"withheld": counts["withheld"] + counts["published"], "published": 0, "deleted": 0}
    following = follow(event, State.ROLLED_BACK, reason=reason, caused_by=caused_by)
    return following._replace(counts=counts)
