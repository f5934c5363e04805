"""Write a review page: an HTML file in which people label products.

    spark-submit jobs/review.py --what unsure --config shop.yaml --output review.html

What the page hands over goes to jobs/import_corrections.py, that of an audit to jobs/audit.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.engine.spec import choose_thresholds, published_labels
from enrich.errors import ConfigError
from enrich.files.labels import read_sample
from enrich.places import atomic_write, prepare_target, refuse_existing, require_suffix
from enrich.report.review import (
    AIMS,
    AUDIT,
    Question,
    Review,
    render_review,
)
from enrich.spark.audit import DEFAULT_COUNT, find_source, record_draw
from enrich.spark.failures import explain_failure
from enrich.spark.review import Wanted, read_questions
from enrich.spark.runs import find_run, read_runs
from enrich.spark.session import open_session
from enrich.spark.source import open_image_store, open_source
from enrich.spark.tables import Tables, open_tables
from jobs.audit import draw_known

DEFAULT_NUMBER = 200
_OF_ATTRIBUTE = "attribute:"


@common_options("catalog", "image_root", "database", "checkpoint")
def main(
    given: Given,
    what: Annotated[
        str, typer.Option(help="What to ask: unsure, contradictions, attribute:NAME or audit.")
    ],
    output: Annotated[Path, typer.Option(help="HTML file to write.")],
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            max=2_000,
            help="Number of questions (default: 200; 120 per attribute in an audit).",
        ),
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option("--from", help="With audit: show the sample in this file."),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Ask about this run's candidates, not published answers.")
    ] = None,
) -> None:
    """Write a review page: an HTML file in which people label products."""
    settings = given.read()
    require_suffix(output, ".html")
    if what == AUDIT:
        # Answers of a page that was written over would be drawn, and labelled by nobody.
        refuse_existing(output)
    prepare_target(output, sample)
    manifest = fetch_manifest(settings.checkpoint)
    attributes = published_labels(settings, manifest)
    wanted = choose_wanted(what, n or DEFAULT_NUMBER, [*attributes], manifest.config.name)
    if wanted is None and run_id:
        raise ConfigError("--run-id has no effect with --what audit: published answers are drawn.")
    if sample and (wanted or n):
        raise ConfigError("--from goes with --what audit, and without --n.")
    rows = None if sample is None else read_sample(sample, attributes)
    spark = open_session("review")
    tables = open_tables(spark, settings.database)
    if run_id:
        run_id = find_run(tables, run_id, read_runs(tables)).run_id
    location = find_source(tables, settings.catalog, run_id)
    source = open_source(spark, location, settings.columns)
    store = open_image_store(source, settings)
    drawn = None
    if rows is not None:
        questions = [Question(*row) for row in rows]
    elif wanted is None:
        drawn = draw_known(tables, source, tuple(attributes), n or DEFAULT_COUNT)
        shown = drawn.rows[["product_id", "attribute", "title", "image_path"]]
        questions = [Question(*row) for row in shown.itertuples(index=False)]
    else:
        known = Tables(spark, settings.database, tuple(attributes))
        wanted = replace(wanted, run_id=run_id)
        thresholds = choose_thresholds(settings, manifest)
        questions = read_questions(known, source.products, wanted, attributes, thresholds)
    if not questions:
        named = f"run {run_id}" if run_id else settings.database
        hint = "" if run_id else " --run-id RUN asks about a waiting or blocked run."
        raise ConfigError(f"--what {what} finds nothing to ask for in {named}.{hint}")
    again = given.repeat("config", "database", "checkpoint")
    words = [word for name, value in again.items() for word in (f"--{name}", value)]
    aim = wanted.aim if wanted else AUDIT
    review = Review(aim, settings.database, questions, attributes, words)
    page = render_review(review, store)
    with atomic_write(output) as partial:
        partial.write_bytes(page)
        # Not earlier: what is recorded is not drawn again.
        if drawn is not None:
            record_draw(tables, drawn)
    typer.echo(f"{output}: {len(questions):,} questions, {len(page) / 1e6:.1f} MB")


def choose_wanted(what: str, number: int, attributes: list[str], checkpoint: str) -> Wanted | None:
    """Return what --what asks for; None for an audit, which is drawn."""
    if what.startswith(_OF_ATTRIBUTE):
        attribute = what.removeprefix(_OF_ATTRIBUTE)
        if attribute not in attributes:
            raise ConfigError(
                f"--what names an unknown attribute: found '{attribute}', expected one of "
                f"{', '.join(attributes)}, which {checkpoint} answers. --checkpoint names another "
                "checkpoint."
            )
        return Wanted("attribute", number, attribute)
    if what == AUDIT:
        return None
    if what not in AIMS or what == "attribute":
        aims = ", ".join(aim for aim in (AUDIT, *AIMS) if aim != "attribute")
        raise ConfigError(
            f"--what is unknown: found '{what}', expected one of {aims}, {_OF_ATTRIBUTE}NAME."
        )
    return Wanted(what, number)


if __name__ == "__main__":
    run_command(main, explain_failure)
