"""A shop in which people and nights do what they like, and what stands is looked at every time."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pandas as pd
from commit_hook import CommitHook, Killed
from expected_table import (
    Answer,
    Attempt,
    Command,
    Corrections,
    ExpectedTable,
    Product,
)
from fake_shop import FakeGate, Shop, fails, passes
from observed_tables import (
    SPECS,
    TITLES,
    read_answers,
    read_carried,
    read_ledger,
    read_rows,
    read_versions,
)

from enrich.config import JobConfig
from enrich.errors import ConfigError, NothingPublished, TableContended
from enrich.spark.rollback import roll_back
from enrich.spark.run import Refresh
from enrich.spark.settling import drop_staged_run, publish_staged_run
from enrich.spark.tables.maintenance import maintain_tables
from schemas.tables import SUCCEEDED

LABELS = (("color", "red"), ("color", "blue"), ("color", None), ("pattern", "solid"))


class RandomShop:
    """A shop, and what should stand in it after each command; `log` says what was done.

    What it is asked for raises AssertionError where something else stands.
    """

    def __init__(self, shop: Shop, hook: CommitHook, seed: int) -> None:
        self.shop, self.hook, self.random = shop, hook, Random(seed)
        self.expected = ExpectedTable()
        self.log: list[str] = []
        self._deletes = self.random.random() < 0.6
        self._chunk = self.random.choice((2, 200_000))
        self._day = date(2026, 10, 1)
        self._said: list[tuple[str, str, str | None]] = []
        self._catalog = {f"p{number}": self._draw_product() for number in range(6)}
        self._last = Command(self._day, "fake-1-p90")
        # The names of the runs that have begun and not ended, None where one has none.
        self._at_work: list[str | None] = []
        self.shop.tables.create_missing()
        self._write_catalog()

    def act(self) -> None:
        """Does one thing that somebody may do."""
        weights = {
            self.refresh: 8,
            self.be_killed: 4,
            self.be_disturbed: 10,
            self.repeat: 2,
            self.change_catalog: 9,
            self.correct: 4,
            self.wait_a_day: 4,
            self.take_back: 4,
            self.take_back_disturbed: 2,
            self.publish_waiting: 4,
            self.drop_waiting: 1,
            self.maintain: 1,
        }
        self.random.choices(list(weights), list(weights.values()))[0]()

    # What people do to the shop.

    def change_catalog(self) -> None:
        """Products come, go and change."""
        for _ in range(self.random.randint(1, 3)):
            one = f"p{self.random.randrange(10)}"
            if self.random.random() < 0.3:
                self._catalog.pop(one, None)
            else:
                self._catalog[one] = self._draw_product()
        self._write_catalog()
        self._note(f"catalog {self._catalog}")

    def correct(self) -> None:
        """A person corrects a label, or withdraws all corrections of a product."""
        product = f"p{self.random.randrange(10)}"
        table = f"{self.shop.database}.attribute_corrections"
        if self.random.random() < 0.3:
            self._said = [one for one in self._said if one[0] != product]
            self.shop.spark.sql(f"DELETE FROM {table} WHERE product_id = '{product}'")
            self._note(f"withdraw {product}")
            return
        attribute, label = self.random.choice(LABELS)
        self._said.append((product, attribute, label))
        values = (product, attribute, label, "ana", datetime.now(UTC), None)
        said = self.shop.spark.createDataFrame([values], self.shop.spark.table(table).schema)
        self.shop.tables.append("attribute_corrections", said)
        self._note(f"correct {product} {attribute} {label}")

    def wait_a_day(self) -> None:
        """Another day begins."""
        self._day += timedelta(days=1)

    # What nights do.

    def refresh(self) -> None:
        """A run of today, or of a day before."""
        self._refresh(self._draw_command())

    def be_killed(self) -> None:
        """A run that dies before or after a commit; it may be said again by `repeat`."""
        self._refresh(self._draw_command(), self.hook.kill)

    def be_disturbed(self) -> None:
        """A run during which somebody does something else."""
        others = (self.refresh, self.take_back, self.correct, self.change_catalog)
        others = (*others, self.publish_waiting, self.drop_waiting, self.maintain)
        self._refresh(self._draw_command(), self.random.choice(others))

    def repeat(self) -> None:
        """The last run is said again, and once more, which changes nothing."""
        command = self._last._replace(publishes=True, passes=True)
        self._refresh(command)
        before = read_versions(self.shop)
        self._refresh(command)
        assert read_versions(self.shop) == before

    # What people do about runs.

    def take_back(self) -> None:
        """A person takes a run back."""
        if not self.expected.before:
            return
        run_id, _ = self.random.choice(self.expected.before)
        self._note(f"take back {run_id}")
        try:
            gone = roll_back(self.shop.tables, run_id, "why not")
        except ConfigError as refusal:
            # One that was killed, or is at work, has to come to its end first.
            assert "does not say so yet" in str(refusal)
        except TableContended as contended:
            self._note(f"contended: {contended}")
        else:
            assert self.expected.take_back(run_id) <= set(gone)
            ledger = read_ledger(self.shop)
            assert {ledger[run]["outcome"] for run in gone} == {"rolled_back"}
        self._compare()

    def take_back_disturbed(self) -> None:
        """A person takes a run back, and meanwhile somebody else does something."""
        others = (self.refresh, self.be_killed, self.publish_waiting, self.correct, self.maintain)
        self.hook.begin()
        self.hook.at("before", self.random.choice(others), of=("changes_since",))
        self.take_back()
        self.hook.begin()

    def publish_waiting(self) -> None:
        """A person publishes what waits."""
        if not (row := self._choose_waiting()):
            return
        run_id = row["run_id"]
        attempt = (row["run_date"], row["started_at"].astimezone(UTC))
        answers = read_answers(self.shop, run_id, attempt[1], self._corrections_of)
        carried = read_carried(self.shop, run_id)
        is_behind = self._is_behind(attempt)
        vanished = self._find_vanished(row, attempt)
        self._note(f"publish {run_id}, which was {row['outcome']}")
        model, config = row["model_version"], JobConfig(**self._config)
        labels = SPECS[model].attributes
        tables = replace(self.shop.tables, attributes=tuple(labels))
        try:
            publish_staged_run(tables, labels, model, run_id, "because", config)
        except ConfigError as refusal:
            self._note(f"refused: {refusal}")
        else:
            self.expected.publish(
                answers, run_id, attempt, is_full=True, is_behind=is_behind, carried=carried
            )
            self.expected.delete(vanished, run_id, attempt)
        self._compare()

    def drop_waiting(self) -> None:
        """A person drops what waits."""
        if not (row := self._choose_waiting()):
            return
        self._note(f"drop {row['run_id']}")
        try:
            drop_staged_run(self.shop.tables, row["run_id"], "no good")
        except ConfigError as refusal:
            assert "does not say so yet" in str(refusal)
        self._compare()

    def maintain(self) -> None:
        """The weekly job; what runs have staged may be old enough."""
        self._note("maintain")
        # None at all would be kept of a run that is at work again.
        days = 30 if self._at_work else self.random.choice((0, 30))
        maintain_tables(self.shop.tables, retention_hours=168, keep_staged_days=days)
        self._compare()

    # How that is told.

    def _refresh(self, command: Command, disturbance: Callable[[], None] | None = None) -> None:
        what = getattr(disturbance, "__name__", "nobody")
        self._note(f"{command}, disturbed by {what}")
        inputs = self.shop.prepare(
            spec=SPECS[command.model_version],
            config=self._config,
            run_date=command.run_date,
            run_id=command.run_id,
            limit=command.limit,
            full_refresh=command.is_full,
            publish=command.publishes,
        )
        job = Refresh(inputs, FakeGate(passes if command.passes else fails))
        told = _Told(self, command, (command.run_date, inputs.started_at), job)
        self.hook.begin()
        if disturbance:
            nth, when = self.random.randint(1, 6), self.random.choice(("before", "after"))
            self.hook.at(when, lambda: told.interrupt(disturbance), nth)
        self._last = command
        self._at_work.append(command.run_id)
        try:
            job.run()
        except Killed:
            told.land(self.hook.done)
        except NothingPublished as blocked:
            assert not command.passes and "too blue" in str(blocked)
        except TableContended as contended:
            self._note(f"contended: {contended}")
        else:
            told.end()
        finally:
            self._at_work.pop()
            # It may have had fewer commits; the next command is another one's.
            self.hook.begin()
        self._compare()

    def _draw_product(self) -> Product:
        title = None if self.random.random() < 0.1 else self.random.choice(TITLES)
        return Product(title, self.random.choice((None, "shirts", "cups")))

    def _draw_command(self) -> Command:
        draw = self.random
        name = draw.choice((None, None, None, "nightly", "again"))
        return Command(
            run_date=self._day - timedelta(days=draw.choice((0, 0, 0, 0, 1, 2))),
            model_version=draw.choices(list(SPECS), (5, 2, 1, 2))[0],
            # One of two with the same name would stop.
            run_id=None if name in self._at_work else name,
            limit=draw.choice((None, None, None, None, 2)),
            is_full=draw.random() < 0.1,
            publishes=draw.random() > 0.15,
            passes=draw.random() > 0.15,
        )

    def _choose_waiting(self) -> dict[str, Any] | None:
        """Returns the ledger's row of a run that is not published, None where all are."""
        rows = read_ledger(self.shop).values()
        waiting = [row for row in rows if row["outcome"] not in SUCCEEDED]
        return self.random.choice(waiting) if waiting else None

    def _write_catalog(self) -> None:
        rows = [(one, product.title, product.category) for one, product in self._catalog.items()]
        self.random.shuffle(rows)
        table = pd.DataFrame(rows, columns=["product_id", "title", "category"])
        table[["description", "image_path"]] = None
        self.shop.write(table.astype("string"))

    @property
    def _config(self) -> dict[str, Any]:
        return {
            "database": self.shop.database,
            "columns": {"category": "category"},
            "missing_products": "delete" if self._deletes else "keep",
            "max_deleted_share": 1.0,
            "products_per_chunk": self._chunk,
        }

    def _corrections_of(self, product_id: str) -> Corrections:
        last = {attribute: label for one, attribute, label in self._said if one == product_id}
        return tuple((attribute, last[attribute], "ana") for attribute in sorted(last))

    def _is_behind(self, attempt: Attempt) -> bool:
        """Returns whether a newer run has seen the whole product table, where that may delete."""
        ended = []
        for row in read_ledger(self.shop).values():
            if row["outcome"] in SUCCEEDED and row["is_whole"]:
                ended.append((row["run_date"], row["started_at"].astimezone(UTC)))
            elif row["succeeded_at"]:
                ended.append((row["succeeded_on"], row["succeeded_at"].astimezone(UTC)))
        return self._deletes and any(one > attempt for one in ended)

    def _find_vanished(self, row: dict[str, Any], attempt: Attempt) -> frozenset[str]:
        """Returns what publishing a run of the ledger deletes: if it still sees what it saw."""
        is_due = self._deletes and row["vanished"] and not self._is_behind(attempt)
        seen = self.shop.prepare(config=self._config).catalog.version
        if not is_due or row["catalog_version"] != seen:
            return frozenset()
        return frozenset(self.expected.rows) - self._catalog.keys()

    def _compare(self) -> None:
        """Asserts that the table is as it should be."""
        assert read_rows(self.shop) == self.expected.rows

    def _note(self, what: str) -> None:
        self.log.append(what)


