"""Fit a checkpoint to labelled products, report the gain, and write it.

Every figure is cross-validated by groups of near-identical products, the strength of the prior
included. Labels that say little of a source are refused: what is fitted to them looks good on them
and is worse elsewhere.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from jaxtyping import Int
from torch import Tensor

from enrich.adaptation.readings import FindsEncodings, Readings, fullest, take_readings
from enrich.adaptation.scores import deal_folds, leave_scores, weigh_anew, with_correction
from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.trial import (
    FEWEST_LABELS,
    Effect,
    Trial,
    calibrate_held_out,
    find_shifts,
    leave,
)
from enrich.adaptation.widening import record_adaptation, widened
from enrich.calibration import CalibratedSets, Calibration
from enrich.classifiers.checkpoint import add_to_card, add_to_weights, derived_checkpoint
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.manifest import Manifest, list_adaptations
from enrich.engine.engine import Engine
from enrich.engine.prefetch import one_intra_op_thread
from enrich.engine.spec import open_engine
from enrich.errors import AdaptationRefused, ConfigError
from enrich.files.products import Source
from enrich.terminal import Table, escape, format_figure, print_markdown, to_markdown, watch
from enrich.training.answers import HEADINGS, Answers, CalibratedAnswers, Figures
from enrich.training.labelled import UNLABELLED

_SHOWN = (
    "accuracy",
    "macro_f1",
    "recall_at_90_precision",
    "precision_at_90_threshold",
    "answered_at_90_threshold",
    "ece",
)

_CARD_HEADING = "## Adapted to a shop"

# Where confidence is further off than this, and answers are hardly ever right, the labelled
# products were chosen for being wrong. In a shop that no training had seen, the lowest accuracy of
# 15 kinds of goods was 0.20.
_SUSPICIOUS_ECE, _HARDLY_EVER_RIGHT = 0.3, 0.1
_ADVICE = "label products that --suggest draws"


def find_flaw(answers: Answers, calibrated: CalibratedSets, names: Sequence[str]) -> str | None:
    """Return the reason not to fit to these labels, None without one."""
    given = answers.targets.unique().tolist()
    if len(given) == 1:
        return f"all its labels are '{names[given[0]]}', which says nothing of others: {_ADVICE}"
    figures = CalibratedAnswers.by(answers, calibrated).measure()
    accuracy, ece = figures["accuracy"] or 0, figures["ece"] or 0
    if accuracy >= _HARDLY_EVER_RIGHT or ece <= _SUSPICIOUS_ECE:
        return None
    return (
        f"the classifier is right in {accuracy:.0%} of these products, far less than its "
        "confidence says. If they were chosen because it got them wrong, fitting teaches it its "
        f"mistakes: {_ADVICE}"
    )


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Effects of adaptation by attribute, and the reasons where it was not tried.

    `too_few` and `flaws` are such reasons. `outlooks` are of added attributes, `stored` counts
    labelled products whose encoding was stored, `images_opened` pictures that were decoded.
    """

    effects: dict[str, Effect]
    too_few: dict[str, str]
    flaws: dict[str, str]
    outlooks: dict[str, "Outlook"] = field(default_factory=dict)
    stored: int = 0
    images_opened: int = 0

    @property
    def left(self) -> dict[str, str]:
        """Reasons by attribute that stays as it was, because untried or no better."""
        tried = {name: effect.drawback for name, effect in self.effects.items()}
        return self.too_few | self.flaws | {name: why for name, why in tried.items() if why}


@dataclass(frozen=True, slots=True)
class Outlook:
    """Accuracy in [0, 1] with half of the labels, and expected with twice as many.

    The error of a fit falls about as one over the root of the number of labels. So twice as many
    labels gain 0.7 of what the second half of them gained.
    """

    labels: int
    at_half: float
    at_twice: float

    @classmethod
    def of(cls, labels: int, accuracy: float, at_half: float) -> "Outlook":
        """Return the outlook from the accuracies with all labels and with half of them."""
        gain = max(0.0, accuracy - at_half) / math.sqrt(2)
        return cls(labels, at_half, min(1.0, round(accuracy + gain, 4)))


