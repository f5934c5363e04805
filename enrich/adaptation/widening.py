"""Label sets widened by an attribute of a source's own, or by new labels.

Encoder and heads stay as they are. A new label has a logit of 0 until a correction is fitted to
labelled products. Answers of all other attributes stay equal bit for bit.
"""

import math
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import ValidationError
from schemas.labels import RESERVED

from enrich.calibration import (
    TARGET_PRECISIONS,
    CalibratedModalities,
    CalibratedSets,
    Calibration,
    Matrix,
    ScoreCorrection,
)
from enrich.classifiers.checkpoint import (
    CLASSIFIERS,
    add_to_card,
    derived_checkpoint,
    load_classifier,
    write_metrics,
)
from enrich.classifiers.config import ClassifierConfig, HuggingFaceTowers, OpenClipTowers
from enrich.classifiers.interface import IMAGE, TEXT
from enrich.classifiers.manifest import Manifest, read_manifest, read_metrics
from enrich.classifiers.pooled import SCALE, embed_prompts
from enrich.engine.spec import CategorySets
from enrich.errors import ConfigError
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.settings_files import describe_invalid
from enrich.terminal import escape

# Fewer products tell nothing of a label. A new label of a trained attribute takes answers from
# labels that thousands of products taught: it needs more.
FEWEST_OF_NEW_ATTRIBUTE, FEWEST_OF_KNOWN_ATTRIBUTE = 5, 20
# What a label that the text names has in front of the others, in log odds, before anybody has
# labelled a product. Fitted weights were 0.4 to 5 on six attributes of a shop of fashion.
_NAMED_WEIGHT = 4.0

LabelSets = dict[str, tuple[str, ...]]


def choose_labels(
    given: pd.DataFrame, known: Mapping[str, Sequence[str]], new: Container[str] = ()
) -> LabelSets:
    """Return the label sets with new labels that enough products carry.

    `given` is as `read_labels` returns it, `known` has the checkpoint's answers by attribute, and
    `new` are attributes that the checkpoint lacks or only guesses, by names. RESERVED labels, for
    which NULL is published, are the last.
    """
    wider = {attribute: tuple(labels) for attribute, labels in known.items()}
    for attribute, rows in given.groupby("attribute", sort=False):
        labels = wider[str(attribute)]
        fewest = fewest_products(str(attribute), known, new)
        counts = rows["label"].value_counts()
        found = counts[(counts >= fewest) & ~counts.index.isin(labels)].index
        nulls = [one for one in (*labels, *found) if one in RESERVED]
        wider[str(attribute)] = (*(o for o in (*labels, *found) if o not in RESERVED), *nulls)
    return wider


def fewest_products(attribute: str, known: Mapping[str, Sequence[str]], new: Container[str]) -> int:
    """Return the number of products that a new label needs; see `choose_labels`."""
    is_new = not known[attribute] or attribute in new
    return FEWEST_OF_NEW_ATTRIBUTE if is_new else FEWEST_OF_KNOWN_ATTRIBUTE


@contextmanager
def widened(
    manifest: Manifest,
    labels: LabelSets,
    shares: Mapping[str, Sequence[float]] | None = None,
    applies_to: CategorySets | None = None,
) -> Iterator[Manifest]:
    """Yield a checkpoint with wider label sets in a temporary folder.

    Label sets are as `choose_labels` orders them. `shares` has the share in (0, 1) of each label
    among labelled products, by attribute to fit. Without shares labels that texts name come first,
    then those that the picture is most similar to, if the towers are aligned. New labels are not
    published then, because no threshold is proved. Attributes in `applies_to` do not apply to other
    product categories. Raises ConfigError if the name of an attribute or a label is not allowed.
    """
    with tempfile.TemporaryDirectory(prefix="widened-", ignore_cleanup_errors=True) as folder:
        output = Path(folder) / "checkpoint"
        write_widened(manifest, labels, manifest.config.name, output, shares, applies_to)
        yield read_manifest(output)


