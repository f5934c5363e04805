"""Keeps the output tables small and quick; to be run every week or so.

    spark-submit jobs/maintain_tables.py --database shop

Compacts files (OPTIMIZE), deletes files that nothing refers to any more (VACUUM), and staged rows
of runs that were published, or killed, long ago. The last line on standard output is one JSON
object.
"""

from typing import Annotated

import typer

from enrich.command_line import DatabaseOption, run_command
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.tables.maintenance import maintain_tables
from enrich.spark.tables.output_tables import open_published


def main(
    database: DatabaseOption = "enriched",
    retention_hours: Annotated[
        int, typer.Option(min=168, help="Time travel reaches at least so far back.")
    ] = 720,
    keep_staged_days: Annotated[
        int,
        typer.Option(min=1, help="How long staged rows of published and of killed runs are kept."),
    ] = 30,
) -> None:
    """Compacts the output tables and deletes what no reader needs any more."""
    tables = open_published(open_session("maintain_tables"), database)
    done = maintain_tables(
        tables, retention_hours=retention_hours, keep_staged_days=keep_staged_days
    )
    print_json_line(done)


if __name__ == "__main__":
    run_command(main, explain_failure)
