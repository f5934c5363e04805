"""Benchmark of a refresh with few changes, compared to the catalog's first pass.

    python -m bench.refresh_ratio --products 1000000

A fake engine replaces the model, at a given speed, by default several times that of the bundled
classifier on two cores. Products have texts only, so the cost of images is not measured. The last
line on standard output is one JSON object.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from enrich.cli import run_command
from enrich.errors import EnrichError

CHECKOUT = Path(__file__).resolve().parent.parent


def main(
    products: Annotated[
        int, typer.Option(min=1, help="Products of the large catalog.")
    ] = 1_000_000,
    small: Annotated[int, typer.Option(min=1, help="Products of the small one.")] = 10_000,
    changed: Annotated[float, typer.Option(min=0, max=1, help="Share that has changed.")] = 0.01,
    pace: Annotated[
        float, typer.Option(min=1, help="Products a second that the fake engine answers.")
    ] = 1_000,
) -> None:
    """Time the first pass and a refresh, for a small and a large catalog."""
    runs = [measure_alone(size, changed, pace) for size in (small, products)]
    table = Table("", *(f"{run['products']:,} products" for run in runs))
    table.add_row("first pass, s", *(f"{run['before_s']:.1f}" for run in runs))
    table.add_row("refresh, s", *(f"{run['after_s']:.1f}" for run in runs))
    table.add_row("of these answered", *(f"{run['after_answered']:,}" for run in runs))
    table.add_row("driver memory, MB", *(str(run["driver_memory_mb"]) for run in runs))
    Console().print(table)
    of_small, of_large = runs
    ratios = {
        "refresh_to_full": round(of_large["after_s"] / of_large["before_s"], 4),
        "driver_memory_ratio": round(
            of_large["driver_memory_mb"] / of_small["driver_memory_mb"], 2
        ),
    }
    about = {"products_per_second": pace, "runs": runs}
    typer.echo(json.dumps(ratios | about))


def measure_alone(products: int, changed: float, pace: float) -> dict[str, Any]:
    """Measure a catalog of one size, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given = [folder, str(products), str(changed), str(pace)]
        command = [sys.executable, "-m", "bench.refresh", *given]
        done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise EnrichError(f"the run over {products:,} products ended with {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    run_command(main)
