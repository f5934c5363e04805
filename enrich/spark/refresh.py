"""Refresh: from the product table to product_attributes; see `Refresh.run`.

Elsewhere: `encode.py` finds products that crash a worker; `publish.py` approves, discards and rolls
back; `runs.py` completes runs that were killed. The rules R1 to R13 are in
docs/adr/0001-encode-once.md.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from expectations.checks import Verdict
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from schemas.tables import (
    BROKEN,
    DUE,
    TO_ANSWER,
    VALIDATED,
    CheckOutcome,
    DiffKind,
    Op,
    Outcome,
    State,
    Status,
)

from enrich.config import ImageIdentity
from enrich.errors import (
    NothingPublished,
    TooManyFailures,
    ValidationFailed,
    describe_error,
)
from enrich.logs import bind_run
from enrich.metrics import write_running
from enrich.spark.answer import (
    AnswerCounts,
    count_candidates,
    explain_lost_labels,
    explain_unreadable,
    write_candidates,
    write_findings,
)
from enrich.spark.corrections import count_unknown
from enrich.spark.diff import (
    Diff,
    append_image_states,
    sample_images,
    save_diff,
)
from enrich.spark.encode import Encoder, select_holding
from enrich.spark.failures import explain_failure
from enrich.spark.inputs import (
    Inputs,
    count_deletable,
    explain_truncation,
    refuse_demo_among_products,
)
from enrich.spark.profile import describe_profile, profile_source, read_profile
from enrich.spark.publish import may_have_committed, publish
from enrich.spark.rules import (
    Run,
    find_full_refresh_start,
    is_superseded,
    list_latest_runs,
)
from enrich.spark.runs import (
    RunSummary,
    append_event,
    complete_intents,
    make_event,
    make_run_id,
    read_runs,
    supersede_waiting,
    warn_of_concurrent_runs,
)
from enrich.spark.session import name_jobs, tune_for_table_size
from enrich.spark.source import refuse_replaced
from enrich.spark.tables import Tables, temporary_folder
from enrich.unseen import SourceProfile

if TYPE_CHECKING:
    from expectations.gate import Gate

log = logging.getLogger(__name__)

# Above this share of rows without a usable id the input is checked although nothing is due.
_SUSPICIOUS_ID_SHARE = 0.02


@dataclass(slots=True)
class Refresh:
    """One refresh, on the driver. `summary` is complete when `run` ends or raises."""

    inputs: Inputs
    gate: "Gate"
    summary: RunSummary = field(default_factory=RunSummary)
    profile: SourceProfile | None = None
    _header: Run | None = None
    _runs: list[Run] = field(default_factory=list)
    _events: int = 0
    _saved: Diff | None = None
    _checks: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> RunSummary:
        """Bring product_attributes up to date with the product table.

        Raises:
            NothingPublished: a guard or the gate stopped the run; candidates wait for a person.
        """
        self._open()
        described = name_jobs(self.inputs.spark, f"run {self.summary.run_id}")
        temporary = temporary_folder(self.tables, self.inputs.config.temporary_folder)
        with described, temporary as folder, self._recording_end():
            compared = self._compare()
            with self._recording_images(compared):
                self._refuse_truncated(compared)
                self._check_input(compared)
                diff = self._save_diff(compared, folder)
            if self._has_nothing_to_do(diff):
                self._end_without_work(diff)
                return self.summary
            # Wrong settings of checks are refused before hours of encoding.
            self.gate.prepare()
            self._append(State.STARTED)
            encodings = self._encode(diff, folder)
            answered = self._answer(diff, encodings)
            # Of a run that is blocked below, no later run believes what it writes here.
            self._quarantine(diff, encodings if answered.unanswered else None)
            self._check_candidates(diff, answered)
            self._publish(diff, answered)
        return self.summary

    @property
    def tables(self) -> Tables:
        """Tables that the refresh writes."""
        return self.inputs.tables

    @property
    def header(self) -> Run:
        """Columns that all events of the run share."""
        assert self._header is not None
        return self._header

    def _open(self) -> None:
        """Create missing tables, complete open intents, and make the run's header."""
        inputs, request, spec = self.inputs, self.inputs.request, self.inputs.spec
        with self._timed("tables"):
            runs = read_runs(self.tables)
            # In a source with a profile, `model_version` has more at its end.
            if not any(run.model_version.startswith(spec.model_version) for run in runs):
                self._prepare_gate()
            refuse_demo_among_products(inputs, runs)
            self.tables.create_missing(inputs.config.table_layout)
            published = self.tables.read("product_attributes")
            tune_for_table_size(inputs.spark, inputs.source.products, published)
            self._runs = complete_intents(self.tables, runs)
            warn_of_concurrent_runs(self.tables, self._runs)
        self._use_profile(read_profile(self.tables, inputs.source.name, spec.encoder_version))
        self._header = header = self.inputs.make_header(make_run_id(request.run_date))
        self.summary.run_id = header.run_id
        self.summary.encoder_version = header.encoder_version
        bind_run(self.summary.run_id)

    def _prepare_gate(self) -> None:
        """Let the gate import what it needs while Java works: all will be answered anew."""

        def prepare() -> None:
            # The check itself raises what is wrong.
            with suppress(Exception):
                self.gate.prepare()

        threading.Thread(target=prepare, daemon=True).start()

    def _compare(self) -> Diff:
        """Diff the product table and the published rows."""
        with self._timed("diff"):
            own = self.header
            base = self.inputs.choose_base(own, self._runs)
            diff = self.inputs.diff(self._runs, own.attempt, base)
            if diff.not_compared and self._has_too_many_broken_rows(diff):
                # The gate has to see them among all rows.
                diff.rows.unpersist()
                diff = self.inputs.diff(self._runs, own.attempt)
            refuse_replaced(self.inputs.source)
            kind = DiffKind.CHANGES if diff.not_compared else DiffKind.FULL
            self._header, self.summary.diff = self.header._replace(diff=kind), kind
            self.summary.counts = count_diff(diff)
        if superseded := diff.count(Outcome.SUPERSEDED):
            log.warning(
                "products published by a newer run, which stay as they are: %s", f"{superseded:,}"
            )
        return diff

    @contextmanager
    def _recording_images(self, diff: Diff) -> Iterator[None]:
        """Append the pictures' states to `images` when the block ends, published or not.

        Not earlier: a commit to `images`, from which the diff was read, makes Spark compute a
        persisted diff again, and so inspect every picture again.
        """
        stopped = None
        try:
            yield
        except NothingPublished as error:
            stopped = error
        is_by_content = self.inputs.config.image_identity is ImageIdentity.CONTENT
        with self._timed("diff"):
            rows = (self._saved or diff).rows
            if diff.images_compared and not is_by_content:
                append_image_states(self.tables, rows, self.summary.run_id)
            rows.unpersist()
        if stopped is not None:
            raise stopped

    def _refuse_truncated(self, diff: Diff) -> None:
        if error := explain_truncation(self.inputs, diff, self._is_superseded()):
            raise TooManyFailures(error)

    def _check_input(self, diff: Diff) -> None:
        """Check the product table before hours of encoding."""
        if not (diff.count(Outcome.NEW, Outcome.CHANGED) or self._has_too_many_broken_rows(diff)):
            return
        with self._timed("input"):
            is_new = F.col("outcome").isin(Outcome.NEW, Outcome.CHANGED)
            usable = F.when(F.col("outcome") != Outcome.MALFORMED, F.col("product_id"))
            products = diff.rows.where(F.col("outcome") != Outcome.MISSING)
            products = products.withColumns({"product_id": usable, "is_new": is_new})
            if diff.not_compared:
                # Few among all rows, broken rows would be a large share of the compared ones.
                products = products.where(~F.col("outcome").isin(*BROKEN))
            images = sample_images(self.inputs.store, products.where("is_new"))
            verdict = self.gate.check_input(products, images)
            self._record_verdict(verdict)
        if not verdict.passed:
            raise ValidationFailed(self._explain(verdict.failures))

    def _has_too_many_broken_rows(self, diff: Diff) -> bool:
        tolerated = min(_SUSPICIOUS_ID_SHARE, self.gate.max_unusable_id_share) * diff.read
        return diff.count(*BROKEN) > tolerated

    def _has_nothing_to_do(self, diff: Diff) -> bool:
        return not (diff.count(*DUE) or self._count_deletable(diff))

    def _end_without_work(self, diff: Diff) -> None:
        self._quarantine(diff, None)
        self._add_notes(diff)
        level = logging.INFO if diff.read else logging.WARNING
        log.log(level, "nothing to do: %s", explain_nothing_to_do(diff))
        self._append(State.NOTHING_TO_DO)

    def _save_diff(self, diff: Diff, folder: str) -> Diff:
        """Write the diff down, if any of its rows is read again."""
        if self._has_nothing_to_do(diff) and not diff.count(*BROKEN):
            return diff
        with self._timed("diff"):
            self._saved = save_diff(diff, f"{folder}/diff")
            diff.rows.unpersist()
        return self._saved

    def _encode(self, diff: Diff, folder: str) -> DataFrame | None:
        """Encode contents without a valid encoding; return all valid ones; lazy."""
        if not diff.count(*TO_ANSWER):
            return None
        since = None
        if self.header.full_refresh:
            start = find_full_refresh_start(self.header.trigger, self.header.run_date, self._runs)
            since = min(start or self.header.started_at, self.header.started_at)
        version = self.tables.version("encodings")
        spec, config = self.inputs.spec, self.inputs.config
        encoder = Encoder(self.tables, self.summary.run_id, spec, config, since, version, folder)
        encoder.on_progress = partial(write_running, config.metrics_dir, config.database)
        try:
            with self._timed("encode"):
                encoded = encoder.encode(diff.rows)
        finally:
            self.summary.engine_loads = encoder.engine_loads
            self.summary.encoding = encoder.figures
        seconds = self.summary.seconds["encode"]
        if encoded.encoded and seconds:
            self.summary.products_per_second = round(encoded.encoded / seconds, 1)
        self.summary.counts |= {
            "encoded": encoded.encoded,
            "reused": encoded.reused,
            "images_opened": encoded.images_opened,
        }
        return select_holding(encoder.read(), spec.limits_digest, self.summary.run_id)

    def _answer(self, diff: Diff, encodings: DataFrame | None) -> AnswerCounts:
        """Write the candidates and count them."""
        if encodings is not None and self.profile is None:
            self._profile_source(diff, encodings)
        with self._timed("answer"):
            spec, deletes = self.inputs.spec, self._count_deletable(diff) > 0
            write_candidates(self.tables, self.header, spec, diff, encodings, deletes=deletes)
            found = count_candidates(self.tables, self.summary.run_id, diff, encodings)
        held_back = diff.count(Outcome.HELD_BACK)
        self.summary.counts |= {
            "answered": found.answered,
            "withheld": found.answered + held_back,
            "quarantined": diff.count(*BROKEN, Outcome.QUARANTINED) + found.unanswered,
            "abstained": found.abstained,
            "not_applicable": {a: count for a, count in found.not_applicable.items() if count},
        }
        return found

    def _profile_source(self, diff: Diff, encodings: DataFrame) -> None:
        """Profile an unknown source, and use the thresholds for it from here on."""
        spec = self.inputs.spec
        with self._timed("profile"):
            self._use_profile(profile_source(self.tables, self.header, spec, diff, encodings))
        self._header = self.header._replace(model_version=self.summary.model_version)

    def _use_profile(self, profile: SourceProfile | None) -> None:
        self.profile, self.inputs = profile, self.inputs.with_profile(profile)
        self.summary.model_version = self.inputs.spec.model_version
        self.summary.source_profile = None if profile is None else asdict(profile)

    def _quarantine(self, diff: Diff, encodings: DataFrame | None) -> None:
        if encodings is None and not diff.count(*BROKEN):
            return
        not_accepted = [run.run_id for run in self._runs if not run.is_accepted]
        with self._timed("quarantine"):
            limits = self.inputs.spec.limits_digest
            write_findings(self.tables, self.header, diff, encodings, limits, not_accepted)

    def _check_candidates(self, diff: Diff, answered: AnswerCounts) -> None:
        """Check the candidates by the guards and the gate."""
        failures = list(explain_unreadable(self.inputs.config, answered, self.tables))
        with self._timed("validation"):
            self.summary.validation["notes"] += explain_lost_labels(self.tables, self.header)
            rows = self.tables.read_run("candidates", self.summary.run_id)
            validated = _select_validated(rows)
            expected = answered.answered
            if diff.count(Outcome.RETRIED, Outcome.REVISED):
                expected = validated.count()
            if expected:
                # Only rows with the content of the published ones are compared with these.
                published = self._read_published() if diff.count(Outcome.REANSWERED) else None
                failures += self._run_gate(validated, expected, published)
            # With --follow: a few answers of each run are judged together with the last ones.
            if 0 < expected < self.inputs.request.window:
                recent = self._add_recent_answers(validated, expected)
                failures += self._run_gate(recent, recent.count(), None, is_window=True)
                recent.unpersist()
        self._add_notes(diff)
        if failures:
            by_gate = self.summary.validation["outcome"] == "failed"
            kind = ValidationFailed if by_gate else TooManyFailures
            raise kind(self._explain(failures))

    def _read_published(self) -> DataFrame:
        # An answer without the picture may well differ from today's.
        seen = F.col("status") != Status.IMAGE_UNREADABLE
        return self.tables.read("product_attributes").where(seen)

    def _run_gate(
        self,
        rows: DataFrame,
        expected: int,
        published: DataFrame | None,
        *,
        is_window: bool = False,
    ) -> Sequence[str]:
        """Return the failures that the gate finds in answers."""
        from enrich.spark.audit import read_audited_labels

        model_version = self.header.model_version
        verdict = self.gate.check_candidates(
            rows,
            published,
            expected,
            is_unseen=self.profile is not None and self.profile.is_unseen,
            audited=() if is_window else read_audited_labels(self.tables, model_version),
        )
        # Checks of earlier answers are in label_quality already.
        self._record_verdict(verdict, only_failed=is_window)
        return verdict.failures

    def _add_recent_answers(self, validated: DataFrame, expected: int) -> DataFrame:
        """Return answers of this run and the latest ones of other products, persisted."""
        window = self.inputs.request.window
        # Some of their products are answered anew, by this run or by one another.
        accepted = list_latest_runs(self._runs, answers=2 * window)
        of_runs = self.tables.read("candidates").where(F.col("run_id").isin(accepted))
        earlier = _select_validated(of_runs)
        same = earlier.where(F.col("model_version") == self.header.model_version)
        others = same.join(validated.select("product_id"), "product_id", "left_anti")
        of_product = Window.partitionBy("product_id").orderBy(F.desc("enriched_at"), "run_id")
        newest = others.withColumn("_place", F.row_number().over(of_product)).where("_place = 1")
        last = newest.drop("_place").orderBy(F.desc("enriched_at"), "product_id")
        return validated.unionByName(last.limit(window - expected)).persist()

    def _publish(self, diff: Diff, answered: AnswerCounts) -> None:
        """Publish the candidates, or leave them for a person."""
        if not (answered.answered or self._count_deletable(diff)):
            unread = f"{diff.count(*DUE):,}"
            log.warning("nothing to publish: due products that cannot be read: %s", unread)
            self._append(State.NOTHING_TO_DO)
            return
        if not self.inputs.request.publish:
            self._append(State.STAGED)
            return
        with self._timed("publish"):
            intent = self._append(State.PUBLISHING)
            event = publish(self.tables, intent, self.inputs.spec.attributes)
        counts = ("published", "deleted", "withheld")
        self.summary.counts |= {name: event[name] for name in counts}
        unchanged = self.summary.counts["read"] - self.summary.counts["quarantined"]
        withheld = self.summary.counts["withheld"]
        self.summary.counts["unchanged"] = unchanged - event["published"] - withheld
        self.summary.table_versions["product_attributes"] = event["published_version"]
        self.summary.outcome = State.PUBLISHED
        if withheld:
            log.warning(
                "answers withheld because of a newer run or a rollback: %s", f"{withheld:,}"
            )

    def _is_superseded(self) -> bool:
        return is_superseded(self.header.attempt, self._runs)

    def _count_deletable(self, diff: Diff) -> int:
        return count_deletable(self.inputs, diff, self._is_superseded())

    def _append(self, state: State) -> dict[str, Any]:
        """Append the event that enters a state."""
        self.summary.outcome = state
        event = make_event(self.header, state, self.summary, self._events)
        append_event(self.tables, event)
        self._events += 1
        return event

    def _record_verdict(self, verdict: Verdict, *, only_failed: bool = False) -> None:
        """Keep a verdict for the summary and label_quality."""
        before = self.summary.validation
        self.summary.validation = {
            # If there are two verdicts on candidates, both count.
            "outcome": "passed" if verdict.passed and not before.get("failures") else "failed",
            "baseline": verdict.baseline,
            "notes": [*before["notes"], *verdict.notes],
            "failures": [*before.get("failures", ()), *verdict.failures],
        }
        lineage = {
            "run_id": self.header.run_id,
            "run_date": self.header.run_date,
            "model_version": self.header.model_version,
            "baseline": verdict.baseline,
        }
        checks = [
            c for c in verdict.quality if not only_failed or c["outcome"] == CheckOutcome.FAIL
        ]
        self._checks += [{**lineage, **check} for check in checks]

    def _explain(self, failures: Sequence[str]) -> str:
        then = "Correct the product table, or the limit that is named here, and run again."
        if self.summary.counts.get("answered"):
            then = (
                f"The answers wait in {self.tables.name('candidates')}. Look at them, then publish "
                f"them by --publish-run {self.summary.run_id} or discard them by --drop-run "
                f"{self.summary.run_id}, with a --reason."
            )
        return f"Nothing was published: {'; '.join(failures)}. {then}"

    def _add_notes(self, diff: Diff) -> None:
        notes = self.summary.validation["notes"]
        if self.profile is not None and self.profile.is_unseen:
            notes.append(describe_profile(self.profile))
        corrections = self.tables.read("attribute_corrections")
        if unknown := count_unknown(corrections, self.inputs.spec.attributes):
            notes.append(
                f"{self.tables.name('attribute_corrections')} has corrections that are not used: "
                f"found {unknown} of attributes or labels that the checkpoint does not have"
            )
        kept = diff.count(Outcome.MISSING)
        if kept and diff.lost_ids and self.inputs.config.deletes_missing:
            notes.append(
                f"{kept:,} missing products are kept: the id of {diff.lost_ids:,} rows cannot be "
                "read, and may be theirs"
            )
        if held := diff.count(Outcome.HELD_BACK):
            notes.append(
                f"{held:,} products are held back: a rolled-back run had published their content. "
                "They follow when content or checkpoint changes, or --publish-run releases the run"
            )
        if diff.out_of_reach:
            notes.append(
                f"{diff.out_of_reach:,} pictures are out of reach. What is published of those that "
                "an earlier run has seen stays; other products are answered by their texts"
            )
        if diff.undecodable:
            notes.append(
                f"{diff.undecodable:,} rows of the product table hold U+FFFD, which stands for "
                "bytes that are not UTF-8. Write the table in UTF-8"
            )

    @contextmanager
    def _recording_end(self) -> Iterator[None]:
        """Write the last event of a blocked or failed run, and the checks of every run."""
        try:
            yield
        except NothingPublished as error:
            self.summary.error = str(error)
            self._append(State.BLOCKED)
            raise
        except Exception as error:
            self.summary.error = describe_error(explain_failure(error) or error)
            run_id, since = self.summary.run_id, self.header.started_at
            is_publishing = self.summary.outcome == State.PUBLISHING
            if is_publishing and may_have_committed(self.tables, run_id, "MERGE", since):
                # The next run completes the intent from the table's history.
                self.summary.outcome = State.FAILED
            else:
                self._append(State.FAILED)
            raise
        finally:
            if self._checks:
                rows = self.tables.to_rows("label_quality", self._checks)
                self.tables.append("label_quality", rows, self.summary.run_id)
            if self.summary.outcome != State.FAILED:
                supersede_waiting(self.tables, self.header, self._runs)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Time a stage, whose name Spark shows beside the stage's jobs."""
        begin = time.perf_counter()
        try:
            run = f"run {self.summary.run_id}: " if self.summary.run_id else ""
            with name_jobs(self.inputs.spark, f"{run}{stage}", group=stage):
                yield
        finally:
            spent = self.summary.seconds.get(stage, 0.0) + time.perf_counter() - begin
            self.summary.seconds[stage] = round(spent, 2)


