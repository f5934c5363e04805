"""Writes an adapted checkpoint: another calibration, another trust, and what they are worth.

All other weights stay. Knows nothing of how they were fitted.
"""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from enrich.adaptation.effect import Effect
from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import (
    add_to_card,
    add_to_weights,
    derived_checkpoint,
    read_metrics,
    write_metrics,
)
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.manifest import Manifest
from enrich.errors import ConfigError
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


def with_effects(calibration: Calibration, effects: dict[str, Effect]) -> Calibration:
    """Returns the calibration with what was fitted where that is better; else as it was."""
    better = {attribute: one for attribute, one in effects.items() if one.is_better}
    return Calibration(
        attributes=calibration.attributes | {a: one.calibrated for a, one in better.items()},
        corrections=calibration.corrections
        | {a: one.correction for a, one in better.items() if one.correction is not None},
    )


def find_shifts(effects: dict[str, Effect]) -> dict[str, float]:
    """Returns what is added to the trust in pictures, for attributes that are better for it."""
    return {a: one.trust_shift for a, one in effects.items() if one.is_better and one.trust_shift}


def refuse_fitted(manifest: Manifest, attributes: Collection[str]) -> None:
    """Raises ConfigError where the checkpoint has been fitted to labels of these attributes.

    They may be given once more, and what was fitted to them is right about them: confidence would
    be too high afterwards.
    """
    adaptation: dict[str, Any] = read_metrics(manifest.folder).get("adaptation", {})
    while adaptation:
        fitted = {name for name, one in adaptation["attributes"].items() if one["adapted"]}
        if again := sorted(fitted.intersection(attributes)):
            raise ConfigError(
                f"{manifest.config.name} was fitted to labels of {', '.join(again)} before, which "
                "would flatter it if they are given again: name the checkpoint that it was made "
                f"from ({adaptation['from']}), and give all labels at once"
            )
        adaptation = adaptation.get("earlier", {})


def write_adapted(
    manifest: Manifest, effects: dict[str, Effect], name: str, shop: str, output: Path
) -> None:
    """Writes the checkpoint folder that the job runs like any other.

    Args:
        manifest: The checkpoint that was adapted, perhaps not for the first time.
        effects: What was found for each attribute that had labels.
        name: The new checkpoint's.
        shop: What the card calls the shop.
        output: The folder to write.
    """
    config = manifest.config.model_copy(update={"name": name})
    calibration = with_effects(manifest.calibration, effects)
    with derived_checkpoint(manifest, config, output) as partial:
        (partial / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
        if shifts := find_shifts(effects):
            add_to_weights(partial, {CmaClip.trust_in(a): shift for a, shift in shifts.items()})
        _add_metrics(partial, manifest, effects, shop)
        add_to_card(partial, _describe(manifest, effects, shop))


def to_report(effects: dict[str, Effect]) -> str:
    """Returns the table as Markdown, and below it what its figures do not tell."""
    told = [
        _tell_silence(attribute, effect)
        for attribute, effect in effects.items()
        if effect.is_better and effect.silenced
    ]
    told += [_tell_trust(attribute, shift) for attribute, shift in find_shifts(effects).items()]
    return "\n".join(
        [to_markdown(to_table(effects)), *(f"{one}\n" for one in (*told, _SAMPLE_NOTE))]
    )


def to_table(effects: dict[str, Effect]) -> Table:
    """Returns each attribute's figures before and after, and whether it was adapted."""
    blocks = []
    for attribute, effect in effects.items():
        gain = f"{effect.gain.mean:+.3f} ± {effect.gain.error:.3f}"
        blocks.append(
            [
                [attribute, f"{effect.before['rows']:,}", "before", *_cells(effect.before), ""],
                [_verdict(effect), "", "after", *_cells(effect.after), gain],
            ]
        )
    columns = ("attribute", "products", "", *(HEADINGS[figure] for figure in _SHOWN), "gain, nats")
    return Table("Cross-validated on the labelled products", columns, blocks)


def summarise(effects: dict[str, Effect]) -> dict[str, Any]:
    """Returns the effects as plain values, without what was fitted."""
    return {
        attribute: {
            "adapted": effect.is_better,
            "gain_nats": round(effect.gain.mean, 4),
            # Labels of a single text tell nothing of the error.
            "gain_error_nats": (
                round(effect.gain.error, 4) if math.isfinite(effect.gain.error) else None
            ),
            "worse_from": [str(modalities) for modalities in effect.worse_from],
            "silenced": [str(modalities) for modalities in effect.silenced],
            "loses_answers": effect.loses_answers,
            "trust_shift": effect.trust_shift,
            "before": effect.before,
            "after": effect.after,
        }
        for attribute, effect in effects.items()
    }


def _verdict(effect: Effect) -> str:
    if effect.is_better:
        return "adapted" + (": nothing answered at 90 %" if effect.falls_silent else "")
    if worse := " and ".join(_READ_FROM[modalities] for modalities in effect.worse_from):
        return f"left as it was: worse from {worse}"
    too_few = effect.gain.is_told and effect.loses_answers
    return "left as it was" + (": answers too few" if too_few else "")


def _tell_silence(attribute: str, effect: Effect) -> str:
    read_from = " or ".join(_READ_FROM[modalities] for modalities in effect.silenced)
    where = "" if effect.falls_silent else f" from {read_from}"
    return (
        f"Nothing of {escape(attribute)} is answered{where} at 90 % any more, because these labels "
        "show no confidence that is right so often. More labels may find one."
    )


def _tell_trust(attribute: str, shift: float) -> str:
    trusted, other = ("pictures", "texts") if shift > 0 else ("texts", "pictures")
    return (
        f"For {escape(attribute)}, {trusted} of this shop are trusted more than before, and "
        f"{other} less (by {abs(shift):g}, where 2.2 makes 50 % to 90 %)."
    )


def _cells(figures: Figures) -> list[str]:
    return [format_figure(figures.get(figure)) for figure in _SHOWN]


def _add_metrics(folder: Path, manifest: Manifest, effects: dict[str, Effect], shop: str) -> None:
    metrics = read_metrics(folder)
    # A second adaptation builds on the first, so its account does too.
    earlier = {"earlier": metrics["adaptation"]} if "adaptation" in metrics else {}
    adaptation = earlier | {
        "from": f"{manifest.config.name}-{manifest.digest}",
        "shop": shop,
        "attributes": summarise(effects),
    }
    write_metrics(folder, metrics | {"adaptation": adaptation})


def _describe(manifest: Manifest, effects: dict[str, Effect], shop: str) -> str:
    return (
        f"{_CARD_HEADING}\n\n"
        f"{escape(manifest.config.name)}, content {manifest.digest}, was adapted to labelled "
        f"products of {escape(shop)}. The figures above are those of the checkpoint before; below, "
        "every product is answered by what was fitted to the others. The gain is by how much less "
        "a label surprises, as the mean over products, with its standard error.\n\n"
        f"{to_report(effects)}"
    )
