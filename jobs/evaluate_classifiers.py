"""Evaluate checkpoints side by side, and write tables and plots.

    python jobs/evaluate_classifiers.py --checkpoint a --checkpoint b --catalog shop --output report

A catalog is evaluated on its held-back test groups, an unseen source on all its products; both are
folders as jobs/train_classifier.py takes them. Every other checkpoint is compared with the first.
One table is printed; all of them, and links to the plots, are in `report/comparison.md`.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import BUNDLED
from enrich.cli import run_command
from enrich.engine.device import local_device
from enrich.errors import load_extra
from enrich.files.atomic_write import prepare_target


def main(
    output: Annotated[Path, typer.Option(help="Folder for tables and plots.")],
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="Classifier checkpoint; repeatable. The bundled one.")
    ] = None,
    catalog: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled catalog to evaluate on the test groups of; repeatable."),
    ] = None,
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to evaluate on whole; repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most N products a catalog, evenly spread.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=10, help="Draws behind each interval.")] = 1000,
    cache: Annotated[
        Path | None, typer.Option(help="Folder to keep pixels and image features in.")
    ] = None,
) -> None:
    """Evaluate checkpoints side by side."""
    load_extra("matplotlib", "train")
    # Imported only now, because they import matplotlib: without it there is a message, no trace.
    from enrich.analysis.compare import Workplace, build_sources, compare, load_checkpoints
    from enrich.analysis.report import print_report, write_report

    device = local_device()
    sources = build_sources(catalog or [], unseen_source or [], limit)
    checkpoints = load_checkpoints(checkpoint or [str(BUNDLED)], device)
    prepare_target(output / "comparison.md")
    with tempfile.TemporaryDirectory() as temporary:
        workplace = Workplace(device, cache or Path(temporary), output / "plots")
        comparison = compare(checkpoints, sources, bootstrap, workplace)
    write_report(comparison, output)
    print_report(comparison)
    typer.echo(f"all sources, conditions, attributes, intervals, plots: {output / 'comparison.md'}")


if __name__ == "__main__":
    run_command(main)
