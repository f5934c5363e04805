"""Main job: enrich a product table.

    spark-submit jobs/enrich_catalog.py
    spark-submit jobs/enrich_catalog.py --config shop.yaml
    spark-submit jobs/enrich_catalog.py --config shop.yaml --publish-run RUN_ID --reason "..."

The last line on standard output is one JSON object. Exit codes: 0 published, staged, discarded,
nothing to do or a dry run, 2 wrong configuration, input or checkpoint, 3 nothing was published, 1
anything else.
"""

import dataclasses
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from enrich.calibration import list_never_answered
from enrich.classifiers.manifest import Manifest, fetch_manifest, list_changes
from enrich.cli import Given, SummaryOption, common_options, run_command, written_outcome
from enrich.cli import Outcome as Written
from enrich.config import DEMO_CATALOG, DEMO_FOLDER, Follow, JobConfig, home
from enrich.engine.spec import (
    OwnSettings,
    build_spec,
    locate_checkpoint,
    name_model_version,
    published_labels,
)
from enrich.errors import ConfigError, NothingPublished
from enrich.images.store import ImageStore
from enrich.logs import LogFormat, report_error, start_logging
from enrich.metrics import recorded, write_metrics
from enrich.places import names_in
from enrich.spark.console import show_run
from enrich.spark.encode import refuse_impossible_executors
from enrich.spark.failures import explain_failure
from enrich.spark.inputs import Inputs, Request
from enrich.spark.preflight import check_executors
from enrich.spark.publish import approve, discard
from enrich.spark.refresh import Refresh
from enrich.spark.runs import RunSummary, read_event, summarise
from enrich.spark.session import open_session, submitted_settings, tune_for_table_size
from enrich.spark.source import Source, open_image_store, open_source
from enrich.spark.tables import Tables, published_attributes
from expectations.baseline import (
    LabelBaseline,
    carry_over,
    load_baseline,
    refuse_unknown_labels,
)
from expectations.gate import Gate

# Airflow's run ids fit; quotes and slashes do not.
_TRIGGER = re.compile(r"[A-Za-z0-9._:+~-]{1,250}")

log = logging.getLogger("enrich")


Reason = Annotated[
    str | None, typer.Option(help="Why, kept in run_events. A blocked run needs a reason.")
]
Format = Annotated[
    LogFormat | None, typer.Option(help="Log lines for people, or one JSON object a line.")
]
WaitingRun = Annotated[str, typer.Option(metavar="RUN", help="The run's id, or its trigger.")]


_COMMON = common_options("catalog", "image_root", "database", "checkpoint")


@_COMMON
def main(
    given: Given,
    run_date: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Logical date of the run (default: today, UTC)."),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(help="The run's trigger: what started it, such as a scheduler's run id."),
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Encode and answer every product again.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=2**31 - 1, help="Only the first N rows by product id."),
    ] = None,
    no_publish: Annotated[
        bool,
        typer.Option("--no-publish", help="Stop after validation; the candidates wait."),
    ] = False,
    publish_run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only publish the candidates of this run."),
    ] = None,
    drop_run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Only discard the candidates of this run."),
    ] = None,
    reason: Reason = None,
    follow: Annotated[
        Follow | None,
        typer.Option(help="Run again after each commit: until there are no more, or without end."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what a run would do and how long; write nothing."),
    ] = False,
    summary: SummaryOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the settings and all that they name.")
    ] = False,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="With --check: only check what Spark's executors see."),
    ] = False,
    log_format: Format = None,
) -> None:
    """Enrich a product table with color, pattern and style."""
    if log_format is not None:
        start_logging(log_format)
    of_a_refresh = {
        "--run-date": run_date,
        "--run-id": run_id,
        "--full-refresh": full_refresh,
        "--limit": limit,
        "--no-publish": no_publish,
        "--follow": follow,
        "--dry-run": dry_run,
    }
    if check or cluster:
        from jobs.check_settings import main as check_settings

        decisions = {"--publish-run": publish_run, "--drop-run": drop_run, "--reason": reason}
        if others := list_given({**of_a_refresh, **decisions, "--summary": summary}):
            raise ConfigError(
                f"--check only checks settings: found {', '.join(others)}, which have no effect "
                "with it. Leave them out."
            )
        check_settings(**vars(given), cluster=cluster)
        return
    with written_outcome(summary, explain_failure) as outcome:
        settings = given.read(log_format=log_format)
        start_logging(settings.log_format)
        decision = choose_decision(publish_run, drop_run, reason, of_a_refresh)
        scores = list[str]()
        if decision is not None:
            ended = decide_run(settings, given, decision)
        else:
            request = Request(
                run_date=choose_run_date(run_date),
                trigger=check_trigger(run_id),
                full_refresh=full_refresh,
                limit=limit,
                publish=not no_publish,
            )
            if follow is not None:
                refuse_to_follow(of_a_refresh)
                ended = follow_catalog(settings, given, outcome, follow)
                raise typer.Exit(ended.exit_code)
            if dry_run:
                from enrich.spark.dry_run import plan_refresh, show_plan

                manifest = fetch_manifest(settings.checkpoint)
                # A baseline that does not fit would stop the refresh, and so it stops the plan.
                load_label_baseline(settings, manifest)
                outcome.summary = plan_refresh(open_inputs(settings, request, manifest))
                show_plan(outcome.summary)
                return
            # A run that fails has an id to be found by.
            outcome.summary = started = RunSummary()
            with recorded(settings.metrics_dir, settings.database, started):
                ended = refresh_catalog(settings, given, request, started)
            if settings.catalog == DEMO_CATALOG and ended.summary.counts.get("published"):
                scores = score_demo(ended.tables)
        outcome.summary = ended.summary
        # After all else that may log: spark-submit sends standard error to standard output, where
        # the JSON line must be last.
        show_run(ended.tables, ended.summary, scores)
        raise typer.Exit(ended.exit_code)


