"""Print parameters and FLOPs of every system at the sizes of published towers.

    python jobs/count_parameters.py

Reads and fetches nothing. The table is that of docs/parameters.md.
"""

import typer

from enrich.analysis.parameters import tabulate_systems
from enrich.cli import run_command
from enrich.terminal import to_markdown


def main() -> None:
    """Print parameters and FLOPs of every system."""
    typer.echo(to_markdown(tabulate_systems()))


if __name__ == "__main__":
    run_command(main)
