"""One refresh from pinned snapshot to published rows."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, get_args

from pyspark.sql import DataFrame
from schemas.tables import SUCCEEDED, Outcome, Suite

from enrich.errors import (
    NothingPublished,
    RunInProgress,
    TableContended,
    TooManyFailures,
    ValidationFailed,
)
from enrich.logs import bind_run
from enrich.redaction import describe_error
from enrich.spark.catalog.table import refuse_exchanged
from enrich.spark.corrections import count_unknown
from enrich.spark.counting import (
    count_fates,
    count_nothing_new,
    count_staged,
    count_standing,
    count_surveyed,
)
from enrich.spark.failures import explain_failure
from enrich.spark.guards import explain_cut_off, refuse_cut_off, refuse_many_failures
from enrich.spark.inference.staging import Stager
from enrich.spark.inputs import Inputs, count_to_delete
from enrich.spark.judging import Gate, Judging
from enrich.spark.ledger import (
    read_run,
    tells_of,
    with_earlier_success,
    write_checks,
    write_run,
)
from enrich.spark.publishing import delete_gone, is_behind, read_attempt, select_publishable
from enrich.spark.quarantine import quarantine_unusable, release_read
from enrich.spark.records import RunSummary, has_passed_gate, products_per_second
from enrich.spark.settings import suit_table_size
from enrich.spark.survey import (
    ASKED,
    PENDING,
    SAME_PRODUCT,
    State,
    Survey,
    survey_products,
)
from enrich.spark.tables.history import count_deleted, read_standing
from enrich.spark.tables.output_tables import PublishedCounts
from enrich.spark.tables.scratch import scratch_folder

log = logging.getLogger(__name__)


class Refresh:
    """One refresh; runs on the driver. `summary` is whole whenever `run` ends or raises.

    Args:
        inputs: what the refresh depends on.
        gate: judges the products, and then the answers.
    """

    def __init__(self, inputs: Inputs, gate: Gate) -> None:
        self.inputs = inputs
        self.tables = inputs.tables
        self.summary = RunSummary(model_version=inputs.spec.model_version)
        self._judging = Judging(self.tables, self.summary, gate)
        self._asked = 0
        # Whether an earlier attempt at the run may have staged, published or deleted something.
        self._is_resumed = False

    def run(self) -> RunSummary:
        """Brings the published table up to date with the catalog.

        Raises:
            NothingPublished: validation failed or too many products could not be read. What is
                staged stays; checks and the ledger's row are written by then.
        """
        if self.inputs.request.run_id:
            bind_run(self.inputs.request.run_id)
        with self._timed("tables"):
            spark, products = self.inputs.spark, self.inputs.catalog.products
            suit_table_size(spark, products)
            self.tables.create_missing()
            self.tables.read_ahead()
            # Apart from the first: Spark reads the log of this table to know its size, and does so
            # faster with the settings for little tables.
            suit_table_size(spark, products, self.tables.read("product_attributes"))
        with scratch_folder(self.tables) as scratch:
            with self._timed("survey"):
                rows = self.inputs.select_states(self.tables.read)
                survey = survey_products(rows, f"{scratch}/survey")
                refuse_exchanged(self.inputs.catalog)
                self.summary.run_id = self.inputs.name_run(survey.fingerprint)
                bind_run(self.summary.run_id)
                if overtaken := survey.count(State.OVERTAKEN):
                    later = "products stay as a run of a later date has published them"
                    log.warning("%s %s", f"{overtaken:,}", later)
                is_staged = self._stager.has_all(survey)
            gone = self.inputs.count_gone(survey)
            to_change = survey.count(State.REVISED) or count_to_delete(survey, gone)
            # A table that is cut off is no success, whatever the run has done before.
            is_cut_off = explain_cut_off(self.inputs, survey, gone) is not None
            if is_staged and not (to_change or is_cut_off) and self._is_done(survey):
                self.summary.outcome = Outcome.NOTHING_TO_DO
                # Where nothing else is new, somebody may have run this for a correction.
                self._add_notes(survey)
                self.summary.counts = count_nothing_new(
                    survey, self._read_staged(), self.tables.read("product_attributes")
                )
            else:
                self._refresh(survey, scratch, gone, is_staged=is_staged)
        return self.summary

    @cached_property
    def _stager(self) -> Stager:
        """Not to be asked for before the survey has given the run its id."""
        return Stager(self.inputs, self.summary.run_id)

    @cached_property
    def _earlier(self) -> dict[str, Any] | None:
        """The ledger's row of an earlier attempt at the run, as it was before this one."""
        return read_run(self.tables, self.summary.run_id)

    def _refresh(self, survey: Survey, scratch: str, gone: int, *, is_staged: bool) -> None:
        is_ours = True
        try:
            self.summary.counts = count_surveyed(survey)
            if self._stager.has_staged:
                # Also for an attempt that is stopped before it counts what is staged.
                own = self.tables.read_rows("product_attributes", self.summary.run_id)
                self.summary.counts |= count_standing(survey, own)
            refuse_cut_off(self.inputs, survey, gone)
            if self._judging.wants_a_look(survey, is_staged=is_staged):
                with self._timed("input"):
                    self._judging.judge_input(survey)
            self._is_resumed = is_staged
            if is_staged:
                self._stager.drop_stale(survey)
            else:
                self._stage(survey, f"{scratch}/chunks")
            self._finish(survey)
        except RunInProgress:
            # The ledger's row is the other process's.
            is_ours = False
            raise
        except NothingPublished as error:
            self.summary.outcome = Outcome.BLOCKED
            self.summary.error = str(error)
            raise
        except Exception as error:
            self.summary.error = describe_error(explain_failure(error) or error)
            raise
        finally:
            if is_ours:
                with self._timed("ledger"):
                    self._write_ledger()

    def _finish(self, survey: Survey) -> None:
        """Takes what is staged to where it belongs: quarantine, or past validation to the table."""
        staged = self._read_staged()
        try:
            with self._timed("quarantine"):
                self._quarantine(survey, staged)
        except TooManyFailures as error:
            self._judge_all_the_same(survey, staged, error)
            raise
        self._judge_answers(survey, staged)
        with self._timed("publish"):
            self._publish(staged, survey)

    def _quarantine(self, survey: Survey, staged: DataFrame) -> None:
        """Counts what is staged, and puts away what could not be read, unless it is too much."""
        staged_counts = count_staged(
            survey, staged, tuple(self.inputs.spec.attributes), is_resumed=self._is_resumed
        )
        if staged_counts.pending < survey.count(*PENDING):
            raise TableContended(
                f"rows that run '{self.summary.run_id}' had staged are gone from "
                f"{self.tables.name('staged_attributes')}: another process has dropped them, "
                "or is at work on the same run. Nothing was published: start this run again"
            )
        self.summary.counts = staged_counts.counts
        if self._is_resumed and staged_counts.counts["enriched"]:
            # What an earlier attempt has published stands, even if this one is blocked.
            stands = self._count_published(staged)
            self.summary.counts |= count_fates(staged_counts.counts, stands)
        # Before anything is quarantined: that is not asked about again, so the next run would pass.
        refuse_many_failures(self.inputs, staged_counts.new)
        lineage = self.inputs.lineage(self.summary.run_id)
        quarantine_unusable(self.tables, survey, staged, lineage)
        if self.inputs.request.full_refresh:
            # Other runs do not ask about what is in quarantine.
            release_read(self.tables, staged, self.summary.model_version)

    def _judge_all_the_same(
        self, survey: Survey, staged: DataFrame, error: TooManyFailures
    ) -> None:
        """Has the answers of a run judged that too many failures have stopped already.

        Whoever publishes it by hand does so against all that its error names.
        """
        try:
            self._judge_answers(survey, staged)
        except ValidationFailed as failed:
            raise TooManyFailures(f"{error}. Besides, {failed}") from failed

    def _judge_answers(self, survey: Survey, staged: DataFrame) -> None:
        if not self.summary.counts["enriched"]:
            return
        earlier = self._earlier if self._is_resumed else None
        told_until = None if earlier is None else earlier["started_at"]
        full_refresh = self.inputs.request.full_refresh
        with self._timed("validation"):
            self._judging.judge_answers(survey, staged, told_until, full_refresh=full_refresh)

    def _is_done(self, survey: Survey) -> bool:
        """Returns whether the run has come to its end before, and its answers still stand."""
        row = self._earlier
        if row is None or row["outcome"] not in SUCCEEDED:
            return False
        # An attempt since may have been killed before the ledger said what it published.
        if not all(tells_of(row, commit) for commit in read_standing(self.tables, row["run_id"])):
            return False
        if not survey.count(*ASKED):
            return True
        # The same inputs make the same run: where they have changed and changed back, the run has
        # ended before, and another one may have published other answers since.
        staged = self._read_staged().join(survey.select(*ASKED), SAME_PRODUCT, "left_semi")
        return self._count_published(staged).withheld == 0

    def _stage(self, survey: Survey, scratch: str) -> None:
        """Stages what is not staged yet, and keeps how fast that was."""
        try:
            with self._timed("inference"):
                staged = self._stager.stage(survey, scratch)
        finally:
            self.summary.engine_loads = self._stager.engine_loads
        self._asked, self._is_resumed = staged.asked, staged.is_resumed
        seconds = self.summary.seconds
        if staged.reuse_s:
            seconds |= {
                "reuse": staged.reuse_s,
                "inference": round(seconds["inference"] - staged.reuse_s, 2),
            }
        self.summary.products_per_second = products_per_second(self._asked, seconds)

    def _read_staged(self) -> DataFrame:
        # What an earlier attempt has staged answers today's inputs too, so it counts from now.
        return read_attempt(self.tables, self.summary.run_id, self.inputs.attempt)

    def _publish(self, staged: DataFrame, survey: Survey) -> None:
        summary, counts = self.summary, self.summary.counts
        # Asked once more: inference may have taken hours, and a newer run, which had kept this one
        # from deleting, may have been taken back since.
        gone = self.inputs.count_gone(survey)
        refuse_cut_off(self.inputs, survey, gone)
        to_delete = count_to_delete(survey, gone)
        # For a run that only stages, too: a person looks at its notes before publishing.
        self._add_notes(survey)
        if not self.inputs.request.publish:
            has_work = counts["enriched"] or to_delete
            summary.outcome = Outcome.STAGED if has_work else Outcome.NOTHING_TO_DO
            return
        if counts["enriched"]:
            merged = self.tables.publish(
                partial(self._select_publishable, staged),
                summary.run_id,
                full_refresh=self.inputs.request.full_refresh,
                is_all_new=not (self._is_resumed or survey.count(State.AGAIN)),
            )
            counts |= count_fates(counts, merged)
            if counts["withheld"]:
                log.warning(
                    "%s answers are withheld: newer ones are published, runs of a later date have "
                    "seen a newer product table, or what was carried over has been taken back",
                    counts["withheld"],
                )
        if to_delete:
            vanished = survey.select(State.VANISHED)
            attempt = self.inputs.attempt
            counts["deleted"] = delete_gone(self.tables, vanished, attempt, summary.run_id)
        elif self._is_resumed and self.inputs.config.deletes_missing and not counts["vanished"]:
            counts["vanished"] = counts["deleted"] = self._count_untold_deletions()
        is_changed = counts["enriched"] or counts["deleted"]
        summary.outcome = Outcome.PUBLISHED if is_changed else Outcome.NOTHING_TO_DO

    def _add_notes(self, survey: Survey) -> None:
        notes = self.summary.validation["notes"]
        corrections = self.tables.read("attribute_corrections")
        if unknown := count_unknown(corrections, self.inputs.spec.attributes):
            notes.append(
                f"{unknown} corrections name an attribute or a label that the checkpoint does not "
                f"have: {self.tables.name('attribute_corrections')}"
            )
        kept = survey.count(State.VANISHED)
        if kept and survey.lost_ids and self.inputs.config.deletes_missing:
            notes.append(
                f"{kept:,} vanished products are kept: of {survey.lost_ids:,} rows the id cannot "
                "be told, which may be theirs. Put these right, and the next run deletes the others"
            )
        if survey.undecodable:
            notes.append(
                f"{survey.undecodable:,} rows of the product table hold U+FFFD, which stands for "
                "bytes that are no UTF-8; an id that does is none. Write the table in UTF-8, which "
                "a spreadsheet calls CSV UTF-8"
            )

    def _count_untold_deletions(self) -> int:
        """Returns how many rows the run has deleted that no row of the ledger counts.

        Those are since the last attempt that the ledger knows has ended. If that one failed, since
        it began: this attempt's row takes the place of its row.
        """
        row, since = read_run(self.tables, self.summary.run_id), None
        if row is not None:
            since = row["started_at" if row["outcome"] == Outcome.FAILED else "finished_at"]
        return count_deleted(self.tables, self.summary.run_id, since)

    def _count_published(self, staged: DataFrame) -> PublishedCounts:
        rows, full_refresh = self._select_publishable(staged), self.inputs.request.full_refresh
        return self.tables.count_published(rows, full_refresh=full_refresh)

    def _select_publishable(self, staged: DataFrame) -> DataFrame:
        behind = is_behind(self.tables, self.inputs.config, self.inputs.attempt)
        attributes = self.inputs.spec.attributes
        return select_publishable(self.tables, staged, attributes, is_behind=behind)

    def _write_ledger(self) -> None:
        summary = self.summary
        row = {
            "run_id": summary.run_id,
            "run_date": self.inputs.request.run_date,
            "outcome": summary.outcome or Outcome.FAILED,
            "started_at": self.inputs.started_at,
            "catalog": self.inputs.catalog.name,
            "catalog_version": self.inputs.catalog.version,
            "model_version": summary.model_version,
            **summary.counts,
            "asked": self._asked,
            "is_whole": self.inputs.request.limit is None,
            "seconds": summary.seconds,
            "error": summary.error,
        }
        checks = self._judging.list_checks(self.inputs.lineage(summary.run_id))
        ended_well = row["outcome"] in (*SUCCEEDED, Outcome.STAGED)
        is_all_judged = {check["suite"] for check in checks}.issuperset(get_args(Suite))
        is_put_right = ended_well and not is_all_judged and self._earlier is not None
        write_checks(self.tables, checks, summary.run_id, is_put_right=is_put_right)
        if not self._leaves_decision():
            write_run(self.tables, with_earlier_success(self.tables, row))

    def _leaves_decision(self) -> bool:
        """Returns whether this attempt has failed, and the answers of an earlier one were stopped.

        They stay blocked or taken back, as where this attempt is killed. One that fails while it
        publishes has got them past its gate.
        """
        if self.summary.outcome or has_passed_gate(self.summary.seconds):
            return False
        # Read anew: the run may have been taken back since this attempt began.
        row = read_run(self.tables, self.summary.run_id)
        return row is not None and row["outcome"] in (Outcome.BLOCKED, Outcome.ROLLED_BACK)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        log.info("%s ...", stage, extra={"stage": stage})
        try:
            yield
        finally:
            seconds = round(time.perf_counter() - begin, 2)
            self.summary.seconds[stage] = seconds
            log.info("%s: %s s", stage, seconds, extra={"stage": stage, "seconds": seconds})
