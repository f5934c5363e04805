"""Enriches a product table: the main job.

    spark-submit jobs/enrich_catalog.py
    spark-submit jobs/enrich_catalog.py --config shop.yaml
    spark-submit jobs/enrich_catalog.py --config shop.yaml --publish-run RUN_ID --reason "..."

The last line on standard output is one JSON object. Exit codes: 0 published, staged,
dropped, nothing to do or a dry run, 2 wrong configuration, input or checkpoint, 3 nothing was
published, 1 anything else.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.command_line import ImageRootOption, run_command
from enrich.config import DEMO_CATALOG, JobConfig
from enrich.demo.catalog import write_demo_catalog
from enrich.errors import ConfigError, NothingPublished
from enrich.images.store import ImageStore
from enrich.logs import LogFormat, report_error, start_logging
from enrich.metrics import Recording, recorded
from enrich.report.content import ExpectedLabels
from enrich.settings_files import load_yaml
from enrich.settlement import Settlement, choose_settlement
from enrich.spark.catalog.shop import Shop, open_shop
from enrich.spark.console import show_plan, show_run
from enrich.spark.failures import explain_failure
from enrich.spark.guards import refuse_demo_among_products
from enrich.spark.inference.resources import refuse_impossible_executors
from enrich.spark.inputs import Inputs
from enrich.spark.plan import plan_refresh
from enrich.spark.records import InputRows, RunRequest, RunSummary, StagedRows
from enrich.spark.report.collect import ReportSources
from enrich.spark.report.page import write_page
from enrich.spark.run import Refresh
from enrich.spark.session import open_session
from enrich.spark.settling import settle
from enrich.spark.survey import try_images
from enrich.spark.tables.output_tables import OutputTables, published_attributes
from enrich.spec import build_spec, name_model_version
from expectations.baseline import BaselineError, LabelBaseline, choose_baseline
from expectations.checks import GateError, Verdict
from expectations.gate import Gate
from expectations.settings import ValidationSettings

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = CHECKOUT / "jobs" / "conf" / "local.yaml"
DEMO_FOLDER = CHECKOUT / "demo_catalog"

log = logging.getLogger("enrich")


class Settings(JobConfig):
    """The job's configuration file: the refresh, and what validation allows."""

    validation: ValidationSettings = ValidationSettings()


def main(
    config: Annotated[Path, typer.Option(help="YAML settings.")] = DEFAULT_CONFIG,
    catalog: Annotated[
        str | None, typer.Option(help="Product table: a path, or a table's name.")
    ] = None,
    image_root: ImageRootOption = None,
    database: Annotated[str | None, typer.Option(help="Where the output tables live.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Classifier checkpoint; the bundled one.")
    ] = None,
    run_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Logical date; today, UTC.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Idempotence key; derived from date and inputs.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Ignore what is already enriched.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**31 - 1,
            help="Only the first N rows by product id; what --run-id had staged of others goes.",
        ),
    ] = None,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="Stage and validate only.")
    ] = False,
    publish_run: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Publish what that run staged; no other.")
    ] = None,
    drop_run: Annotated[
        str | None,
        typer.Option(metavar="RUN_ID", help="Delete what that run staged and did not publish."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why: kept in the ledger. A blocked run needs one.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and how long; write nothing.")
    ] = False,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Lines for people, or a JSON object a line.")
    ] = None,
) -> None:
    """Enriches a product table with color, pattern and style."""
    start_logging(log_format or LogFormat.TEXT)
    overrides = {
        "catalog": catalog,
        "image_root": image_root,
        "database": database,
        "checkpoint": checkpoint,
        "log_format": log_format,
    }
    settings = load_yaml(config, Settings, overrides).starting_from(config.parent)
    settings_file = None if config == DEFAULT_CONFIG else str(config.resolve())
    start_logging(settings.log_format)
    of_a_refresh = {
        "--run-date": run_date,
        "--run-id": run_id,
        "--full-refresh": full_refresh,
        "--limit": limit,
        "--no-publish": no_publish,
        "--dry-run": dry_run,
    }
    settlement = choose_settlement(publish_run, drop_run, reason, of_a_refresh)
    if settlement is not None:
        with recorded(settings.metrics_dir, settings.database, settles=True) as recording:
            ended = settle_run(settings, settings_file, recording, settlement)
    else:
        request = RunRequest(
            run_date=choose_run_date(run_date),
            run_id=run_id,
            full_refresh=full_refresh,
            limit=limit,
            publish=not no_publish,
        )
        if dry_run:
            plan_catalog(settings, request)
            return
        with recorded(settings.metrics_dir, settings.database) as recording:
            ended = refresh_catalog(settings, settings_file, request, recording)
    # After all else that may log: spark-submit sends standard error to standard output, where the
    # JSON line must be last.
    show_run(ended.tables, ended.summary)
    raise typer.Exit(ended.exit_code)


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    tables: OutputTables
    summary: RunSummary
    exit_code: int