def _decision_command(flag: str, says: str) -> Callable[..., None]:
    """Return the command that decides about a run, by a flag of `main`."""

    @_COMMON
    def decide(
        given: Given,
        run_id: WaitingRun,
        reason: Reason = None,
        summary: SummaryOption = None,
        log_format: Format = None,
    ) -> None:
        told = {flag: run_id, "reason": reason, "summary": summary, "log_format": log_format}
        main(**vars(given), **told)

    decide.__doc__ = f"{says} Give the other flags that the run had."
    return decide


approve_run = _decision_command("publish_run", "Publish a waiting run's candidates.")
discard_run = _decision_command("drop_run", "Discard a waiting run's candidates.")


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """Result of a run."""

    tables: Tables
    summary: RunSummary
    exit_code: int
    source: Source | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Decision of a person about a waiting run."""

    run: str
    is_discard: bool
    reason: str | None


def list_given(flags: Mapping[str, object]) -> list[str]:
    """Return the flags that are on the command line."""
    return [flag for flag, value in flags.items() if value not in (False, None)]


def choose_decision(
    publish_run: str | None,
    drop_run: str | None,
    reason: str | None,
    of_a_refresh: Mapping[str, object],
) -> Decision | None:
    """Return the flags' decision about a run, None if they request a refresh."""
    # An empty id, from a variable that is not set, must not start a refresh.
    run = drop_run if publish_run is None else publish_run
    if run is None:
        if reason is not None:
            raise ConfigError("--reason goes with --publish-run or --drop-run.")
        return None
    if given := list_given(of_a_refresh):
        raise ConfigError(
            f"{', '.join(given)} belong to a refresh: --publish-run and --drop-run decide about a "
            "run as it is. Leave them out."
        )
    if publish_run is not None and drop_run is not None:
        raise ConfigError("--publish-run and --drop-run exclude each other.")
    reason = reason and reason.strip()
    if drop_run is not None and not reason:
        raise ConfigError('Why is the run discarded? Expected --reason "...".')
    return Decision(run, drop_run is not None, reason or None)


def check_trigger(trigger: str | None) -> str | None:
    """Return the trigger of a run; refuse one that is not safe in SQL and file names."""
    if trigger is not None and not _TRIGGER.fullmatch(trigger):
        raise ConfigError(
            f"--run-id {trigger!r} is not usable: expected up to 250 letters, digits or ._:+~-"
        )
    return trigger


def choose_run_date(given: datetime | None) -> date:
    """Return the logical date: as given, else today."""
    if given is not None and given.year < 1970:
        raise ConfigError(f"--run-date {given:%Y-%m-%d} is before 1970. Is it a mistake?")
    now = datetime.now(UTC)
    # Its rows would count as newer than those of all runs until that day. Tomorrow is allowed,
    # because it has begun in some time zone.
    if given is not None and given.date() > now.date() + timedelta(days=1):
        raise ConfigError(f"--run-date {given:%Y-%m-%d} is in the future: today is {now:%Y-%m-%d}.")
    return (given or now).date()