class _Told:
    """One run as the model has it: what it found to do, and how much of that is published."""

    def __init__(self, shop: RandomShop, command: Command, attempt: Attempt, job: Refresh) -> None:
        self._shop, self._command, self._attempt, self._job = shop, command, attempt, job
        said = {one: shop._corrections_of(one) for one in shop._catalog}
        self._catalog = dict(shop._catalog)
        self._wanted = shop.expected.survey(shop._catalog, said, command)
        self._landed: dict[str, int] = {}

    def interrupt(self, disturbance: Callable[[], None]) -> None:
        """Publishes what is published by now, and lets the other one act."""
        self.land(self._shop.hook.done)
        disturbance()

    def land(self, commits: Iterable[str]) -> None:
        """Does in the model what these commits did in the table."""
        if not self._command.publishes or not (run_id := self._job.summary.run_id):
            return
        shop, expected = self._shop, self._shop.expected
        is_behind = shop._is_behind(self._attempt)
        if "publish" in commits and "publish" not in self._landed:
            self._landed["publish"] = expected.publish(
                self._answers(run_id),
                run_id,
                self._attempt,
                is_full=self._command.is_full,
                is_behind=is_behind,
                carried=read_carried(shop.shop, run_id),
            )
        if "delete_published" in commits and "delete_published" not in self._landed:
            deletes = shop._deletes and not is_behind
            vanished = self._wanted.vanished if deletes else frozenset()
            self._landed["delete_published"] = expected.delete(vanished, run_id, self._attempt)

    def _answers(self, run_id: str) -> dict[str, Answer]:
        """Returns what the run publishes, which may be more than it has wanted this time."""
        shop, command, catalog = self._shop, self._command, self._catalog
        staged = read_answers(shop.shop, run_id, self._attempt[1], shop._corrections_of)
        assert self._wanted.products.items() <= {o: a.product for o, a in staged.items()}.items()
        # What a run of that name had staged of other inputs counts no more.
        ids = sorted(catalog)[: command.limit]
        return {
            one: staged[one]
            for one in ids
            if one in staged and staged[one][:2] == (catalog[one], command.model_version)
        }

    def end(self) -> None:
        """Asserts that the run says what it did."""
        summary, counts = self._job.summary, self._job.summary.counts
        self._shop._note(f"{summary.run_id} {summary.outcome} {counts}")
        # Also where it says that there is nothing to do.
        self.land(("publish", "delete_published"))
        assert counts["read"] == sum(
            counts[fate] for fate in ("published", "unchanged", "quarantined", "withheld")
        )
        assert counts["published"] >= self._landed.get("publish", 0)
