"""Answers of a classifier to labelled products, and their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from enrich.calibration import TARGET_PRECISIONS, CalibratedSets, LeastTable, places_of
from enrich.certificates import exact_interval
from enrich.classifiers.calibrated import Layer, apply_layer, at_temperatures, log_temperatures
from enrich.lexicon import weigh
from enrich.records import Modalities
from enrich.training.calibration import LabelledLogits

Figures = dict[str, float | int | None]


class LabelTruth(NamedTuple):
    """Counts of a label, of products that have it, were given it, and both."""

    rows: int
    given: int
    right: int

    @property
    def precision(self) -> tuple[float, float]:
        """The 95 % interval of the share of right ones among the given."""
        return exact_interval(self.right, self.given)

    @property
    def recall(self) -> tuple[float, float]:
        """The 95 % interval of the share of given among products with the label."""
        return exact_interval(self.right, self.rows)


def measure_labels(
    best: Int[Tensor, " N"],
    given: Bool[Tensor, " N"],
    targets: Int[Tensor, " N"],
    groups: Int[Tensor, " N"],
    labels: Sequence[str],
) -> dict[str, LabelTruth]:
    """Return the truth of each label that a row has or was given.

    One row of each group of near-identical products counts.
    """
    first = np.unique(groups.numpy(), return_index=True)[1]
    best, given, targets = best[first], given[first], targets[first]
    counts = [
        torch.bincount(of, minlength=len(labels)).tolist()
        for of in (targets, best[given], best[given & (best == targets)])
    ]
    return {
        label: LabelTruth(*each) for label, *each in zip(labels, *counts, strict=True) if any(each)
    }


# Of equal width over [0, 1], as in Guo et al. 2017.
BINS = 15

# Names of the figures in tables. t90 is the checkpoint's own threshold for a precision of 90 %.
HEADINGS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "recall_at_90_precision": "R@90P",
    "recall_at_95_precision": "R@95P",
    "precision_at_90_threshold": "precision at t90",
    "answered_at_90_threshold": "answered at t90",
    "precision_at_95_threshold": "precision at t95",
    "answered_at_95_threshold": "answered at t95",
    "right_of_unsure_at_90_threshold": "right of unsure at t90",
    "ece_before_calibration": "ECE before",
    "ece": "ECE",
    "mean_image_weight": "image weight",
}


def measure(probs: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> Figures:
    """Return all figures of one attribute, on labelled rows."""
    if len(targets) == 0:
        return {"rows": 0}
    confidence, best = probs.max(1)
    is_right, every_row = best == targets, once(len(targets))
    figures: dict[str, Tensor | float] = {
        "accuracy": is_right.float().mean(),
        "macro_f1": macro_f1(best, targets, every_row),
        "recall_at_90_precision": recall_at_precision(confidence, is_right, 0.90, every_row),
        "recall_at_95_precision": recall_at_precision(confidence, is_right, 0.95, every_row),
        "ece": expected_calibration_error(confidence, is_right),
    }
    return {"rows": len(targets), **{name: round(float(one), 4) for name, one in figures.items()}}


def measure_thresholds(
    probs: Float[Tensor, "N C"],
    targets: Int[Tensor, " N"],
    thresholds: Mapping[float, Float[Tensor, " N"]],
) -> Figures:
    """Return precision and share of given answers, and how many others are right.

    Of one row or more, `thresholds` maps a target precision to the confidence from which on each is
    answered. A share of 0 rows is None.
    """
    confidence, best = probs.max(1)
    is_right = best == targets
    figures: Figures = {}
    for precision, threshold in thresholds.items():
        answered, at = confidence >= threshold, f"at_{100 * precision:.0f}_threshold"
        figures[f"precision_{at}"] = _mean(is_right[answered])
        figures[f"answered_{at}"] = _mean(answered)
        figures[f"right_of_unsure_{at}"] = _mean(is_right[~answered])
    return figures


def _mean(of: Bool[Tensor, " N"]) -> float | None:
    return round(of.double().mean().item(), 4) if len(of) else None


def macro_f1(
    best: Int[Tensor, " N"], targets: Int[Tensor, " N"], weights: Float[Tensor, "R N"]
) -> Float[Tensor, " R"]:
    """Return the mean F1 over labels in `targets` for each weighting, in [0, 1].

    A weighting has the number of times that each row counts, as in a bootstrap draw. A label
    without a counting row keeps its F1 over all rows. If it were left out, a rare label that is
    never answered would raise the mean of every draw without it.
    """
    labels = targets.unique()
    answered, wanted = ((of.unsqueeze(1) == labels).to(weights.dtype) for of in (best, targets))
    # In front of the others goes the weighting in which every row counts once.
    weights = torch.cat([torch.ones_like(weights[:1]), weights])
    hits, answers, occurrences = (weights @ rows for rows in (answered * wanted, answered, wanted))
    scores = 2 * hits / (answers + occurrences)
    return scores.where(occurrences > 0, scores[:1])[1:].mean(1)


def recall_at_precision(
    confidence: Float[Tensor, " N"],
    is_right: Bool[Tensor, " N"],
    precision: float,
    weights: Float[Tensor, "R N"],
) -> Float[Tensor, " R"]:
    """Return the recall at a precision for each weighting, in [0, 1].

    It is the share of all rows that are answered correctly above the lowest threshold with that
    precision; nan for a weighting without a counting row. The CMA-CLIP paper (arXiv 2112.03562)
    compares classifiers by it.
    """
    confidence, order = confidence.sort(descending=True)
    weights = weights[:, order]
    hits = (weights * is_right[order]).cumsum(1)
    good = (hits / weights.cumsum(1) >= precision) & last_of_ties(confidence)
    # Hits only grow along the row, so the largest good one is that of the lowest threshold.
    return (hits * good).amax(1) / weights.sum(1)


def last_of_ties(confidence: Float[Tensor, " N"]) -> Bool[Tensor, " N"]:
    """Return the mask of sorted rows that are the last of their confidence.

    Rows of equal confidence are above a threshold together or not at all.
    """
    is_last = torch.ones(len(confidence), dtype=torch.bool)
    is_last[:-1] = confidence[:-1] != confidence[1:]
    return is_last


def once(rows: int) -> Float[Tensor, "1 N"]:
    """Return the weighting under which each row counts once."""
    return torch.ones(1, rows, dtype=torch.double)


def expected_calibration_error(
    confidence: Float[Tensor, " N"], is_right: Bool[Tensor, " N"]
) -> float:
    """Return the mean gap of confidence and accuracy over BINS bins, in [0, 1]."""
    gap = torch.zeros(BINS).index_add_(
        0, find_bins(confidence), confidence.float() - is_right.float()
    )
    return float(gap.abs().sum() / len(confidence))


def find_bins(confidence: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Return the bin of each confidence, in [0, BINS)."""
    return (confidence * BINS).long().clamp(max=BINS - 1)