def refresh_catalog(
    settings: JobConfig,
    given: Given,
    request: Request,
    summary: RunSummary,
    followed_in: SparkSession | None = None,
    *,
    is_first: bool = True,
) -> Ended:
    """Run one refresh and write its page; check settings and inputs first.

    `followed_in`: the session in which refreshes follow the product table. Its executors are
    checked by the first one.
    """
    manifest = fetch_manifest(settings.checkpoint)
    baseline = load_label_baseline(settings, manifest)
    inputs = open_inputs(settings, request, manifest, followed_in)
    if followed_in is not None:
        from enrich.spark.follow import refuse_without_feed

        refuse_without_feed(inputs.source)
    if is_first:
        check_executors(inputs, locate_checkpoint(settings))
    exit_code = 0
    never = list_never_answered(inputs.spec.thresholds)
    gate = Gate(settings.validation, inputs.spec.attributes, baseline, never)
    refresh = Refresh(inputs, gate, summary)
    try:
        refresh.run()
    except NothingPublished as error:
        report_error(error)
        exit_code = error.exit_code
    record_end(
        *(inputs.tables, refresh.summary, manifest, settings, given, baseline),
        lambda: (inputs.source, inputs.store),
    )
    return Ended(inputs.tables, refresh.summary, exit_code, inputs.source)


def refuse_to_follow(flags: Mapping[str, object]) -> None:
    """Raise ConfigError for flags that are about one run."""
    if others := [flag for flag in list_given(flags) if flag != "--follow"]:
        raise ConfigError(
            f"--follow makes many runs, of the newest date each: found {', '.join(others)}, which "
            "belong to one run. Leave them out."
        )


def follow_catalog(settings: JobConfig, given: Given, outcome: Written, how: Follow) -> Ended:
    """Run a refresh, and another one after commits to its table; return the last one.

    Each run writes its page, its metrics and its JSON line.
    """
    from enrich.spark.follow import Stopped
    from enrich.spark.follow import follow as follow_changes

    ended: list[Ended] = []
    # Once, and not by the runs: those after the first are made in a thread of the stream's.
    spark = open_session("enrich_catalog")

    def run() -> Source:
        request = Request(choose_run_date(None), window=settings.follow_window)
        outcome.summary = started = RunSummary()
        with recorded(settings.metrics_dir, settings.database, started):
            ended[:] = [
                refresh_catalog(settings, given, request, started, spark, is_first=not ended)
            ]
        show_run(ended[0].tables, ended[0].summary, is_last=bool(ended[0].exit_code))
        if ended[0].exit_code or ended[0].source is None:
            raise Stopped
        return ended[0].source

    with suppress(Stopped):
        follow_changes(run, how)
    return ended[0]


def open_inputs(
    settings: JobConfig, request: Request, manifest: Manifest, spark: SparkSession | None = None
) -> Inputs:
    """Open everything that a refresh depends on, a session too where there is none."""
    spark = spark or open_session("enrich_catalog")
    # Until sizes are known: opening a table is faster without compiled queries.
    tune_for_table_size(spark)
    refuse_impossible_executors(settings.gpu_executors, submitted_settings(spark))
    location = settings.catalog if settings.catalog != DEMO_CATALOG else write_demo()
    source, store = open_both(spark, location, settings)
    spec = build_spec(settings, manifest, store.root)
    return Inputs(spark, settings, request, spec, store, source)


def check_cluster(given: Given) -> str:
    """Check that executors see what the driver sees, and return the result."""
    settings = given.read()
    request = Request(run_date=choose_run_date(None))
    inputs = open_inputs(settings, request, fetch_manifest(settings.checkpoint))
    asked = check_executors(inputs, locate_checkpoint(settings))
    if not asked:
        return "tasks run on this machine alone: there is nothing to prove"
    return f"{asked} executors see what the driver sees"


def open_both(spark: SparkSession, location: str, settings: JobConfig) -> tuple[Source, ImageStore]:
    """Return the product table at a location, and the store of its images."""
    source = open_source(spark, location, settings.columns)
    return source, open_image_store(source, settings)


