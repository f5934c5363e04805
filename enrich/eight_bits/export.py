"""Writes a checkpoint again as one that computes in eight bits, where it answers as it did."""

from pathlib import Path

from enrich.classifiers.checkpoint import (
    add_to_card,
    derived_checkpoint,
    read_metrics,
    write_metrics,
)
from enrich.classifiers.manifest import Manifest
from enrich.eight_bits.agreement import EightBitComparison
from enrich.eight_bits.report import format_report, summarise
from enrich.errors import ExportRefused
from enrich.markdown import escape


def refuse_other_answers(comparison: EightBitComparison, least: float) -> None:
    """Refuses a checkpoint that answers otherwise in eight bits.

    Args:
        comparison: what becomes of a sample of answers.
        least: the share of them, in [0, 1], that must surely stay for each attribute.

    Raises:
        ExportRefused: fewer stay, or the products are too few to tell.
    """
    short = [
        f"{attribute} stays in {min(answers.same, answers.same_best):,} of {answers.products:,}, "
        f"which is surely {answers.at_least:.3f}"
        for attribute, answers in comparison.attributes.items()
        if answers.at_least < least
    ]
    if short:
        raise ExportRefused(
            f"nothing is written, because answers may change: {'; '.join(short)}. Wanted: "
            f"{least:g}. Give a larger --sample if it is a matter of too few, else use the "
            "checkpoint as it is"
        )


def write_exported(
    manifest: Manifest, name: str, comparison: EightBitComparison, output: Path
) -> None:
    """Writes the checkpoint's folder, with the comparison in its metrics and on its card."""
    config = manifest.config.model_copy(update={"name": name, "int8": True})
    with derived_checkpoint(manifest, config, output) as partial:
        write_metrics(partial, read_metrics(partial) | {"int8": summarise(comparison)})
        add_to_card(
            partial,
            f"## In eight bits\n\nThe linear layers of {escape(manifest.config.name)}, content "
            f"{manifest.digests.model}, compute in eight bits here. The figures above are those of "
            f"the checkpoint before.\n\n{format_report(comparison)}",
        )