def _select_validated(candidates: DataFrame) -> DataFrame:
    """Return the candidates that the gate checks (R8); lazy."""
    return candidates.where(F.col("reason").isin(*VALIDATED) & (F.col("op") == Op.UPSERT))


def count_diff(diff: Diff) -> dict[str, Any]:
    """Return the counts before any answer: all due products are withheld."""
    due = diff.count(*DUE)
    return {
        "read": diff.read,
        "due": due,
        "encoded": 0,
        "reused": 0,
        "answered": 0,
        "published": 0,
        "unchanged": diff.count(Outcome.UNCHANGED, Outcome.SUPERSEDED),
        "withheld": due + diff.count(Outcome.HELD_BACK),
        "quarantined": diff.count(*BROKEN, Outcome.QUARANTINED),
        "missing": diff.count(Outcome.MISSING),
        "deleted": 0,
        "images_opened": 0,
        "images_compared": diff.images_compared,
        "abstained": {},
    }


def explain_nothing_to_do(diff: Diff) -> str:
    """Return why a run has nothing to do, for people."""
    if not diff.read:
        return "the product table has 0 rows"
    parts = [
        (Outcome.UNCHANGED, "are published as they are now"),
        (Outcome.SUPERSEDED, "were published by a newer run"),
        (Outcome.HELD_BACK, "are held back by a rollback"),
        (Outcome.QUARANTINED, "could not be read before and have not changed"),
    ]
    reasons = [
        f"{number:,} products {text}" for outcome, text in parts if (number := diff.count(outcome))
    ]
    if broken := diff.count(*BROKEN):
        reasons.append(f"{broken:,} rows are broken")
    if missing := diff.count(Outcome.MISSING):
        reasons.append(
            f"{missing:,} published products are no longer in the product table and stay"
        )
    return "; ".join(reasons)