def choose_run_date(given: datetime | None) -> date:
    """Returns the logical date: as given, else today."""
    if given is not None and given.year < 1970:
        raise ConfigError(f"--run-date {given:%Y-%m-%d} is before 1970: a mistake?")
    now = datetime.now(UTC)
    # What it publishes would count as newer than what any run finds until that day. Tomorrow is
    # allowed, because in some time zone it has begun.
    if given is not None and given.date() > now.date() + timedelta(days=1):
        raise ConfigError(f"--run-date {given:%Y-%m-%d} is in the future: today is {now:%Y-%m-%d}")
    return (given or now).date()


def plan_catalog(settings: Settings, request: RunRequest) -> None:
    """Prints what a refresh would do."""
    manifest = fetch_manifest(settings.checkpoint)
    # A baseline that does not fit would stop the refresh, and so it stops the plan.
    load_catalog_baseline(settings, manifest)
    show_plan(plan_refresh(open_inputs(settings, request, manifest)))


def refresh_catalog(
    settings: Settings, settings_file: str | None, request: RunRequest, recording: Recording
) -> Ended:
    """Runs one refresh and writes its page. Everything that can be wrong is checked first."""
    manifest = fetch_manifest(settings.checkpoint)
    baseline = load_catalog_baseline(settings, manifest)
    inputs = open_inputs(settings, request, manifest)
    gate = ShopGate(settings, inputs.spec.attributes, baseline, inputs.store)
    refresh = Refresh(inputs, gate)
    recording.summary = refresh.summary
    exit_code = 0
    try:
        refresh.run()
    except NothingPublished as error:
        report_error(error)
        exit_code = error.exit_code
    sources = ReportSources(
        refresh.tables,
        manifest,
        settings,
        settings_file,
        expected_labels(baseline),
        lambda: Shop(inputs.catalog, inputs.store),
    )
    record_end(sources, refresh.summary)
    return Ended(refresh.tables, refresh.summary, exit_code)


@dataclasses.dataclass(frozen=True, slots=True)
class ShopGate:
    """What a run's products and answers are held against: a `Gate` of `enrich.spark.judging`."""

    settings: Settings
    attribute_labels: Mapping[str, Sequence[str]]
    baseline: LabelBaseline | None
    store: ImageStore

    @property
    def max_unusable_id_share(self) -> float:
        """The settings' own."""
        return self.settings.validation.max_unusable_id_share

    def validate_input(self, rows: InputRows) -> Verdict:
        """Judges the products before the classifier is asked about any."""
        # Great Expectations takes seconds to import. A run without work does not spend them, and
        # any other one spends them while Spark chooses the images.
        Thread(target=import_module, args=("expectations.suite",)).start()
        images = try_images(self.store, rows.products.where("is_new"))
        try:
            return self._gate.check_input(rows.run_id, rows.products, images)
        except GateError as error:
            raise ConfigError(str(error)) from error

    def validate_staged(self, staged: StagedRows) -> Verdict:
        """Judges the answers before any of them is published."""
        return self._gate.check_candidates(
            staged.run_id, staged.rows, staged.published, staged.expected
        )

    @property
    def _gate(self) -> Gate:
        settings = self.settings
        return Gate(settings.validation, self.attribute_labels, self.baseline, settings.data_docs)