def write_widened(
    manifest: Manifest,
    labels: LabelSets,
    name: str,
    output: Path,
    shares: Mapping[str, Sequence[float]] | None = None,
    applies_to: CategorySets | None = None,
) -> None:
    """Write a checkpoint with wider label sets; see `widened`."""
    config = _widen_config(manifest.config, labels, name, applies_to or {})
    calibration, answers = manifest.calibration, manifest.config.answers
    attributes, corrections = dict(calibration.attributes), dict(calibration.corrections)
    unfitted = [a for a in config.headless if a not in calibration.fitted]
    is_by_picture = shares is None and _has_aligned_towers(manifest.config)
    guessed = [a for a in labels if shares is None and labels[a] != answers.get(a)]
    for attribute, wider in labels.items():
        of_labelled = (shares or {}).get(attribute)
        if attribute in unfitted and (of_labelled or wider != answers.get(attribute)):
            attributes[attribute] = _uncalibrated()
            corrections[attribute] = _start(wider, of_labelled)
            if is_by_picture:
                weight = _weigh_pictures(manifest, attribute, wider)
                correction = corrections[attribute].model_copy(update={"embeds_weight": weight})
                corrections[attribute] = correction
        elif more := len(wider) - len(answers[attribute]):
            floors = (None if shares is None else 0.0,) * more
            known = len(answers[attribute])
            attributes[attribute] = _widen_floors(attributes[attribute], known, floors)
            if attribute in corrections:
                corrections[attribute] = _widen_correction(corrections[attribute], more)
    wide = calibration.model_copy(update={"attributes": attributes, "corrections": corrections})
    with derived_checkpoint(manifest, config, output) as partial:
        checked = Calibration.model_validate(wide.model_dump())
        (partial / "calibration.json").write_text(checked.model_dump_json(indent=2) + "\n")
        if guessed:
            are_new = set(guessed) <= set(unfitted)
            if are_new:
                record_adaptation(partial, manifest, "", {})
            add_to_card(partial, _describe_guessed(guessed, labels, is_by_picture and are_new))


def record_adaptation(
    folder: Path, manifest: Manifest, shop: str, attributes: Mapping[str, object]
) -> None:
    """Add a change of a checkpoint to `metrics.json`; see `list_adaptations`.

    `manifest` is the checkpoint before, `shop` the source whose labels it was fitted to, empty
    without labels, and `attributes` has the figures of each attribute with labels.
    """
    metrics = read_metrics(folder)
    # The figures of earlier changes are kept inside those of the last one.
    earlier = {"earlier": metrics["adaptation"]} if "adaptation" in metrics else {}
    before = f"{manifest.config.name}-{manifest.digests.model}"
    adaptation = earlier | {"from": before, "shop": shop, "attributes": attributes}
    write_metrics(folder, metrics | {"adaptation": adaptation})


def _describe_guessed(attributes: Sequence[str], labels: LabelSets, is_by_picture: bool) -> str:
    said = [f"- {escape(a)}: {escape(', '.join(labels[a]))}" for a in attributes]
    picture = ", and by the picture's similarity to each label's name" if is_by_picture else ""
    return (
        "## Labels added by their names\n\n"
        f"Guessed by the words of titles and descriptions{picture}. "
        "Nothing new is published, because no labels have proved a threshold.\n\n"
        + "\n".join(said)
        + "\n"
    )


def _has_aligned_towers(config: ClassifierConfig) -> bool:
    """Return True if pictures and texts are stored as embeddings of one space.

    So they are in both halves of a CLIP or SigLIP. The small towers and pairs are taught by labels,
    and classifiers of a single stream store what they have mixed.
    """
    is_one_model = isinstance(config.towers, HuggingFaceTowers | OpenClipTowers)
    has_own_embeds = CLASSIFIERS[config.classifier].contrasts_towers
    return is_one_model and has_own_embeds and {IMAGE, TEXT} <= set(config.vectors or ())