def adapt(
    engine: Engine, labels: ShopLabels, find_encodings: FindsEncodings | None = None
) -> Adaptation:
    """Try adaptation on each attribute with enough labels that say enough.

    Raises ConfigError if images are named, and 0 of them can be read.
    """
    calibration = engine.answerer.calibration
    read = take_readings(engine, labels, find_encodings)
    taken = read.by_attribute
    answers = {attribute: fullest(readings.answers) for attribute, readings in taken.items()}
    too_few, flaws = {}, {}
    for attribute, targets in labels.targets.items():
        base, names = calibration.attributes[attribute], labels.labels[attribute]
        if shortage := _tell_shortage(targets, answers.get(attribute)):
            too_few[attribute] = shortage
        elif flaw := find_flaw(answers[attribute], base, names):
            flaws[attribute] = flaw
    fitted = [attribute for attribute in labels.targets if attribute not in {*too_few, *flaws}]
    fold_of = deal_folds(torch.from_numpy(labels.groups))
    effects = {
        attribute: adapt_attribute(taken[attribute], fold_of, calibration, attribute)
        for attribute in watch(fitted, "fitting", len(fitted))
    }
    outlooks = {
        attribute: _look_ahead(taken[attribute], fold_of, calibration, attribute, effect)
        for attribute, effect in effects.items()
        if taken[attribute].is_added
    }
    return Adaptation(effects, too_few, flaws, outlooks, read.stored, read.images_opened)


def _look_ahead(
    readings: Readings,
    fold_of: Int[Tensor, " N"],
    calibration: Calibration,
    attribute: str,
    effect: Effect,
) -> Outlook:
    """Return the outlook of an attribute, by a fit to half of the groups."""
    _, numbered = fullest(readings.answers).groups.unique(return_inverse=True)
    groups = fullest(readings.answers).groups[numbered % 2 == 0]
    some = [one.where(torch.isin(one.groups, groups)) for one in readings.answers]
    half = adapt_attribute(replace(readings, answers=some), fold_of, calibration, attribute)
    accuracy, at_half = effect.after["accuracy"] or 0.0, half.after["accuracy"] or 0.0
    return Outlook.of(int(effect.after["rows"] or 0), accuracy, at_half)


def _tell_shortage(targets: np.ndarray, answers: Answers | None) -> str | None:
    given = (targets != UNLABELLED).sum()
    if given < FEWEST_LABELS:
        return f"{given} labels are fewer than {FEWEST_LABELS}"
    if answers is None or len(answers) < FEWEST_LABELS:
        return f"fewer than {FEWEST_LABELS} of its {given} labelled products can be read"
    return None


def adapt_attribute(
    readings: Readings, fold_of: Int[Tensor, " N"], calibration: Calibration, attribute: str
) -> Effect:
    """Fit an attribute's modality bias, correction and calibration.

    Temperatures and thresholds are fitted first, then another modality bias and a correction are
    tried beside them. Each has to be better than the checkpoint as it is, and better than the best
    fit without it. Otherwise a correction would be taken for any classifier that is too sure, which
    a temperature mends with far fewer numbers. If nothing is surely better, but the labels refute
    the thresholds, temperatures and thresholds alone are fitted. Then less is answered until more
    labels prove more. If the labels confirm the thresholds, all stays, and the attribute counts as
    fitted to this source.
    """
    base = calibration.attributes[attribute]
    earlier = calibration.corrections.get(attribute)
    as_it_is = leave(readings.answers, base, earlier)

    def is_better(trial: Trial, than: Trial) -> bool:
        return trial.compare(as_it_is).is_better and trial.compare(than).is_better

    scoring = leave_scores(readings, earlier)
    best = recalibrated = calibrate_held_out(scoring, fold_of, base)
    weighed = weigh_anew(readings, fold_of, base, earlier)
    if weighed.bias_shift:
        trial = calibrate_held_out(weighed, fold_of, base)
        if is_better(trial, best):
            scoring, best = weighed, trial
    corrected = with_correction(scoring, fold_of, base, is_added=readings.is_added)
    trial = calibrate_held_out(corrected, fold_of, base)
    effect = (trial if is_better(trial, best) else best).compare(as_it_is)
    if effect.is_better:
        return effect
    if as_it_is.is_confirmed():
        return replace(as_it_is.compare(as_it_is), is_confirmed=True)
    if as_it_is.keeps_promise():
        return effect
    return replace(recalibrated.compare(as_it_is), is_needed=True)


