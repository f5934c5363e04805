"""Check that the attention map of explanations marks what answers come from.

    python jobs/check_attention.py --catalog shop/ --output deletion.png

Marked patches are hidden, and as many patches in other orders. See enrich/analysis/deletion.py.
"""

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from enrich.classifiers.manifest import BUNDLED
from enrich.cli import run_command
from enrich.engine.device import local_device
from enrich.errors import load_extra
from enrich.terminal import print_markdown, to_markdown
from enrich.training.batches import Condition


def main(
    catalog: Annotated[Path, typer.Option(help="Labelled catalog; its test groups are read.")],
    output: Annotated[Path, typer.Option(help="PNG file to write.")],
    checkpoint: Annotated[str, typer.Option(help="Classifier checkpoint.")] = str(BUNDLED),
    limit: Annotated[int, typer.Option(min=20, help="At most N products, evenly spread.")] = 600,
) -> None:
    """Check that the attention map marks what answers come from."""
    load_extra("matplotlib", "train")
    # Imported only now: without matplotlib there is a message, no trace.
    from enrich.analysis.compare import LabelledSource, load_checkpoints
    from enrich.analysis.deletion import draw_deletion, measure_deletion, tabulate

    (loaded,) = load_checkpoints([checkpoint], local_device())
    products = LabelledSource(catalog, trained_on=True, limit=limit).load(loaded.answers)
    with tempfile.TemporaryDirectory() as cache:
        batches = loaded.batches(products, Path(cache))
        rows = np.flatnonzero(batches.images.has_image)
        deletions = [
            measure_deletion(loaded.classifier, batches, rows, condition)
            for condition in (Condition.NO_TEXT, Condition.AS_IS)
        ]
    title = f"What hiding patches costs: {loaded.name}, {len(rows)} pictures alone"
    draw_deletion(deletions[0], title, output)
    print_markdown(to_markdown(tabulate(deletions)))
    typer.echo(f"figure: {output}")


if __name__ == "__main__":
    run_command(main)
