"""Answers of a classifier to labelled rows under a condition, and their figures."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from enrich.calibration import DEFAULT_TARGET_PRECISION, Calibration
from enrich.classifiers.calibrated import join_embeds, to_layer
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput, Vectors
from enrich.engine.device import autocast
from enrich.errors import ConfigError
from enrich.lexicon import LabelFinder
from enrich.records import Modalities
from enrich.training.answers import (
    Answers,
    CalibratedAnswers,
    Figures,
    LabelTruth,
    expected_calibration_error,
    measure_labels,
)
from enrich.training.batches import Batches, Condition
from enrich.training.labelled import UNLABELLED

_BATCH = 256


def ask(
    classifier: Classifier, batches: Batches, rows: np.ndarray, condition: Condition
) -> Iterator[tuple[ModelInputs, ModelOutput]]:
    """Yield inputs and outputs of the rows under a condition, batch by batch.

    As in the job, answers are computed in float32 from vectors that were rounded to float16.
    """
    classifier.eval()
    for inputs in batches.evaluation(rows, condition, _BATCH):
        with torch.inference_mode(), autocast(classifier.device):
            output = classifier(inputs.to(classifier.device))
        yield inputs, output


def encode(
    classifier: Classifier, batches: Batches, rows: np.ndarray, condition: Condition
) -> Vectors:
    """Return the vectors of rows under a condition, as the job stores them."""
    return Vectors.join([out.vectors for _, out in ask(classifier, batches, rows, condition)])


def answer(
    classifier: Classifier,
    batches: Batches,
    rows: np.ndarray,
    condition: Condition,
    attributes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Answers]:
    """Return the classifier's answers by attribute, to readable and labelled rows.

    `attributes` has the answers in the order of the targets; None takes those that have heads.
    """
    rows = batches.readable(rows)
    outputs: list[ModelOutput] = []
    modalities: list[Modalities] = []
    embeds: list[torch.Tensor] = []
    for inputs, output in ask(classifier, batches, rows, condition):
        modalities += map(Modalities.of, inputs.has_image.tolist(), inputs.has_text.tolist())
        outputs.append(output)
        embeds.append(join_embeds(output.vectors))
    attributes = classifier.config.attributes if attributes is None else attributes
    logits, weights = {}, {}
    for attribute, labels in attributes.items():
        scores = [out.logits[attribute].float().cpu() for out in outputs]
        logits[attribute] = torch.cat([torch.empty(0, len(labels)), *scores])
        shares = [o.image_weight[attribute] for o in outputs if attribute in o.image_weight]
        if shares:
            weights[attribute] = torch.cat(shares).float().cpu()
    embedded = torch.cat(embeds) if embeds else torch.empty(0, 0)
    headless = attributes.keys() - classifier.config.attributes.keys()
    named = find_named(attributes, batches, rows, condition, headless)
    return to_answers(batches, rows, modalities, logits, weights, embedded, named)


def find_named(
    attributes: Mapping[str, Sequence[str]],
    batches: Batches,
    rows: np.ndarray,
    condition: Condition,
    in_descriptions: Collection[str] = (),
) -> dict[str, Bool[Tensor, "N C"]]:
    """Return by attribute which labels each row's text names under a condition.

    Titles are looked at, for attributes `in_descriptions` also descriptions, as in the job.
    """
    # Labels of one classifier, because `label_words` may have those of several.
    finder = LabelFinder(attributes, batches.label_words.lexicon, in_descriptions)
    named = finder.find(batches.under(rows, condition).wordings)
    return {attribute: torch.from_numpy(found.every) for attribute, found in named.items()}


def to_answers(
    batches: Batches,
    rows: np.ndarray,
    modalities: list[Modalities],
    logits: Mapping[str, Float[Tensor, "N _"]],
    weights: Mapping[str, Float[Tensor, " N"]],
    embeds: Float[Tensor, "N E"],
    named: Mapping[str, Bool[Tensor, "N _"]],
) -> dict[str, Answers]:
    """Return the labelled rows' answers by attribute, in the order of the targets.

    Of N `rows` all is given in their order; `weights` are shares of the image, if there are any.
    """
    products = batches.products
    answers = {}
    for column, (attribute, scores) in enumerate(logits.items()):
        every_row = Answers(
            product=torch.from_numpy(rows),
            groups=torch.from_numpy(products.groups[rows]),
            modalities=modalities,
            logits=scores,
            embeds=embeds,
            targets=torch.from_numpy(products.targets[rows, column]),
            image_weight=weights.get(attribute),
            named=named[attribute],
        )
        answers[attribute] = every_row.where(every_row.targets != UNLABELLED)
    return answers


def evaluate(
    classifier: Classifier, batches: Batches, rows: np.ndarray, calibration: Calibration
) -> tuple[dict[str, dict[str, Figures]], dict[str, dict[str, LabelTruth]]]:
    """Return figures of calibrated answers, and what each label is worth.

    Figures are by condition and attribute. The truth of labels, by attribute and label, is that of
    products as they are, at the default target precision.
    """
    figures: dict[str, dict[str, Figures]] = {}
    truths = {}
    for condition in Condition:
        figures[condition.value] = {}
        for attribute, answers in answer(classifier, batches, rows, condition).items():
            calibrated = apply_calibration(calibration, attribute, answers)
            figures[condition.value][attribute] = measure_answers(calibrated)
            if condition is Condition.AS_IS and len(answers):
                confidence, best = calibrated.probs.max(1)
                given = confidence >= calibrated.thresholds[DEFAULT_TARGET_PRECISION]
                labels = classifier.config.attributes[attribute]
                truths[attribute] = measure_labels(
                    best, given, answers.targets, answers.groups, labels
                )
    return figures, truths


def apply_calibration(
    calibration: Calibration, attribute: str, answers: Answers
) -> CalibratedAnswers:
    """Return the answers to an attribute as the job gives them."""
    layer = to_layer(calibration.corrections.get(attribute))
    return CalibratedAnswers.by(answers, calibration.attributes[attribute], layer)


def measure_answers(answers: CalibratedAnswers) -> Figures:
    """Return every figure of one attribute under one condition."""
    figures, of = answers.measure(), answers.of
    if len(of) == 0:
        return figures
    confidence, best = of.logits.softmax(1).max(1)
    ece = expected_calibration_error(confidence, best == of.targets)
    figures["ece_before_calibration"] = round(ece, 4)
    if of.image_weight is not None:
        figures["mean_image_weight"] = round(of.image_weight.mean().item(), 4)
    return figures


def selection_score(
    classifier: Classifier, batches: Batches, rows: np.ndarray, conditions: Sequence[Condition]
) -> float:
    """Return the score of an epoch, the mean accuracy over conditions and attributes.

    A classifier that reads only the text, or only the picture, does badly under one of the
    conditions.
    """
    accuracies = [
        (found.logits.argmax(1) == found.targets).float().mean().item()
        for condition in conditions
        for found in answer(classifier, batches, rows, condition).values()
        if len(found)
    ]
    if not accuracies:
        raise ConfigError(
            "products to validate cannot be read: found 0 readable ones with a label, expected 1 "
            "or more"
        )
    return sum(accuracies) / len(accuracies)
