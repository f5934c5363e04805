"""What stands in `product_attributes` after any commands, told a second time and without Spark.

Rests on what the README says of runs, not on how `enrich.spark` does it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

# Attribute, label and who said so, in the order of attributes.
Corrections = tuple[tuple[str, str | None, str], ...]
# A day of the run and when it was started: of two rows the one with the later attempt stands.
Attempt = tuple[date, datetime]


class Product(NamedTuple):
    """A row of the product table; without a title nothing can be said of it."""

    title: str | None
    category: str | None


class Answer(NamedTuple):
    """All that a published row is computed from: where one of these differs, it is replaced."""

    product: Product
    model_version: str
    corrections: Corrections


class Row(NamedTuple):
    """A published row."""

    answer: Answer
    run_id: str
    attempt: Attempt


def _says_the_same(one: Answer, other: Answer) -> bool:
    """Returns whether a classifier said the same: `fake-3` answers one attribute more."""
    is_wide = [answer.model_version.startswith("fake-3") for answer in (one, other)]
    return one.product.title == other.product.title and is_wide[0] == is_wide[1]


class Command(NamedTuple):
    """What a refresh is asked for; without a `run_id` the run is named after its inputs."""

    run_date: date
    model_version: str
    run_id: str | None = None
    limit: int | None = None
    is_full: bool = False
    publishes: bool = True
    passes: bool = True


class Wanted(NamedTuple):
    """What a run has found to do: products to publish, and published ones that are gone."""

    products: dict[str, Product]
    vanished: frozenset[str]


@dataclass
class ExpectedTable:
    """The published rows by product_id, and what they were before each commit, oldest first."""

    rows: dict[str, Row] = field(default_factory=dict)
    before: list[tuple[str, dict[str, Row]]] = field(default_factory=list)

    def survey(
        self,
        catalog: Mapping[str, Product],
        corrections: Mapping[str, Corrections],
        command: Command,
    ) -> Wanted:
        """Returns what a run that starts now has to do."""
        ids = sorted(catalog)[: command.limit]
        products = {
            one: catalog[one]
            for one in ids
            if catalog[one].title is not None
            and not self._stands(
                one, Answer(catalog[one], command.model_version, corrections.get(one, ())), command
            )
        }
        vanished = {
            one
            for one, row in self.rows.items()
            if one not in catalog and row.attempt[0] <= command.run_date
        }
        return Wanted(products, frozenset() if command.limit else frozenset(vanished))

    def _stands(self, product_id: str, answer: Answer, command: Command) -> bool:
        row = self.rows.get(product_id)
        if row is None:
            return False
        is_same = row.answer == answer and not command.is_full
        return is_same or row.attempt[0] > command.run_date

    def publish(
        self,
        answers: Mapping[str, Answer],
        run_id: str,
        attempt: Attempt,
        *,
        is_full: bool,
        is_behind: bool,
        carried: Collection[str] = (),
    ) -> int:
        """Publishes a run's answers, and returns how many rows that changes.

        Where `is_behind`, a newer run that deletes has seen a product table without those products
        that have no row. Those of the products `carried` are copies of published answers.
        """
        changed, is_done = {}, True
        for product_id, answer in answers.items():
            row = self.rows.get(product_id)
            if row is None and is_behind:
                continue
            if row is not None and row.answer == answer:
                is_own = row.run_id == run_id and row.attempt[0] >= attempt[0]
                if is_own or not is_full:
                    continue
            is_done = False
            if product_id in carried and not (row and _says_the_same(row.answer, answer)):
                continue
            if row is None or row.attempt <= attempt:
                changed[product_id] = Row(answer, run_id, attempt)
        if not is_done:
            self._commit(run_id, self.rows | changed)
        return len(changed)

    def delete(self, vanished: frozenset[str], run_id: str, attempt: Attempt) -> int:
        """Deletes the rows of vanished products, and returns how many those are."""
        gone = {one for one, row in self.rows.items() if one in vanished and row.attempt <= attempt}
        if vanished:
            self._commit(run_id, {one: row for one, row in self.rows.items() if one not in gone})
        return len(gone)

    def _commit(self, run_id: str, rows: dict[str, Row]) -> None:
        # Also where it changes nothing: the run is taken back to here.
        self.before.append((run_id, self.rows))
        self.rows = rows

    def take_back(self, run_id: str) -> set[str]:
        """Goes back to before the run, and returns the runs of which nothing stands any more."""
        runs = [run for run, _ in self.before]
        first = runs.index(run_id)
        self.rows = self.before[first][1]
        self.before = self.before[:first]
        return {*runs[first:]} - {*runs[:first]}
