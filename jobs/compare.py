"""Compare checkpoints on the same labelled products.

python jobs/compare.py --checkpoint a --checkpoint b --catalog shop/ --output page.md
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from enrich.analysis.bootstrap import Measures
from enrich.analysis.compare import (
    LEXICON,
    build_sources,
    compare_checkpoints,
    find_shared,
    load_checkpoints,
    score_checkpoint,
    score_words,
)
from enrich.cli import run_command
from enrich.engine.device import local_device
from enrich.places import prepare_target

_DRAWS = 1000


def main(
    checkpoint: Annotated[list[str], typer.Option(help="Checkpoint to compare; repeatable.")],
    output: Annotated[Path, typer.Option(help="Markdown page to write.")],
    catalog: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog that was trained on; repeatable.")
    ] = None,
    unseen_source: Annotated[
        list[Path] | None, typer.Option(help="Labelled catalog to measure on only; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most N products a catalog.")] = None,
) -> None:
    """Compare checkpoints on the same labelled products."""
    catalogs = catalog or []
    sources = build_sources(catalogs, unseen_source or [], limit)
    checkpoints = load_checkpoints(checkpoint, local_device())
    shared = find_shared(checkpoints)
    prepare_target(output)
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary)
        runs = {one.name: score_checkpoint(one, shared, sources, cache) for one in checkpoints}
        if catalogs:
            runs[LEXICON] = score_words(checkpoints[0], shared, catalogs, sources, cache)
        compare_checkpoints(Measures(runs, _DRAWS), checkpoints, output)
    typer.echo(f"page: {output}")


if __name__ == "__main__":
    run_command(main)
