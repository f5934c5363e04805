"""Enriches a product table: the main job.

    spark-submit jobs/enrich_catalog.py
    spark-submit jobs/enrich_catalog.py --catalog shop/products.parquet --database shop
    spark-submit jobs/enrich_catalog.py --database shop --publish-run RUN_ID --reason "new season"

The last line on standard output is one JSON object. Exit codes: 0 published or nothing to do,
2 wrong configuration, input or checkpoint, 3 nothing was published, 1 anything else.
"""

import dataclasses
import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from enrich.classifiers.manifest import BUNDLED, Manifest, fetch_checkpoint, read_manifest
from enrich.command_line import load_yaml, run_command
from enrich.config import DEMO_CATALOG, JobConfig
from enrich.demo.catalog import write_demo_catalog
from enrich.errors import ConfigError, NothingPublished
from enrich.images import ImageStore
from enrich.spark.catalog import open_catalog
from enrich.spark.publishing import drop_staged_run, publish_staged_run
from enrich.spark.records import RunRequest, RunSummary, StagedRows, Verdict
from enrich.spark.run import Refresh
from enrich.spark.session import open_session
from enrich.spark.tables import OutputTables
from enrich.spec import build_spec
from expectations.baseline import (
    BaselineError,
    LabelBaseline,
    check_baseline_fits,
    load_baseline,
)
from expectations.settings import ValidationSettings

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = CHECKOUT / "jobs" / "conf" / "local.yaml"
DEMO_FOLDER = CHECKOUT / "demo_catalog"
SHOWN_ROWS = 8

log = logging.getLogger("enrich")


class Settings(JobConfig):
    """The job's configuration file: the refresh, and what validation allows."""

    validation: ValidationSettings = ValidationSettings()