def _weigh_pictures(manifest: Manifest, attribute: str, labels: Sequence[str]) -> Matrix:
    """Return weights of a picture's embedding that score each label's prompts.

    The score is the cosine, as in zero-shot CLIP, but for the length of the picture's embedding,
    which changes no ranking: that of the prompts stands in its place.
    """
    classifier, encode_texts = load_classifier(manifest, torch.device("cpu"))
    templates = manifest.config.templates(attribute)
    prompts, length = embed_prompts(classifier.text_tower, encode_texts, templates, labels)
    # In the order of `classifiers.calibrated.join_embeds`: the picture, 1, the text, 1.
    behind = torch.zeros(len(labels), 1 + manifest.config.width_of(TEXT) + 1)
    weight: Float[torch.Tensor, "C E"] = torch.cat([SCALE / length * prompts, behind], dim=1)
    return tuple(map(tuple, weight.tolist()))


def measure_shares(given: pd.DataFrame, labels: LabelSets) -> dict[str, list[float]]:
    """Return the share of each label among the labelled products, by attribute."""
    shares = {}
    for attribute, rows in given.groupby("attribute", sort=False):
        counts = rows["label"].value_counts().reindex([*labels[str(attribute)]]).fillna(0)
        # As if each had been given once more: a share of 0 has no logarithm.
        shares[str(attribute)] = [*((counts + 1) / (counts + 1).sum())]
    return shares


def _widen_config(
    config: ClassifierConfig, labels: LabelSets, name: str, applies_to: CategorySets
) -> ClassifierConfig:
    added = dict(config.added)
    for attribute, wider in labels.items():
        if more := len(wider) - len(config.answers.get(attribute, ())):
            added[attribute] = added.get(attribute, 0) + more
    nulls = {a: tuple(one for one in wider if one in RESERVED) for a, wider in labels.items()}
    named = {a: tuple(one for one in wider if one not in RESERVED) for a, wider in labels.items()}
    update = {
        "attributes": config.attributes | named,
        "nulls": config.nulls | {a: found for a, found in nulls.items() if found},
        "added": added,
        "applies_to": config.applies_to | applies_to,
        "name": name,
    }
    try:
        return ClassifierConfig.model_validate(config.model_dump() | update)
    except ValidationError as error:
        raise ConfigError(
            f"these labels are not allowed: {describe_invalid(error, ClassifierConfig)}"
        ) from error


def _uncalibrated() -> CalibratedSets:
    never = {f"{precision:.2f}": dict.fromkeys(Evidence) for precision in TARGET_PRECISIONS}
    return {
        modalities: CalibratedModalities(temperature=1, thresholds=never, rows=0)
        for modalities in Modalities
    }


def _start(labels: Sequence[str], shares: Sequence[float] | None) -> ScoreCorrection:
    if shares is None:
        return ScoreCorrection(bias=(0.0,) * len(labels), named_weight=_NAMED_WEIGHT)
    return ScoreCorrection(bias=tuple(math.log(share) for share in shares))


def _widen_floors(
    calibrated: CalibratedSets, known: int, more: tuple[float | None, ...]
) -> CalibratedSets:
    """Return the calibration with the floors of new labels, None for never.

    The `known` labels of an attribute without floors get floors of 0.
    """
    wide = {}
    for modalities, one in calibrated.items():
        before = dict.fromkeys(one.thresholds, (0.0,) * known) | one.floors
        floors = {name: (*own, *more) for name, own in before.items()}
        wide[modalities] = one.model_copy(update={"floors": floors})
    return wide


def _widen_correction(correction: ScoreCorrection, more: int) -> ScoreCorrection:
    labels = len(correction.bias)
    wide: dict[str, object] = {"bias": (*correction.bias, *(0.0,) * more)}
    if correction.weight is not None:
        weight = np.eye(labels + more)
        weight[:labels, :labels] = correction.weight
        wide["weight"] = tuple(map(tuple, weight.tolist()))
    if correction.embeds_weight is not None:
        none = (0.0,) * len(correction.embeds_weight[0])
        wide["embeds_weight"] = (*correction.embeds_weight, *(none,) * more)
    return correction.model_copy(update=wide)
