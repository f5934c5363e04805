"""Roll back what a run published, and what later runs published after it.

    spark-submit jobs/rollback.py --database shop --run-id RUN_ID --reason "wrong images"

`product_attributes` is then as it was before that run; `run_events` keeps the reason. People's
corrections stay. Pages of these runs in `report_dir` say so. The last line on standard output is
one JSON object.
"""

import logging
from typing import Annotated

import typer
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from enrich.cli import Given, check_words, common_options, run_command
from enrich.errors import EnrichError, describe_error
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.publish import roll_back
from enrich.spark.session import open_session
from enrich.spark.tables import open_tables
from jobs.enrich_catalog import rewrite_page

log = logging.getLogger("enrich")


@common_options("catalog", "image_root", "database", "checkpoint")
def main(
    given: Given,
    run_id: Annotated[str, typer.Option(help="The run to undo, with all later ones.")],
    reason: Annotated[str, typer.Option(help="Why, kept in run_events.", callback=check_words)],
) -> None:
    """Roll back what a run published, and what later runs published after it."""
    settings = given.read()
    tables = open_tables(open_session("rollback"), settings.database)
    rolled_back = roll_back(tables, run_id, reason)
    for one in rolled_back:
        try:
            rewrite_page(tables, one, settings, given)
        except (EnrichError, OSError, PySparkException, Py4JError) as error:
            log.warning("the page of run %s stays as it is: %s", one, describe_error(error))
    print_json_line(
        {
            "rolled_back": rolled_back,
            "table_versions": {"product_attributes": tables.version("product_attributes")},
        }
    )


if __name__ == "__main__":
    run_command(main, explain_failure)
