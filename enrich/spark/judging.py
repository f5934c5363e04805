"""What validation gets to see of a run, and what follows from what it says."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.verdict import Verdict

from enrich.errors import ValidationFailed
from enrich.records import Status
from enrich.spark.publishing import select_answered, select_unpublished
from enrich.spark.records import InputRows, RunSummary, StagedRows
from enrich.spark.survey import BROKEN, State, Survey
from enrich.spark.tables.output_tables import OutputTables

# Above this share of rows without a usable id, products are judged although none of them is new.
_DOUBTFUL_IDS = 0.02


class Gate(Protocol):
    """Judges a run. Comes in from outside, so that this package needs no Great Expectations."""

    @property
    def max_unusable_id_share(self) -> float:
        """The share of rows without a usable id that `validate_input` tolerates, in [0, 1]."""

    def validate_input(self, rows: InputRows) -> Verdict:
        """Judges the products before the classifier is asked about any."""

    def validate_staged(self, staged: StagedRows) -> Verdict:
        """Judges the answers before any of them is published."""


class Judging:
    """The verdicts on one run; runs on the driver.

    Args:
        tables: the output tables.
        summary: the run's, which says what the last verdict was.
        gate: gives the verdicts.
    """

    def __init__(self, tables: OutputTables, summary: RunSummary, gate: Gate) -> None:
        self._tables = tables
        self._summary = summary
        self._gate = gate
        self._verdicts: list[Verdict] = []

    def wants_a_look(self, survey: Survey, *, is_staged: bool) -> bool:
        """Tells whether to spend the seconds that `judge_input` takes.

        A table that has lost its ids has nothing new in it: without a look it would pass as a night
        with nothing to do. Some shops always have a row without one, and need no look for that:
        unless the gate tolerates fewer.
        """
        if survey.count(State.NEW) and not is_staged:
            return True
        doubtful = min(_DOUBTFUL_IDS, self._gate.max_unusable_id_share)
        return survey.count(*BROKEN) > doubtful * survey.read

    def judge_input(self, survey: Survey) -> None:
        """Has the products judged.

        Raises:
            ValidationFailed: they are not to be asked about.
        """
        read = survey.rows.where(F.col("state") != State.VANISHED)
        # Of a row with too many fields nobody knows which one is its id.
        usable_id = F.when(F.col("state") != State.SURPLUS_FIELDS, F.col("product_id"))
        is_new = F.col("state") == State.NEW
        products = read.withColumns({"product_id": usable_id, "is_new": is_new})
        self._judge(self._gate.validate_input(InputRows(self._summary.run_id, products)))

    def judge_answers(
        self, survey: Survey, staged: DataFrame, told_until: datetime | None, *, full_refresh: bool
    ) -> None:
        """Has the answers judged, but for those that are published already.

        Args:
            survey: All rows of the product table with their state.
            staged: The run's rows.
            told_until: As `select_unpublished` has it; None where no earlier attempt had staged.
            full_refresh: Whether the run is one.

        Raises:
            ValidationFailed: they are not to be published.
        """
        counts, published = self._summary.counts, self._tables.read("product_attributes")
        answered, expected = select_answered(staged), counts["enriched"]
        if told_until or counts["carried"] or survey.count(State.AGAIN):
            # Products that people corrected, or that lack their picture night after night, are no
            # sample of the catalog. Judged, they would block people's labels, or every night. And
            # beside thousands that the run has published some hundred wrong ones would not show.
            answered = select_unpublished(
                answered, published, told_until, full_refresh=full_refresh
            )
            expected = answered.count()
            if not expected:
                return
        # New answers need not agree with those that were given while the image was out of reach.
        seen = published.where(F.col("status") != Status.IMAGE_UNREADABLE)
        rows = StagedRows(self._summary.run_id, answered, expected, seen)
        self._judge(self._gate.validate_staged(rows))

    def list_checks(self, lineage: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the rows of `label_quality`: every check of the run, with the run's columns."""
        return [
            {**lineage, "baseline": verdict.baseline, **check}
            for verdict in self._verdicts
            for check in verdict.quality
        ]

    def _judge(self, verdict: Verdict) -> None:
        """Keeps a verdict for `label_quality`, and stops the run that failed."""
        self._verdicts.append(verdict)
        summary, verdicts = self._summary, self._verdicts
        summary.data_docs = verdict.docs_path
        summary.validation = {
            "outcome": "passed" if verdict.passed else "failed",
            "baseline": verdict.baseline,
            "notes": [note for one in verdicts for note in one.notes],
            "failures": list(verdict.failures),
        }
        if not verdict.passed:
            staged = self._tables.name("staged_attributes")
            what = "nothing more" if summary.counts["published"] else "nothing"
            kept, then = "", "Put it right, and run again"
            if summary.counts["enriched"]:
                kept = f", what was staged in {staged}"
                then = "After a look, --publish-run or --drop-run settles it, with a --reason"
            raise ValidationFailed(
                f"validation failed, {what} was published: {'; '.join(verdict.failures)}. The "
                f"checks are in {self._tables.name('label_quality')}{kept}, under run_id "
                f"'{summary.run_id}'. {then}"
            )