def expected_labels(baseline: LabelBaseline | None) -> ExpectedLabels | None:
    """Returns a label baseline as the page shows it."""
    if baseline is None:
        return None
    return ExpectedLabels(baseline.catalog, baseline.label_counts)


def open_inputs(settings: Settings, request: RunRequest, manifest: Manifest) -> Inputs:
    """Opens all that a refresh depends on."""
    spark = open_session("enrich_catalog")
    refuse_impossible_executors(settings.gpu_executors, spark.sparkContext.getConf())
    location = settings.catalog if settings.catalog != DEMO_CATALOG else draw_demo()
    catalog, store = open_shop(spark, location, settings)
    spec = build_spec(settings, manifest, store.root)
    inputs = Inputs(spark, settings, request, spec, store, catalog)
    if settings.catalog == DEMO_CATALOG:
        refuse_demo_among_products(inputs.tables, DEMO_FOLDER.name)
    return inputs


def settle_run(
    settings: Settings, settings_file: str | None, recording: Recording, settlement: Settlement
) -> Ended:
    """Publishes or drops what an earlier run staged, and writes its page anew if it does."""
    manifest = fetch_manifest(settings.checkpoint)
    # A run may be dropped because the checkpoint, and so the baseline, is another one by now.
    baseline = None if settlement.is_drop else load_catalog_baseline(settings, manifest)
    labels = manifest.config.attributes
    spark = open_session("enrich_catalog")
    tables = OutputTables(spark, settings.database, tuple(labels))
    version = name_model_version(manifest, settings.target_precision)
    settled = settle(tables, settlement, labels, version, settings)
    if settled.error is not None:
        report_error(settled.error)
    recording.has_failed = settled.error is not None
    # What had been settled before is no success of today's.
    recording.summary, recording.settled_at = settled.summary, settled.settled_at
    # What this checkpoint alone answers has no columns where nothing of it was published.
    attributes = set(labels) & set(published_attributes(spark, settings.database))
    tables = dataclasses.replace(tables, attributes=tuple(a for a in labels if a in attributes))
    sources = ReportSources(
        tables,
        manifest,
        settings,
        settings_file,
        expected_labels(baseline),
        # From the ledger: the settings may name another table by now.
        lambda: open_shop(spark, settled.row["catalog"], settings),
    )
    record_end(sources, settled.summary, settled.settled_at)
    return Ended(tables, settled.summary, settled.error.exit_code if settled.error else 0)


def load_catalog_baseline(settings: Settings, manifest: Manifest) -> LabelBaseline | None:
    """Returns the baseline that the configuration names for this catalog, None if it names none."""
    labels = manifest.config.attributes
    try:
        return choose_baseline(settings.baselines, settings.catalog, labels)
    except BaselineError as error:
        raise ConfigError(str(error)) from error


def draw_demo() -> str:
    """Returns the demo catalog's folder, drawing it first if it is not there."""
    if not (DEMO_FOLDER / "products.parquet").exists():
        log.info("drawing the demo catalog in %s", DEMO_FOLDER)
        write_demo_catalog(DEMO_FOLDER)
    return str(DEMO_FOLDER)


def record_end(
    sources: ReportSources, summary: RunSummary, settled_at: datetime | None = None
) -> None:
    """Logs how the run ended, writes its page, and keeps the versions of the tables."""
    seconds = round(sum(summary.seconds.values()), 2)
    fields = {"outcome": summary.outcome, "counts": summary.counts, "seconds": seconds}
    log.info("run %s: %s", summary.run_id, summary.outcome, extra=fields)
    write_page(sources, summary, settled_at)
    written = ("product_attributes", "enrichment_runs")
    summary.table_versions = {table: sources.tables.version(table) for table in written}


if __name__ == "__main__":
    run_command(main, explain_failure)