def fit_checkpoint(
    manifest: Manifest,
    labelled: ShopLabels,
    source: Source,
    name: str,
    output: Path,
    find_encodings: FindsEncodings | None = None,
) -> Adaptation:
    """Write a checkpoint that is fitted to labels, some of which may be new to it.

    Label sets become wider only where the fitted attribute has new answers. Progress and a table go
    to the terminal. The source's settings say how pictures are read, and the model card names its
    folder. Pictures of products with an encoding that `find_encodings` finds are not opened where
    it holds all that is fitted.

    Raises ConfigError if all attributes have too few labels, or one has been fitted before, and
    AdaptationRefused if all attributes would be answered worse or the same, or the labels say too
    little of the source.
    """
    refuse_fitted(manifest, labelled.targets)
    for attribute, few in labelled.left_out.items():
        counts = ", ".join(f"{label} ({count})" for label, count in few.items())
        typer.echo(
            f"{attribute}: left out, for too few products carry it: {counts}. Products like these "
            "get another label, and the figures do not count them",
            err=True,
        )
    with widened(manifest, labelled.labels, labelled.shares) as wide:
        engine = open_engine(wide, source.image_root, source.settings)
        adapted = _fit(engine, labelled, find_encodings)
    better = {
        attribute: labels
        for attribute, labels in labelled.labels.items()
        if attribute in adapted.effects and _has_changed(adapted.effects[attribute])
    }
    applies_to = {a: found for a, found in labelled.applies_to.items() if a in better}
    for attribute, categories in applies_to.items():
        typer.echo(f"{attribute}: applies to {', '.join(categories)}", err=True)
    sets = manifest.config.answers | better
    # Attributes without shares stay as they are, guessed ones too.
    shares = {attribute: labelled.shares[attribute] for attribute in better}
    with widened(manifest, sets, shares, applies_to) as wide:
        write_adapted(wide, adapted.effects, name, source.folder.name, output, manifest)
    return adapted


def _fit(engine: Engine, labelled: ShopLabels, find_encodings: FindsEncodings | None) -> Adaptation:
    """Fit, and print effects and reasons."""
    # Beside a busy process threads that share out small sums would wait for each other.
    with one_intra_op_thread():
        adapted = adapt(engine, labelled, find_encodings)
    stored = f"{adapted.stored:,} encodings of the database, " if find_encodings else ""
    typer.echo(
        f"{len(labelled.products):,} labelled products: {stored}{adapted.images_opened:,} pictures "
        "opened",
        err=True,
    )
    for attribute, reason in adapted.left.items():
        typer.echo(f"{attribute}: left as it was, {reason}", err=True)
    if not adapted.effects and not adapted.flaws:
        raise ConfigError(
            f"labels are too few: found 0 attributes with {FEWEST_LABELS} readable products, "
            "expected 1 or more. Label more products"
        )
    if not adapted.effects:
        raise AdaptationRefused("these labels do not help fitting: nothing is written")
    print_markdown(format_report(adapted.effects))
    for attribute, effect in adapted.effects.items():
        if effect.is_confirmed:
            typer.echo(
                f"{attribute}: these labels confirm the thresholds, which stay as they are, also "
                "where the shop looks unlike those of training",
                err=True,
            )
        elif effect.is_better:
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
            "fitting helps 0 attributes: nothing is written. Give more labels, of products that "
            "--suggest draws"
        )
    return adapted


def format_report(effects: dict[str, Effect]) -> str:
    """Return the table as Markdown, with notes on what its figures do not show."""
    notes = [_tell_bias(attribute, shift) for attribute, shift in find_shifts(effects).items()]
    return "\n".join([to_markdown(to_table(effects)), *(f"{note}\n" for note in notes)])