def decide_run(settings: JobConfig, given: Given, decision: Decision) -> Ended:
    """Publish or discard the candidates of an earlier run, and write its page anew."""
    manifest = fetch_manifest(settings.checkpoint)
    # A run may be discarded because the checkpoint, and so the baseline, has been replaced.
    baseline = None if decision.is_discard else load_label_baseline(settings, manifest)
    labels, begun_at = published_labels(settings, manifest), datetime.now(UTC)
    spark = open_session("enrich_catalog")
    tables = Tables(spark, settings.database, tuple(labels))
    tables.require("run_events")
    if decision.is_discard:
        assert decision.reason is not None
        event = discard(tables, decision.run, decision.reason)
    else:
        version = name_model_version(manifest, settings.target_precision, OwnSettings.of(settings))
        event = approve(tables, decision.run, decision.reason, labels, version)
    summary = summarise(event)
    if event["at"] >= begun_at:  # else an earlier command had decided
        said = dataclasses.asdict(summary)
        write_metrics(settings.metrics_dir, settings.database, said, begun_at, datetime.now(UTC))
    # Attributes of this checkpoint that were never published have no columns.
    there = set(published_attributes(spark, settings.database))
    tables = dataclasses.replace(tables, attributes=tuple(a for a in labels if a in there))
    record_end(
        *(tables, summary, manifest, settings, given, baseline),
        # From run_events, because the settings may name another table now.
        lambda: open_both(spark, event["source"], settings),
    )
    return Ended(tables, summary, 0)


def rewrite_page(tables: Tables, run_id: str, settings: JobConfig, given: Given) -> None:
    """Write the page of an earlier run anew, if it has one."""
    folder = settings.report_dir
    if folder is None or f"{run_id}.html" not in names_in(folder):
        return
    manifest, event = fetch_manifest(settings.checkpoint), read_event(tables, run_id)
    record_end(
        *(tables, summarise(event), manifest, settings, given),
        load_label_baseline(settings, manifest),
        lambda: open_both(tables.spark, event["source"], settings),
    )


def load_label_baseline(settings: JobConfig, manifest: Manifest) -> LabelBaseline | None:
    """Return the baseline that the settings name, or None."""
    if settings.baseline is None:
        return None
    baseline = load_baseline(settings.baseline)
    refuse_unknown_labels(baseline, published_labels(settings, manifest))
    checkpoint = f"{manifest.config.name}-{manifest.digests.model}"
    return carry_over(baseline, checkpoint, list_changes(manifest))


def write_demo() -> str:
    """Return the demo catalog's folder, writing it first if it is not there."""
    folder = home() / DEMO_FOLDER
    if not (folder / "products.parquet").exists():
        from demo.catalog import write_demo_catalog

        log.info("writing the demo catalog to %s", folder)
        write_demo_catalog(folder)
    return str(folder)


def score_demo(tables: Tables) -> list[str]:
    """Compare the demo's published labels with labels by hand; a line an attribute."""
    from demo.catalog import score_answers

    published = tables.read("product_attributes").select("product_id", *tables.attributes)
    return [
        f"{attribute}: {score.right} of {score.answered} published labels agree with those given "
        f"by hand ({score.labelled} products)"
        for attribute, score in score_answers(published.toPandas()).items()
    ]


def record_end(
    tables: Tables,
    summary: RunSummary,
    manifest: Manifest,
    settings: JobConfig,
    given: Given,
    baseline: LabelBaseline | None,
    open_source: Callable[[], tuple[Source, ImageStore]],
) -> None:
    """Log how the run ended, and write its page."""
    seconds = round(sum(summary.seconds.values()), 2)
    fields = {"outcome": summary.outcome, "counts": summary.counts, "seconds": seconds}
    log.info("run %s: %s", summary.run_id, summary.outcome, extra=fields)
    if summary.had_nothing_to_do:
        return
    from enrich.report.content import ExpectedLabels
    from enrich.spark.report import ReportSources, write_page

    expected = None
    if baseline is not None:
        expected = ExpectedLabels(baseline.catalog, baseline.label_counts)
    flags = given.repeat("config", "catalog", "checkpoint", "image_root")
    sources = ReportSources(tables, manifest, settings, flags, expected, open_source)
    write_page(sources, summary)


if __name__ == "__main__":
    run_command(main, explain_failure)
