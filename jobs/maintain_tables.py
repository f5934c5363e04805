"""Keep the output tables small and quick; to be run every week or so.

    spark-submit jobs/maintain_tables.py --database shop

Compacts files (OPTIMIZE), deletes files that nothing refers to any more (VACUUM), candidates of
runs that ended long ago, and encodings that no run will read again. The last line on standard
output is one JSON object.
"""

from typing import Annotated

import typer

from enrich.cli import DatabaseOption, run_command
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.maintenance import maintain_tables
from enrich.spark.session import open_session
from enrich.spark.tables import open_tables


def main(
    database: DatabaseOption = "enriched",
    retention_hours: Annotated[
        int, typer.Option(min=168, help="Time travel reaches at least so far back.")
    ] = 720,
    keep_candidates_days: Annotated[
        int,
        typer.Option(min=1, help="How long candidates of runs that came to their end are kept."),
    ] = 30,
) -> None:
    """Compact the output tables and delete what no reader needs any more."""
    tables = open_tables(open_session("maintain_tables"), database)
    print_json_line(
        maintain_tables(
            tables, retention_hours=retention_hours, keep_candidates_days=keep_candidates_days
        )
    )


if __name__ == "__main__":
    run_command(main, explain_failure)