@dataclass(frozen=True, slots=True)
class Answers:
    """The scores of M products with a label of one attribute.

    Attributes:
        product: number of each row's product.
        groups: number of each row's group of near-identical products.
        modalities: modalities that were read of each product.
        logits: scores before temperatures.
        embeds: vectors as `join_embeds` returns them.
        targets: index of each row's label.
        image_weight: share of the image in each answer, in [0, 1]; None if the classifier does not
            weigh its modalities.
        named: labels that each product's title names.
    """

    product: Int[Tensor, " M"]
    groups: Int[Tensor, " M"]
    modalities: list[Modalities]
    logits: Float[Tensor, "M C"]
    embeds: Float[Tensor, "M E"]
    targets: Int[Tensor, " M"]
    image_weight: Float[Tensor, " M"] | None
    named: Bool[Tensor, "M C"]

    def __len__(self) -> int:
        return len(self.targets)

    def where(self, kept: Bool[Tensor, " M"]) -> "Answers":
        """Select rows by a mask."""
        return Answers(
            product=self.product[kept],
            groups=self.groups[kept],
            modalities=[self.modalities[row] for row in kept.nonzero().flatten()],
            logits=self.logits[kept],
            embeds=self.embeds[kept],
            targets=self.targets[kept],
            image_weight=None if self.image_weight is None else self.image_weight[kept],
            named=self.named[kept],
        )

    @staticmethod
    def join(parts: "Sequence[Answers]") -> "Answers":
        """Return the rows of all parts, in order; image weights only if all have them."""
        weights = [one.image_weight for one in parts if one.image_weight is not None]
        return Answers(
            product=torch.cat([one.product for one in parts]),
            groups=torch.cat([one.groups for one in parts]),
            modalities=[modalities for one in parts for modalities in one.modalities],
            logits=torch.cat([one.logits for one in parts]),
            embeds=torch.cat([one.embeds for one in parts]),
            targets=torch.cat([one.targets for one in parts]),
            image_weight=torch.cat(weights) if len(weights) == len(parts) else None,
            named=torch.cat([one.named for one in parts]),
        )

    def corrected(self, layer: Layer | None) -> "Answers":
        """Return the answers with logits corrected by a layer, if one is given."""
        return replace(self, logits=apply_layer(self.logits, self.embeds, self.named, layer))

    def log_temperature(self, calibrated: CalibratedSets) -> Float[Tensor, " M"]:
        """Return the logarithm of each row's temperature."""
        return log_temperatures([calibrated[m] for m in self.modalities], self.image_weight)

    def read_from(self, modalities: Modalities) -> "Answers":
        """Return the rows that were read from exactly these modalities."""
        mine = [own is modalities for own in self.modalities]
        return self.where(torch.tensor(mine, dtype=torch.bool))

    def to_calibrate(self, share: float = 1.0) -> LabelledLogits:
        """Return the input of calibration, rows of one set of modalities."""
        # A row of one modality has all its weight there. Without a row `mixed` is true, because
        # temperatures use the weights only if every condition has them.
        mixed = all(m is Modalities.IMAGE_AND_TEXT for m in self.modalities)
        return LabelledLogits(
            self.logits,
            self.targets,
            self.image_weight if mixed else None,
            share,
            self.named,
            self.groups,
        )


