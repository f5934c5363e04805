"""Write a review page: an HTML file in which people label products.

    spark-submit jobs/review.py --what unsure --config shop.yaml --output review.html
    spark-submit jobs/review.py --what audit --from audit.csv --config shop.yaml --output audit.html

`unsure` asks for what the classifier abstained on, the nearest to its threshold first;
`contradictions` for products whose title names another label than the classifier gives;
`attribute:NAME` for what tells most of one attribute; `audit` for a random sample, blind. What the
page hands over goes to jobs/import_corrections.py.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.cli import DEFAULT_CONFIG, ConfigOption, OtherDatabaseOption, read_settings, run_command
from enrich.config import DEMO_CATALOG, JobConfig, home
from enrich.engine.spec import choose_thresholds, published_labels
from enrich.errors import ConfigError
from enrich.files.atomic_write import atomic_write, prepare_target, require_suffix
from enrich.files.labels import read_sample
from enrich.report.review import RANKINGS, Question, Review, choose_answers, render_review
from enrich.spark.failures import explain_failure
from enrich.spark.review import Wanted, ask, read_answers
from enrich.spark.session import open_session
from enrich.spark.source import Source, open_image_store, open_source
from enrich.spark.tables import Tables

DEFAULT_NUMBER = 200
_OF_ATTRIBUTE = "attribute:"


def main(
    what: Annotated[str, typer.Option(help="audit, unsure, contradictions or attribute:NAME.")],
    output: Annotated[Path, typer.Option(help="HTML file to write.")],
    n: Annotated[
        int | None, typer.Option("--n", min=1, max=2_000, help="So many questions; 200.")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option("--from", help="With audit: ask for exactly the rows of this file."),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Candidates of this run; the published answers.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    catalog: Annotated[
        str | None, typer.Option(help="Product table: a path, or a table's name.")
    ] = None,
    image_root: Annotated[
        str | None, typer.Option(help="Where relative image paths start; the catalog's folder.")
    ] = None,
    database: OtherDatabaseOption = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Classifier checkpoint; the bundled one.")
    ] = None,
) -> None:
    """Write a review page: an HTML file in which people label products."""
    flags = {
        "catalog": catalog,
        "image_root": image_root,
        "database": database,
        "checkpoint": checkpoint,
    }
    settings = read_settings(config, flags)
    require_suffix(output, ".html")
    prepare_target(output, sample)
    manifest = fetch_manifest(settings.checkpoint)
    attributes = published_labels(settings, manifest)
    wanted = choose_wanted(what, n or DEFAULT_NUMBER, run_id, [*attributes])
    if sample and (wanted.aim != "audit" or run_id or n):
        raise ConfigError("--from goes with --what audit, and without --n and --run-id.")
    rows = None if sample is None else read_sample(sample, attributes)
    spark = open_session("review")
    location = (
        settings.catalog if settings.catalog != DEMO_CATALOG else str(home() / "demo_catalog")
    )
    source = open_source(spark, location, settings.columns)
    if rows is None:
        tables = Tables(spark, settings.database, tuple(attributes))
        questions = choose_questions(tables, manifest, settings, source, wanted)
    else:
        questions = [Question(*row) for row in rows]
    if not questions:
        raise ConfigError(
            f"--what {what} finds nothing to ask for in {settings.database}. What a waiting or "
            "blocked run would publish is asked for with --run-id RUN."
        )
    again = {"--config": None if config == DEFAULT_CONFIG else str(config.resolve())}
    again |= {"--database": database, "--checkpoint": checkpoint}
    given = [word for flag, value in again.items() if value for word in (flag, value)]
    review = Review(
        wanted.aim, settings.database, questions, attributes, given, is_drawn=sample is not None
    )
    page = render_review(review, open_image_store(source, settings))
    with atomic_write(output) as partial:
        partial.write_bytes(page)
    typer.echo(f"{output}: {len(questions):,} questions, {len(page) / 1e6:.1f} MB")


def choose_wanted(what: str, number: int, run_id: str | None, attributes: list[str]) -> Wanted:
    """Return what --what asks for.

    Raises:
        ConfigError: There is no such aim or attribute.
    """
    if what.startswith(_OF_ATTRIBUTE):
        attribute = what.removeprefix(_OF_ATTRIBUTE)
        if attribute not in attributes:
            raise ConfigError(
                f"--what names an unknown attribute: found '{attribute}', expected one of "
                f"{', '.join(attributes)}."
            )
        return Wanted("attribute", number, attribute, run_id)
    if what not in RANKINGS or what == "attribute":
        aims = ", ".join(aim for aim in RANKINGS if aim != "attribute")
        raise ConfigError(
            f"--what is unknown: found '{what}', expected one of {aims}, {_OF_ATTRIBUTE}NAME."
        )
    return Wanted(what, number, None, run_id)


def choose_questions(
    tables: Tables, manifest: Manifest, settings: JobConfig, source: Source, wanted: Wanted
) -> list[Question]:
    """Return the questions that a page asks."""
    labels = published_labels(settings, manifest)
    thresholds = choose_thresholds(settings, manifest)
    answers = read_answers(tables, wanted, labels, thresholds)
    chosen = choose_answers(wanted.aim, answers, wanted.number)
    return ask(chosen, source.products, is_blind=wanted.aim == "audit")


if __name__ == "__main__":
    run_command(main, explain_failure)