def main(
    config: Annotated[Path, typer.Option(help="YAML settings.")] = DEFAULT_CONFIG,
    catalog: Annotated[
        str | None, typer.Option(help="Product table: a path, or a table's name.")
    ] = None,
    image_root: Annotated[
        str | None, typer.Option(help="Where relative image paths start; the catalog's folder.")
    ] = None,
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
        int | None, typer.Option(min=1, help="First N products by id: a trial run.")
    ] = None,
    no_publish: Annotated[
        bool, typer.Option("--no-publish", help="Stage and validate only.")
    ] = False,
    publish_run: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Publish what that run staged; no other.")
    ] = None,
    drop_run: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Delete what that run staged; no other.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why: kept in the ledger. A blocked run needs one.")
    ] = None,
) -> None:
    """Enriches a product table with color, pattern and style."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    overrides = {
        "catalog": catalog,
        "image_root": image_root,
        "database": database,
        "checkpoint": checkpoint,
    }
    settings = load_yaml(config, Settings, overrides)
    if publish_run or drop_run:
        settle_run(settings, publish=publish_run, drop=drop_run, reason=reason)
        return
    request = RunRequest(
        run_date=(run_date or datetime.now(UTC)).date(),
        run_id=run_id,
        full_refresh=full_refresh,
        limit=limit,
        publish=not no_publish,
    )
    refresh_catalog(settings, request, config.parent)


def refresh_catalog(settings: Settings, request: RunRequest, config_folder: Path) -> None:
    """Runs one refresh and prints what it did; everything that can be wrong is checked first."""
    manifest = read_manifest(fetch_checkpoint(settings.checkpoint or str(BUNDLED)))
    baseline = load_catalog_baseline(settings, manifest, config_folder)
    location = settings.catalog if settings.catalog != DEMO_CATALOG else draw_demo()

    spark = open_session("enrich_catalog")
    snapshot = open_catalog(spark, location, settings.columns)
    spec = build_spec(settings, manifest, choose_image_root(settings, snapshot.folder))
    store = ImageStore(spec.image_root, spec.allowed_roots, spec.limits)
    docs_dir = None if settings.data_docs is None else config_folder / settings.data_docs

    def validate(staged: StagedRows) -> Verdict:
        # Great Expectations takes seconds to import, which a run without work does not spend.
        from expectations.validation import validate_staged

        report = validate_staged(
            staged.rows,
            staged.published,
            spec.attributes,
            baseline,
            run_id=staged.run_id,
            expected_rows=staged.count,
            docs_dir=docs_dir,
            settings=settings.validation,
        )
        return Verdict(
            passed=report.passed,
            failures=report.failures,
            notes=(*report.notes, *report.warnings),
            baseline=report.baseline,
            quality=tuple(dataclasses.asdict(check) for check in report.checks),
            report=report.docs_path,
        )

    refresh = Refresh(spark, settings, request, spec, store, snapshot)
    exit_code = 0
    try:
        refresh.run(validate)
    except NothingPublished as error:
        # spark-submit sends standard error to standard output, where the JSON line must be last.
        typer.echo(f"error: {error}", err=True)
        exit_code = error.exit_code
    show(refresh.tables, refresh.summary)
    raise typer.Exit(exit_code)


def settle_run(
    settings: Settings, publish: str | None, drop: str | None, reason: str | None
) -> None:
    """Publishes or drops what an earlier run staged, and prints what became of it."""
    if publish and drop:
        raise ConfigError("--publish-run and --drop-run exclude each other")
    if drop and not reason:
        raise ConfigError('why is the run dropped? Wanted: --reason "..."')
    manifest = read_manifest(fetch_checkpoint(settings.checkpoint or str(BUNDLED)))
    labels = manifest.config.attributes
    spark = open_session("enrich_catalog")
    tables = OutputTables(spark, settings.database, tuple(labels))
    if publish:
        summary = publish_staged_run(tables, labels, publish, reason)
    else:
        summary = drop_staged_run(tables, str(drop), str(reason))
    show(tables, summary)


def load_catalog_baseline(
    settings: Settings, manifest: Manifest, config_folder: Path
) -> LabelBaseline | None:
    """Returns the baseline that the configuration names for this catalog, None if it names none."""
    file = settings.baselines.get(settings.catalog)
    if file is None:
        return None
    try:
        baseline = load_baseline(config_folder / file)
        check_baseline_fits(baseline, manifest.config.attributes)
    except BaselineError as error:
        raise ConfigError(str(error)) from error
    return baseline


def draw_demo() -> str:
    """Returns the demo catalog's folder, drawing it first if it is not there."""
    if not (DEMO_FOLDER / "products.parquet").exists():
        log.info("drawing the demo catalog in %s", DEMO_FOLDER)
        write_demo_catalog(DEMO_FOLDER)
    return str(DEMO_FOLDER)


def choose_image_root(settings: Settings, folder: str | None) -> str:
    """Returns where relative image paths start: as configured, else the catalog's folder."""
    image_root = settings.image_root or folder
    if image_root is None:
        raise ConfigError(
            f"where do the image paths of table '{settings.catalog}' start from? A table known by "
            "name has no folder: give --image-root"
        )
    return image_root


def show(tables: OutputTables, summary: RunSummary) -> None:
    """Prints some of the run's rows, where the tables are, and the JSON line."""
    console = Console(width=120)
    name = "staged_attributes" if summary.counts["withheld"] else "product_attributes"
    rows = tables.read(name)
    if summary.counts["enriched"]:
        rows = rows.where(F.col("run_id") == summary.run_id)
    columns = ["product_id", *(c for a in tables.attributes for c in (a, f"{a}_confidence"))]
    shown = Table(*columns, title=f"the first of {tables.name(name)}")
    for row in rows.select(columns).orderBy("product_id").limit(SHOWN_ROWS).collect():
        shown.add_row(*(f"{v:.2f}" if isinstance(v, float) else v or "-" for v in row))
    console.print(shown)
    console.print(f"{summary.outcome}: {summary.counts}", soft_wrap=True, markup=False)
    console.print(f"tables: {tables.database}.* in {tables.location()}", soft_wrap=True)
    summary.table_versions = {
        name: tables.version(name) for name in ("product_attributes", "enrichment_runs")
    }
    typer.echo(json.dumps(dataclasses.asdict(summary)))


if __name__ == "__main__":
    run_command(main)
