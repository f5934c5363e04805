"""Writes an adapted checkpoint: old weights, another calibration, and what that is worth.

Knows nothing of how the calibration was fitted.
"""

import math
from pathlib import Path
from typing import Any

from enrich.adaptation.outcome import Outcome
from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import (
    add_to_card,
    derived_checkpoint,
    read_metrics,
    write_metrics,
)
from enrich.classifiers.manifest import Manifest
from enrich.markdown import Table, escape, format_figure, to_markdown
from enrich.records import Modalities
from enrich.training.measures import HEADINGS, Figures

_CARD_HEADING = "## Adapted to a shop"
_SHOWN = (
    "accuracy",
    "macro_f1",
    "recall_at_90_precision",
    "precision_at_90_threshold",
    "answered_at_90_threshold",
    "ece",
)

_SAMPLE_NOTE = (
    "The figures are of the labelled products. One in four that --suggest names is there because "
    "the classifier is unsure of it: figures of such a sample understate the whole shop."
)

_READ_FROM = {
    Modalities.IMAGE_AND_TEXT: "both",
    Modalities.IMAGE: "the picture alone",
    Modalities.TEXT: "the text alone",
}


def with_outcomes(calibration: Calibration, outcomes: dict[str, Outcome]) -> Calibration:
    """Returns the calibration with the outcomes that are better; others change nothing."""
    better = {attribute: one for attribute, one in outcomes.items() if one.is_better}
    return Calibration(
        attributes=calibration.attributes | {a: one.calibrated for a, one in better.items()},
        corrections=calibration.corrections
        | {a: one.correction for a, one in better.items() if one.correction is not None},
    )


def write_adapted(
    manifest: Manifest, outcomes: dict[str, Outcome], name: str, shop: str, output: Path
) -> None:
    """Writes the checkpoint folder that the job runs like any other.

    Args:
        manifest: The checkpoint that was adapted, perhaps not for the first time.
        outcomes: What was found for each corrected attribute.
        name: The new checkpoint's.
        shop: What the card calls the shop.
        output: The folder to write.
    """
    config = manifest.config.model_copy(update={"name": name})
    calibration = with_outcomes(manifest.calibration, outcomes)
    with derived_checkpoint(manifest, config, output) as partial:
        (partial / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
        _add_metrics(partial, manifest, outcomes, shop)
        add_to_card(partial, _describe(manifest, outcomes, shop))


def to_report(outcomes: dict[str, Outcome]) -> str:
    """Returns the table as Markdown, and below it what its figures do not tell."""
    told = [
        _tell_silence(attribute, outcome)
        for attribute, outcome in outcomes.items()
        if outcome.is_better and outcome.silenced
    ]
    return "\n".join(
        [to_markdown(to_table(outcomes)), *(f"{one}\n" for one in (*told, _SAMPLE_NOTE))]
    )


def to_table(outcomes: dict[str, Outcome]) -> Table:
    """Returns each attribute's figures before and after, and whether it was adapted."""
    blocks = []
    for attribute, outcome in outcomes.items():
        gain = f"{outcome.gain.mean:+.3f} ± {outcome.gain.error:.3f}"
        blocks.append(
            [
                [attribute, f"{outcome.before['rows']:,}", "before", *_cells(outcome.before), ""],
                [_verdict(outcome), "", "after", *_cells(outcome.after), gain],
            ]
        )
    columns = ("attribute", "products", "", *(HEADINGS[figure] for figure in _SHOWN), "gain, nats")
    return Table("Cross-validated on the labelled products", columns, blocks)


def summarise(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """Returns the outcomes as plain values, without what was fitted."""
    return {
        attribute: {
            "adapted": outcome.is_better,
            "gain_nats": round(outcome.gain.mean, 4),
            # Labels of a single text tell nothing of the error.
            "gain_error_nats": (
                round(outcome.gain.error, 4) if math.isfinite(outcome.gain.error) else None
            ),
            "worse_from": [str(modalities) for modalities in outcome.worse_from],
            "silenced": [str(modalities) for modalities in outcome.silenced],
            "loses_answers": outcome.loses_answers,
            "before": outcome.before,
            "after": outcome.after,
        }
        for attribute, outcome in outcomes.items()
    }


def _verdict(outcome: Outcome) -> str:
    if outcome.is_better:
        return "adapted" + (": nothing answered at 90 %" if outcome.falls_silent else "")
    if worse := " and ".join(_READ_FROM[modalities] for modalities in outcome.worse_from):
        return f"left as it was: worse from {worse}"
    return "left as it was" + (": answers too few" if outcome.loses_answers else "")


def _tell_silence(attribute: str, outcome: Outcome) -> str:
    read_from = " or ".join(_READ_FROM[modalities] for modalities in outcome.silenced)
    where = "" if outcome.falls_silent else f" from {read_from}"
    return (
        f"Nothing of {escape(attribute)} is answered{where} at 90 % any more, because these labels "
        "show no confidence that is right so often."
    )


def _cells(figures: Figures) -> list[str]:
    return [format_figure(figures.get(figure)) for figure in _SHOWN]


def _add_metrics(folder: Path, manifest: Manifest, outcomes: dict[str, Outcome], shop: str) -> None:
    metrics = read_metrics(folder)
    # A second adaptation builds on the first, so its account does too.
    earlier = {"earlier": metrics["adaptation"]} if "adaptation" in metrics else {}
    adaptation = earlier | {
        "from": f"{manifest.config.name}-{manifest.digest}",
        "shop": shop,
        "attributes": summarise(outcomes),
    }
    write_metrics(folder, metrics | {"adaptation": adaptation})


def _describe(manifest: Manifest, outcomes: dict[str, Outcome], shop: str) -> str:
    return (
        f"{_CARD_HEADING}\n\n"
        f"{escape(manifest.config.name)}, content {manifest.digest}, was adapted to labelled "
        f"products of {escape(shop)}. The figures above are those of the checkpoint before; below, "
        "every product is answered by what was fitted to the others. The gain is by how much less "
        "a label surprises, as the mean over products, with its standard error.\n\n"
        f"{to_report(outcomes)}"
    )
