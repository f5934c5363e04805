"""Keep the output tables small and quick, by a run every week or so.

    spark-submit jobs/maintain_tables.py --database shop

The last line on standard output is one JSON object.
"""

from typing import Annotated

import typer

from enrich.cli import Given, SummaryOption, common_options, run_command, written_outcome
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.maintenance import maintain_tables
from enrich.spark.session import open_session
from enrich.spark.tables import open_tables


@common_options("database")
def main(
    given: Given,
    retention_hours: Annotated[
        int,
        typer.Option(min=168, max=8_760, help="Hours that time travel and rollback reach back."),
    ] = 720,
    keep_candidates_days: Annotated[
        int,
        typer.Option(min=1, help="Days to keep the candidates of finished runs."),
    ] = 30,
    keep_history_days: Annotated[
        int,
        typer.Option(min=90, help="Days to keep checks, broken rows and the events of old runs."),
    ] = 365,
    summary: SummaryOption = None,
) -> None:
    """Compact the output tables and delete what no reader needs any more."""
    with written_outcome(summary, explain_failure) as outcome:
        settings = given.read()
        tables = open_tables(open_session("maintain_tables"), settings.database)
        outcome.summary = maintain_tables(
            tables,
            retention_hours=retention_hours,
            keep_candidates_days=keep_candidates_days,
            keep_history_days=keep_history_days,
            temporary_folder=settings.temporary_folder,
        )
        print_json_line(outcome.summary)


if __name__ == "__main__":
    run_command(main, explain_failure)
