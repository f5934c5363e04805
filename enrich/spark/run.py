"""One refresh from pinned snapshot to published rows.

Validation comes in as a function, so that this package needs no Great Expectations.
"""

import hashlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.errors import NothingPublished, TooManyFailures, ValidationFailed
from enrich.images import ImageStore
from enrich.spark.catalog import CatalogSnapshot, quote_part
from enrich.spark.quarantine import NO_MODALITY, select_new_quarantine
from enrich.spark.records import RunRequest, RunSummary, StagedRows, Verdict
from enrich.spark.survey import INPUT_FIELDS, State, Survey, survey_products
from enrich.spark.tables import OutputTables, select_answered
from enrich.spark.udf import Loads, build_answer_udf, build_content_hash_udf
from enrich.spec import BuildsEngine

log = logging.getLogger(__name__)

# Shares of fewer rows say little: one bad product of three is no broken catalog.
MIN_ROWS_TO_ENFORCE = 200


Validate = Callable[[StagedRows], Verdict]


class Refresh:
    """One refresh; runs on the driver. `summary` is whole whenever `run` ends or raises."""

    def __init__(
        self,
        spark: SparkSession,
        config: JobConfig,
        request: RunRequest,
        spec: BuildsEngine,
        store: ImageStore,
        catalog: CatalogSnapshot,
    ) -> None:
        self.spark = spark
        self.config = config
        self.request = request
        self.spec = spec
        self.store = store
        self.catalog = catalog
        self.tables = OutputTables(spark, config.database, tuple(spec.attributes))
        self.summary = RunSummary(model_version=spec.model_version)
        self.started_at = datetime.now(UTC)

    def run(self, validate: Validate) -> RunSummary:
        """Brings the published table up to date with the catalog.

        Raises:
            NothingPublished: validation failed or too many products could not be read. Staged
                rows, checks and the ledger's row are written by then.
        """
        with self._timed("tables"):
            self.tables.create_missing()
        scratch = f"{self.tables.location()}/_scratch/{uuid.uuid4().hex}"
        try:
            with self._timed("survey"):
                survey = self._survey(scratch)
                self.summary.run_id = self.request.run_id or self._derive_run_id(survey)
                is_staged = self._is_staged(survey)
            if is_staged and self._is_done():
                self._report_nothing_new(survey)
            else:
                self._enrich(survey, validate, is_staged=is_staged)
        finally:
            self._remove(scratch)
        return self.summary

    def _enrich(self, survey: Survey, validate: Validate, *, is_staged: bool) -> None:
        if not is_staged:
            with self._timed("inference"):
                self._stage(survey)
        staged = self._read_staged()
        with self._timed("quarantine"):
            self._count(survey, staged, resumed=is_staged)
            self._quarantine(survey, staged)
        try:
            self._refuse_many_failures()
            with self._timed("validation"):
                self._validate(select_answered(staged), validate)
            with self._timed("publish"):
                self._publish(staged)
        except NothingPublished as error:
            self.summary.outcome = "blocked"
            self.summary.error = str(error)
            raise
        finally:
            with self._timed("ledger"):
                self._write_ledger()

    def _survey(self, scratch: str) -> Survey:
        products = self.catalog.products
        if self.request.limit is not None:
            with_id = products.where(F.col("product_id").isNotNull())
            products = with_id.orderBy("product_id").limit(self.request.limit)
        content_hash = build_content_hash_udf(self.store, self.config.image_identity)
        hashed = products.withColumn("content_hash", content_hash(*INPUT_FIELDS))
        same_model = F.col("model_version") == self.spec.model_version
        known = F.lit(False) if self.request.full_refresh else same_model
        return survey_products(
            hashed,
            self.tables.read("product_attributes").where(known),
            self.tables.read("quarantine").where(known & (F.col("reason") == NO_MODALITY)),
            scratch,
        )

    def _derive_run_id(self, survey: Survey) -> str:
        """Returns the same id for the same date, inputs and model: what makes a rerun a rerun."""
        request = self.request
        inputs = (self.catalog.name, self.spec.model_version, request.limit, request.full_refresh)
        digest = hashlib.sha256(repr((inputs, survey.fingerprint)).encode()).hexdigest()
        return f"{request.run_date:%Y%m%d}-{digest[:10]}"

    def _is_staged(self, survey: Survey) -> bool:
        """Returns whether this run staged an answer to all that is pending, now or before."""
        same_answer = ["product_id", "content_hash"]
        staged = self._read_staged().where(F.col("model_version") == self.spec.model_version)
        missing = survey.pending.join(staged, same_answer, "left_anti")
        return missing.isEmpty()

    def _is_done(self) -> bool:
        run = self.tables.read("enrichment_runs").where(F.col("run_id") == self.summary.run_id)
        row = run.select("outcome").first()
        return row is not None and row["outcome"] in ("published", "nothing_to_do")

    def _report_nothing_new(self, survey: Survey) -> None:
        self.summary.outcome = "nothing_to_do"
        unreadable = (
            survey.pending.join(
                self._read_staged().where(F.col("modalities").isNull()), "product_id", "left_semi"
            ).count()
            if survey.counts[State.PENDING]
            else 0
        )
        quarantined = unreadable + sum(
            survey.counts[s] for s in (State.QUARANTINED, State.NULL_ID, State.DUPLICATE_ID)
        )
        self._set_counts(survey.read, answered=0, unchanged=survey.read - quarantined, abstained={})

    def _stage(self, survey: Survey) -> None:
        loads = self.spark.sparkContext.accumulator({}, Loads())
        answer = build_answer_udf(self.spec, loads)
        answered = (
            survey.pending.repartition(self._tasks(survey.counts[State.PENDING]))
            .withColumn("answer", answer("product_id", *INPUT_FIELDS))
            .select("product_id", "content_hash", "answer.*", *self._lineage())
        )
        self.tables.replace_run("staged_attributes", answered, self.summary.run_id)
        self.summary.engine_loads = dict(loads.value)

    def _tasks(self, products: int) -> int:
        """Returns the task count: from the work, not from the product table's file layout."""
        enough_for_a_task = self.config.batch_size
        cores = self.spark.sparkContext.defaultParallelism
        return max(
            math.ceil(products / self.config.products_per_task),
            min(cores, math.ceil(products / enough_for_a_task)),
        )

    def _lineage(self) -> list[Column]:
        return [
            F.lit(self.spec.model_version).alias("model_version"),
            F.lit(self.summary.run_id).alias("run_id"),
            F.lit(self.request.run_date).alias("run_date"),
            # The run's start, not each row's: a repeated task writes the same row.
            F.lit(self.started_at).alias("enriched_at"),
        ]

    def _read_staged(self) -> DataFrame:
        staged = self.tables.read("staged_attributes")
        return staged.where(F.col("run_id") == self.summary.run_id)

    def _count(self, survey: Survey, staged: DataFrame, *, resumed: bool) -> None:
        abstained = [
            F.count_if(F.col("modalities").isNotNull() & F.col(quote_part(a)).isNull()).alias(a)
            for a in self.spec.attributes
        ]
        answered = F.count("modalities").alias("answered")
        found = staged.agg(F.count("*").alias("staged"), answered, *abstained).first()
        row: dict[str, int] = found.asDict() if found else {}
        unchanged = survey.counts[State.UNCHANGED]
        if resumed:
            # An earlier attempt at this run had merged its rows before it ended.
            rows = survey.rows.where(F.col("state") == State.UNCHANGED)
            unchanged -= rows.join(staged, ["product_id", "content_hash"], "left_semi").count()
        self._set_counts(
            survey.read,
            pending=row["staged"],
            answered=row["answered"],
            unchanged=unchanged,
            abstained={a: row[a] for a in self.spec.attributes},
        )

    def _set_counts(
        self,
        read: int,
        *,
        answered: int,
        unchanged: int,
        abstained: dict[str, int],
        pending: int = 0,
    ) -> None:
        self.summary.counts = {
            "read": read,
            "pending": pending,
            "enriched": answered,
            "published": 0,
            "unchanged": unchanged,
            "quarantined": read - unchanged - answered,
            "withheld": answered,
            "abstained": abstained,
        }
        seconds = self.summary.seconds.get("inference")
        if seconds and pending:
            self.summary.products_per_second = round(pending / seconds, 1)

    def _quarantine(self, survey: Survey, staged: DataFrame) -> None:
        before = self.tables.read("quarantine").where(F.col("run_id") != self.summary.run_id)
        new = select_new_quarantine(survey, staged, before).select("*", *self._lineage()[:3])
        if not new.isEmpty():
            self.tables.replace_run("quarantine", new, self.summary.run_id)

    def _refuse_many_failures(self) -> None:
        pending, answered = self.summary.counts["pending"], self.summary.counts["enriched"]
        allowed = self.config.max_quarantined_share
        if pending >= MIN_ROWS_TO_ENFORCE and (share := 1 - answered / pending) > allowed:
            raise TooManyFailures(
                f"{share:.1%} of {pending:,} pending products could not be read, allowed are "
                f"{allowed:.1%} (max_quarantined_share). Nothing was published; the reasons are in "
                f"{self.tables.name('quarantine')}: check the image root and its permissions"
            )

    def _validate(self, answered: DataFrame, validate: Validate) -> None:
        count = self.summary.counts["enriched"]
        if count == 0:
            return
        request, summary = self.request, self.summary
        verdict = validate(StagedRows(summary.run_id, request.run_date, answered, count))
        summary.report = verdict.report
        summary.validation = {
            "outcome": "passed" if verdict.passed else "failed",
            "baseline": verdict.baseline,
            "notes": list(verdict.notes),
            "failures": list(verdict.failures),
        }
        lineage = {
            "run_id": summary.run_id,
            "run_date": request.run_date,
            "model_version": summary.model_version,
            "baseline": verdict.baseline,
        }
        self._replace_rows("label_quality", [{**lineage, **check} for check in verdict.quality])
        if not verdict.passed:
            raise ValidationFailed(
                f"validation failed, nothing was published: {'; '.join(verdict.failures)}. The "
                f"staged rows are in {self.tables.name('staged_attributes')} under run_id "
                f"'{summary.run_id}', the checks in {self.tables.name('label_quality')}"
            )

    def _publish(self, staged: DataFrame) -> None:
        counts = self.summary.counts
        if not self.request.publish:
            self.summary.outcome = "staged"
            return
        if counts["enriched"]:
            self.tables.publish(
                select_answered(staged),
                self.summary.run_id,
                full_refresh=self.request.full_refresh,
            )
        counts["published"], counts["withheld"] = counts["enriched"], 0
        self.summary.outcome = "published" if counts["pending"] else "nothing_to_do"

    def _write_ledger(self) -> None:
        summary = self.summary
        row = {
            "run_id": summary.run_id,
            "run_date": self.request.run_date,
            "outcome": summary.outcome or "failed",
            "started_at": self.started_at,
            "finished_at": datetime.now(UTC),
            "catalog": self.catalog.name,
            "catalog_version": self.catalog.version,
            "model_version": summary.model_version,
            **summary.counts,
            "seconds": summary.seconds,
            "error": summary.error,
        }
        self._replace_rows("enrichment_runs", [row])

    def _replace_rows(self, table: str, rows: list[dict[str, Any]]) -> None:
        # Nullable as far as Spark knows; Delta checks NOT NULL on writing.
        schema = self.tables.read(table).schema
        ordered = [tuple(row.get(name) for name in schema.names) for row in rows]
        frame = self.spark.createDataFrame(ordered, schema).coalesce(1)
        self.tables.replace_run(table, frame, self.summary.run_id)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        log.info("%s ...", stage)
        try:
            yield
        finally:
            self.summary.seconds[stage] = round(time.perf_counter() - begin, 2)

    def _remove(self, folder: str) -> None:
        jvm: Any = self.spark.sparkContext._jvm
        path = jvm.org.apache.hadoop.fs.Path(folder)
        path.getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration()).delete(path, True)
