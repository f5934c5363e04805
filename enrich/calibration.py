"""Temperatures and abstention thresholds, the content of `calibration.json`.

There is one temperature per attribute and set of modalities, because a row without a picture is
unsure in another way. `enrich.training.calibration` fits them, and `enrich.classifiers.calibrated`
applies them. Free of torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from enrich.lexicon import Evidence
from enrich.records import Modalities

DEFAULT_TARGET_PRECISION = 0.90
TARGET_PRECISIONS = (DEFAULT_TARGET_PRECISION, 0.95)


class UnseenSource(StrEnum):
    """Conduct in a source that looks unlike those of training."""

    STRICT = "strict"
    CALIBRATED = "calibrated"


# By what the text says of an answer, the confidence from which on it is given.
EvidenceThresholds = dict[Evidence, float | None]


class Least(NamedTuple):
    """The least confidence of an answer, by evidence and by label.

    Both must be reached; inf never is.
    """

    by_evidence: Mapping[Evidence, float]
    by_label: tuple[float, ...]


class LeastTable(NamedTuple):
    """An attribute's `Least` for M sets of modalities, as arrays.

    `by_evidence` (M, 4) is by place in `Evidence`, `by_label` (M, C) by label.
    """

    by_evidence: np.ndarray
    by_label: np.ndarray

    @classmethod
    def of(
        cls, by_modalities: Mapping[Modalities, Least], order: Iterable[Modalities] = Modalities
    ) -> "LeastTable":
        """Return the table of an attribute, with rows in this order."""
        each = [by_modalities[one] for one in order]
        by_evidence = [[one.by_evidence[kind] for kind in Evidence] for one in each]
        return cls(np.array(by_evidence), np.array([one.by_label for one in each]))

    def find(self, places: np.ndarray, evidence: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Return the confidence from which on each answer is given, (N,); inf is never.

        `places` (N,) are those of `places_of`, `evidence` (N,) those of `weigh`, and `best` (N,)
        the places of the answers' labels.
        """
        return np.maximum(self.by_evidence[places, evidence], self.by_label[places, best])


def places_of(
    modalities: Sequence[Modalities], order: Iterable[Modalities] = Modalities
) -> np.ndarray:
    """Return the place of each one in an order, (N,)."""
    known = {one: place for place, one in enumerate(order)}
    return np.array([known[one] for one in modalities], dtype=np.int64)


# By attribute and set of modalities.
Thresholds = Mapping[str, Mapping[Modalities, Least]]


def list_never_answered(thresholds: Thresholds) -> tuple[str, ...]:
    """Return the attributes that are never answered where there is a picture.

    At a high target precision words may still prove an answer where there is no picture.
    """

    def is_reachable(least: Least) -> bool:
        return math.inf not in (min(least.by_evidence.values()), min(least.by_label))

    return tuple(
        attribute
        for attribute, sets in thresholds.items()
        if not any(is_reachable(sets[one]) for one in sets if one is not Modalities.TEXT)
    )


def shift_threshold(least: float, shift: float) -> float:
    """Return a threshold moved by so much in log odds, 0.5 at least; inf stays inf.

    An answer that is more likely wrong than right is never given.
    """
    if least == math.inf:
        return least
    inner = min(max(least, 1e-6), 1 - 1e-6)
    return max(0.5, 1 / (1 + math.exp(-(math.log(inner / (1 - inner)) + shift))))


Matrix = tuple[tuple[FiniteFloat, ...], ...]