@dataclass(frozen=True, slots=True)
class CalibratedAnswers:
    """Probabilities of answers, and the threshold of each.

    `of` are the answers before calibration. `thresholds` maps a target precision to the confidences
    from which on each row is answered.
    """

    of: Answers
    probs: Float[Tensor, "M C"]
    thresholds: dict[float, Float[Tensor, " M"]]

    @classmethod
    def by(
        cls, answers: Answers, calibrated: CalibratedSets, correction: Layer | None = None
    ) -> "CalibratedAnswers":
        """Return the answers as the job gives them, after a correction if one is given."""
        rows = [calibrated[m] for m in answers.modalities]
        probs = at_temperatures(answers.corrected(correction).logits, rows, answers.image_weight)
        best, labels = probs.argmax(1).numpy(), probs.shape[1]
        places = places_of(answers.modalities, calibrated)
        evidence, thresholds = weigh(answers.named.numpy(), best), {}
        for precision in TARGET_PRECISIONS:
            at = {m: one.at_precision(precision, labels) for m, one in calibrated.items()}
            least = LeastTable.of(at, calibrated).find(places, evidence, best)
            thresholds[precision] = torch.from_numpy(least).float()
        return cls(of=answers, probs=probs, thresholds=thresholds)

    def measure(self) -> Figures:
        """Return the figures of answers and thresholds."""
        figures = measure(self.probs, self.of.targets)
        if len(self.of):
            figures |= measure_thresholds(self.probs, self.of.targets, self.thresholds)
        return figures
