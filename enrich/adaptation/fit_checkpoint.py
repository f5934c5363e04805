"""Fit a checkpoint to labelled products, say what that is worth, and write it."""

from pathlib import Path

import typer

from enrich.adaptation.adapt import Adaptation, adapt
from enrich.adaptation.checkpoint import refuse_fitted, write_adapted
from enrich.adaptation.report import format_report
from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.trial import FEWEST_LABELS
from enrich.adaptation.widening import widened
from enrich.ahead import each_thread_by_itself
from enrich.classifiers.manifest import Manifest
from enrich.command_line import print_markdown
from enrich.engine import Engine, open_engine
from enrich.errors import AdaptationRefused, ConfigError
from enrich.files.products import Source


def fit_checkpoint(
    manifest: Manifest, labelled: ShopLabels, source: Source, name: str, output: Path
) -> Adaptation:
    """Write a checkpoint that is fitted to labels, some of which may be new to it.

    Label sets become wider only where the fitted attribute is better. Progress and a table go to
    the terminal.

    Args:
        manifest: The checkpoint to start from.
        labelled: The labelled products.
        source: Whose pictures are read, by its settings. The model card has its folder's name.
        name: The new checkpoint's.
        output: The folder to write.

    Raises:
        ConfigError: no attribute is labelled often enough, or one has been fitted before.
        AdaptationRefused: no attribute would be answered better, or no labels say enough of the
            source.
    """
    refuse_fitted(manifest, labelled.targets)
    for attribute, few in labelled.left_out.items():
        counts = ", ".join(f"{label} ({count})" for label, count in few.items())
        typer.echo(f"{attribute}: left out, for too few products carry it: {counts}", err=True)
    with widened(manifest, labelled.labels, labelled.shares) as wide:
        adapted = _fit(open_engine(wide, source.image_root, source.settings), labelled)
    better = {
        attribute: labels
        for attribute, labels in labelled.labels.items()
        if attribute in adapted.effects and adapted.effects[attribute].is_better
    }
    applies_to = {a: found for a, found in labelled.applies_to.items() if a in better}
    for attribute, categories in applies_to.items():
        typer.echo(f"{attribute}: applies to {', '.join(categories)}", err=True)
    sets = manifest.config.answers | better
    with widened(manifest, sets, labelled.shares, applies_to) as wide:
        write_adapted(wide, adapted.effects, name, source.folder.name, output, manifest)
    return adapted


def _fit(engine: Engine, labelled: ShopLabels) -> Adaptation:
    """Fit, print what that changes and why not more of it does, and return both."""
    # Beside a busy process threads that share out small sums would wait for each other.
    with each_thread_by_itself():
        adapted = adapt(engine, labelled)
    for attribute, reason in adapted.left.items():
        typer.echo(f"{attribute}: left as it was, {reason}", err=True)
    if not adapted.effects and not adapted.flaws:
        raise ConfigError(
            f"no attribute has {FEWEST_LABELS} labelled products that can be read: label more"
        )
    if not adapted.effects:
        raise AdaptationRefused("no labels are such that fitting helps, so nothing is written")
    for attribute, doubt in adapted.doubts.items():
        typer.echo(f"{attribute}: {doubt}", err=True)
    print_markdown(format_report(adapted.effects))
    for attribute, effect in adapted.effects.items():
        if effect.is_better:
            typer.echo(
                f"{attribute}: at 90 % precision about {effect.given:.0%} of such products get "
                "a label, by thresholds that all these labels prove",
                err=True,
            )
    for attribute, outlook in adapted.outlooks.items():
        typer.echo(
            f"{attribute}: accuracy {outlook.at_half:.2f} with half of the labels, about "
            f"{outlook.at_twice:.2f} may be reached with {2 * outlook.labels:,}",
            err=True,
        )
    if not any(effect.is_better for effect in adapted.effects.values()):
        raise AdaptationRefused(
            "no attribute would be answered better than before, and as often where that was "
            "precise enough, so nothing is written: give more labels, of products that --suggest "
            "names"
        )
    return adapted