class CalibratedModalities(BaseModel):
    """Temperature and thresholds of one attribute for one set of modalities.

    An answer read from the picture is unsure in another way than one whose text says it. With
    an `image_temperature` the temperature of a row of image weight w is temperature^(1 - w) *
    image_temperature^w. Without one it is `temperature` for all.

    `thresholds` maps a target precision ("0.90") and the evidence of the text to a confidence
    in [0, 1]. None means that no threshold reaches the precision: then the classifier always
    abstains. `floors` maps a target precision to the least confidence of each label's answers,
    None for never. Without an entry labels have no floor. All rest on `rows` rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0)
    image_temperature: float | None = Field(default=None, gt=0)
    thresholds: dict[str, EvidenceThresholds]
    floors: dict[str, tuple[float | None, ...]] = {}
    rows: int = Field(ge=0)

    @field_validator("thresholds")
    @classmethod
    def _has_every_precision(
        cls, given: dict[str, EvidenceThresholds]
    ) -> dict[str, EvidenceThresholds]:
        if missing := {f"{precision:.2f}" for precision in TARGET_PRECISIONS} - set(given):
            raise ValueError(f"no threshold for precision {', '.join(sorted(missing))}")
        for precision, by_evidence in given.items():
            if unset := set(Evidence) - set(by_evidence):
                raise ValueError(f"no threshold for {', '.join(sorted(unset))} at {precision}")
        return given

    def at_precision(self, target_precision: float, labels: int) -> Least:
        """Return the least confidences at a target precision, for `labels` labels."""
        name = f"{target_precision:.2f}"
        found = self.thresholds[name]
        floors = self.floors.get(name, (0.0,) * labels)
        return Least(
            {evidence: _or_never(found[evidence]) for evidence in Evidence},
            tuple(map(_or_never, floors)),
        )

    def ever_answers(self) -> bool:
        """Return True if any row can be answered at the default target precision."""
        found = self.thresholds[f"{DEFAULT_TARGET_PRECISION:.2f}"]
        return any(least is not None for least in found.values())


def _or_never(least: float | None) -> float:
    return math.inf if least is None else least


CalibratedSets = dict[Modalities, CalibratedModalities]


class ScoreCorrection(BaseModel):
    """Correction of one attribute's logits, applied before any temperature.

    It serves rare labels after training, a source after adaptation, and an added attribute: the
    attribute's own logits are 0 then.

    The corrected logit of label i is sum_j weight[i][j] * logit_j + sum_k embeds_weight[i][k] *
    embed_k + bias[i]. Labels are in the order of the checkpoint's configuration, embeddings in
    that of `classifiers.calibrated.join_embeds`. Without `weight` the first sum is logit_i,
    without `embeds_weight` the second is 0. `named_weight` is added to the logit of each label
    that the text names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: Matrix | None = None
    embeds_weight: Matrix | None = None
    named_weight: FiniteFloat = 0.0
    bias: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _fits_the_labels(self) -> "ScoreCorrection":
        labels = len(self.bias)
        rows = self.weight
        if rows is not None and {len(rows), *map(len, rows)} != {labels}:
            raise ValueError(f"expected {labels} rows of {labels} weights, one for each bias")
        rows = self.embeds_weight
        if rows is not None and (len(rows) != labels or len(set(map(len, rows))) > 1):
            raise ValueError(f"expected {labels} rows of embeds_weight, one for each bias, alike")
        return self


class Transfer(NamedTuple):
    """Attributes that other sources answer otherwise, see `Calibration`."""

    conventions: tuple[str, ...]
    fitted: tuple[str, ...]


class Calibration(BaseModel):
    """The content of a checkpoint's `calibration.json`.

    `corrections` holds the attributes whose logits are corrected. `conventions` are attributes
    whose labels are each shop's convention, such as a style: another shop may mean something
    else. `fitted` are attributes that were fitted to a source's own labels. `unread_weights` is
    added to the logit of a label that the text names by a word which the text tower has not
    learnt. Such a word is one of the source's own, or of another language.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: dict[str, CalibratedSets]
    corrections: dict[str, ScoreCorrection] = {}
    conventions: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    unread_weights: dict[str, FiniteFloat] = {}

    @field_validator("attributes")
    @classmethod
    def _has_every_set_of_modalities(
        cls, given: dict[str, CalibratedSets]
    ) -> dict[str, CalibratedSets]:
        for attribute, calibrated in given.items():
            if missing := set(Modalities) - set(calibrated):
                raise ValueError(f"{attribute} is not calibrated for {', '.join(sorted(missing))}")
        return given

    @property
    def transfer(self) -> Transfer:
        """The attributes that an unseen source answers otherwise."""
        return Transfer(self.conventions, self.fitted)

    def thresholds(
        self, target_precision: float, attributes: Mapping[str, Sequence[str]]
    ) -> Thresholds:
        """Return the least confidences of answers, for a checkpoint's `attributes`."""
        return {
            attribute: {
                modalities: one.at_precision(target_precision, len(labels))
                for modalities, one in self.attributes[attribute].items()
            }
            for attribute, labels in attributes.items()
        }