def to_table(effects: dict[str, Effect]) -> Table:
    """Return each attribute's figures before and after, and whether it was adapted."""
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
    """Return the effects as plain values, without what was fitted."""
    return {
        attribute: {
            "adapted": _has_changed(effect),
            "thresholds_alone": effect.is_needed,
            "thresholds_confirmed": effect.is_confirmed,
            "gain_nats": round(effect.gain.mean, 4),
            # Labels of a single text tell nothing of the error.
            "gain_error_nats": (
                round(effect.gain.error, 4) if math.isfinite(effect.gain.error) else None
            ),
            "worse_from": [str(modalities) for modalities in effect.worse_from],
            "loses_answers": effect.loses_answers,
            "bias_shift": effect.bias_shift,
            "given_at_90": round(effect.given, 4),
            "before": effect.before,
            "after": effect.after,
        }
        for attribute, effect in effects.items()
    }


def _has_changed(effect: Effect) -> bool:
    """Return True for a fit that is worth it and changes answers."""
    return effect.is_better and not effect.is_confirmed


def _verdict(effect: Effect) -> str:
    if effect.is_confirmed:
        return "thresholds confirmed"
    if effect.is_better:
        what = "thresholds adapted" if effect.is_needed else "adapted"
        return what + ("" if effect.given else ": nothing answered at 90 %")
    return f"left as it was: {effect.drawback}"


def _tell_bias(attribute: str, shift: float) -> str:
    more, less = ("pictures", "texts") if shift > 0 else ("texts", "pictures")
    return (
        f"For {escape(attribute)}, {more} of this shop count more than before, and {less} "
        f"less (by {abs(shift):g}, where 2.2 makes 50 % to 90 %)."
    )


def _cells(figures: Figures) -> list[str]:
    return [format_figure(figures.get(figure)) for figure in _SHOWN]


def with_effects(calibration: Calibration, effects: dict[str, Effect]) -> Calibration:
    """Return the calibration with all fits that are worth it.

    An attribute whose thresholds are confirmed keeps its calibration, and counts as fitted.
    """
    fitted = [attribute for attribute, one in effects.items() if one.is_better]
    better = {
        attribute: effects[attribute] for attribute in fitted if _has_changed(effects[attribute])
    }
    corrections = {a: one.correction for a, one in better.items() if one.correction is not None}
    return calibration.model_copy(
        update={
            "attributes": calibration.attributes | {a: e.calibrated for a, e in better.items()},
            "corrections": calibration.corrections | corrections,
            "fitted": tuple(sorted({*calibration.fitted, *fitted})),
        }
    )


def refuse_fitted(manifest: Manifest, attributes: Collection[str]) -> None:
    """Refuse a checkpoint that was fitted to labels of these attributes before.

    The same labels may be given again. The checkpoint is right about them because it was fitted to
    them, so the confidence would become too high.
    """
    for adaptation in list_adaptations(manifest):
        fitted = {name for name, one in adaptation["attributes"].items() if one["adapted"]}
        if again := sorted(fitted.intersection(attributes)):
            raise ConfigError(
                f"{manifest.config.name} was fitted to labels of {', '.join(again)} before, and "
                "the same labels would make it too sure. Start from the checkpoint before it "
                f"({adaptation['from']}), and give all labels at once"
            )


def write_adapted(
    manifest: Manifest,
    effects: dict[str, Effect],
    name: str,
    shop: str,
    output: Path,
    origin: Manifest | None = None,
) -> None:
    """Write the folder of an adapted checkpoint.

    `shop` names the source on the card. `origin` is the checkpoint before its label sets were
    widened, if they were.
    """
    origin = manifest if origin is None else origin
    config = manifest.config.model_copy(update={"name": name})
    calibration = with_effects(manifest.calibration, effects)
    with derived_checkpoint(manifest, config, output) as partial:
        (partial / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
        if shifts := find_shifts(effects):
            add_to_weights(partial, {CmaClip.name_of_bias(a): shift for a, shift in shifts.items()})
        record_adaptation(partial, origin, shop, summarise(effects))
        add_to_card(partial, _describe(origin, effects, shop))


def _describe(manifest: Manifest, effects: dict[str, Effect], shop: str) -> str:
    return (
        f"{_CARD_HEADING}\n\n"
        f"{escape(manifest.config.name)}, content {manifest.digests.model}, was adapted to "
        f"labelled products of {escape(shop)}. The figures above are those of the checkpoint "
        "before; below, every product is answered by what was fitted to the others. The gain is by "
        "how much less a label surprises, as the mean over products, with its standard error.\n\n"
        f"{format_report(effects)}"
    )
