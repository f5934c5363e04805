"""Writes an adapted checkpoint: another calibration, another trust, and what they are worth.

All other weights stay. Knows nothing of how they were fitted.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from enrich.adaptation.effect import Effect, find_shifts
from enrich.adaptation.report import format_report, summarise
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
from enrich.markdown import escape

_CARD_HEADING = "## Adapted to a shop"


def with_effects(calibration: Calibration, effects: dict[str, Effect]) -> Calibration:
    """Returns the calibration with what was fitted where that is better; else as it was."""
    better = {attribute: one for attribute, one in effects.items() if one.is_better}
    return Calibration(
        attributes=calibration.attributes | {a: one.calibrated for a, one in better.items()},
        conventions=calibration.conventions,
        fitted=tuple(sorted({*calibration.fitted, *better})),
        corrections=calibration.corrections
        | {a: one.correction for a, one in better.items() if one.correction is not None},
    )


def list_adaptations(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yields what `metrics.json` says of each time that the checkpoint was fitted, the last first.

    The keys are those that `write_adapted` writes: `from`, `shop`, `attributes`.
    """
    adaptation = read_metrics(manifest.folder).get("adaptation")
    while adaptation:
        yield adaptation
        adaptation = adaptation.get("earlier")


def refuse_fitted(manifest: Manifest, attributes: Collection[str]) -> None:
    """Raises ConfigError where the checkpoint has been fitted to labels of these attributes.

    The same labels may be among those that are given now. The checkpoint is right about them
    because it was fitted to them, so the confidence that is fitted now would be too high.
    """
    for adaptation in list_adaptations(manifest):
        fitted = {name for name, one in adaptation["attributes"].items() if one["adapted"]}
        if again := sorted(fitted.intersection(attributes)):
            raise ConfigError(
                f"{manifest.config.name} was fitted to labels of {', '.join(again)} before, which "
                "would flatter it if they are given again: name the checkpoint that it was made "
                f"from ({adaptation['from']}), and give all labels at once"
            )


def write_adapted(
    manifest: Manifest,
    effects: dict[str, Effect],
    name: str,
    shop: str,
    output: Path,
    origin: Manifest | None = None,
) -> None:
    """Writes the checkpoint folder that the job runs like any other.

    Args:
        manifest: The checkpoint that was adapted, perhaps not for the first time.
        effects: What was found for each attribute that had labels.
        name: The new checkpoint's.
        shop: What the card calls the shop.
        output: The folder to write.
        origin: The checkpoint before its label sets were widened, if they were.
    """
    origin = manifest if origin is None else origin
    config = manifest.config.model_copy(update={"name": name})
    calibration = with_effects(manifest.calibration, effects)
    with derived_checkpoint(manifest, config, output) as partial:
        (partial / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
        if shifts := find_shifts(effects):
            add_to_weights(partial, {CmaClip.trust_in(a): shift for a, shift in shifts.items()})
        _add_metrics(partial, origin, effects, shop)
        add_to_card(partial, _describe(origin, effects, shop))


def _add_metrics(folder: Path, manifest: Manifest, effects: dict[str, Effect], shop: str) -> None:
    metrics = read_metrics(folder)
    # A second adaptation builds on the first, whose figures are kept inside those of the second.
    earlier = {"earlier": metrics["adaptation"]} if "adaptation" in metrics else {}
    adaptation = earlier | {
        "from": f"{manifest.config.name}-{manifest.digests.model}",
        "shop": shop,
        "attributes": summarise(effects),
    }
    write_metrics(folder, metrics | {"adaptation": adaptation})


def _describe(manifest: Manifest, effects: dict[str, Effect], shop: str) -> str:
    return (
        f"{_CARD_HEADING}\n\n"
        f"{escape(manifest.config.name)}, content {manifest.digests.model}, was adapted to "
        f"labelled products of {escape(shop)}. The figures above are those of the checkpoint "
        "before; below, every product is answered by what was fitted to the others. The gain is by "
        "how much less a label surprises, as the mean over products, with its standard error.\n\n"
        f"{format_report(effects)}"
    )
