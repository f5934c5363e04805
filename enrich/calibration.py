"""Temperatures and abstention thresholds: the content of a checkpoint's `calibration.json`.

One temperature an attribute and set of modalities, because a row without a picture is unsure in
another way. How they are fitted is in `enrich.training.calibration`, how they are applied in
`enrich.classifiers.calibrated`. Free of torch.
"""

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from enrich.records import Modalities

DEFAULT_TARGET_PRECISION = 0.90
TARGET_PRECISIONS = (DEFAULT_TARGET_PRECISION, 0.95)
# By attribute and set of modalities, the confidence from which on a row is answered; inf is never.
Thresholds = Mapping[str, Mapping[Modalities, float]]
Matrix = tuple[tuple[FiniteFloat, ...], ...]


class CalibratedModalities(BaseModel):
    """Temperature and thresholds of one attribute for one set of modalities.

    An answer read from the picture is unsure in another way than one whose text says it. With an
    `image_temperature` the temperature of a row of image weight w is
    temperature^(1 - w) * image_temperature^w; without one it is `temperature` for all.

    `thresholds` maps a target precision ("0.90") to a confidence in [0, 1], or to None where no
    threshold reaches it: then the classifier always abstains. Both rest on `rows` labelled rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0)
    image_temperature: float | None = Field(default=None, gt=0)
    thresholds: dict[str, float | None]
    rows: int = Field(ge=0)

    @field_validator("thresholds")
    @classmethod
    def _has_every_precision(cls, given: dict[str, float | None]) -> dict[str, float | None]:
        if missing := {f"{precision:.2f}" for precision in TARGET_PRECISIONS} - set(given):
            raise ValueError(f"no threshold for precision {', '.join(sorted(missing))}")
        return given

    def threshold(self, target_precision: float) -> float:
        """Returns the confidence from which on a row is answered; inf means never."""
        found = self.thresholds[f"{target_precision:.2f}"]
        return math.inf if found is None else found

    def ever_answers(self) -> bool:
        """Tells whether any row can be answered at the default target precision."""
        return self.threshold(DEFAULT_TARGET_PRECISION) < math.inf


CalibratedSets = dict[Modalities, CalibratedModalities]


class ScoreCorrection(BaseModel):
    """How one attribute's logits are put right, before any temperature.

    For rare labels after training, or for a shop by adaptation.

    The corrected logit of label i is
    sum_j weight[i][j] * logit_j + sum_k embeds_weight[i][k] * embed_k + bias[i], labels in the
    order of the checkpoint's configuration, embeddings as `classifiers.calibrated.join_embeds` lays
    them out. Without `weight` the first sum is logit_i, without `embeds_weight` the second is 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: Matrix | None = None
    embeds_weight: Matrix | None = None
    bias: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _fits_the_labels(self) -> "ScoreCorrection":
        labels = len(self.bias)
        rows = self.weight
        if rows is not None and {len(rows), *map(len, rows)} != {labels}:
            raise ValueError(f"wanted {labels} rows of {labels} weights, one for each bias")
        rows = self.embeds_weight
        if rows is not None and (len(rows) != labels or len(set(map(len, rows))) > 1):
            raise ValueError(f"wanted {labels} rows of embeds_weight, one for each bias, all alike")
        return self


class Calibration(BaseModel):
    """The content of a checkpoint's `calibration.json`.

    `corrections` holds the attributes whose logits are corrected.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: dict[str, CalibratedSets]
    corrections: dict[str, ScoreCorrection] = {}

    @field_validator("attributes")
    @classmethod
    def _has_every_set_of_modalities(
        cls, given: dict[str, CalibratedSets]
    ) -> dict[str, CalibratedSets]:
        for attribute, calibrated in given.items():
            if missing := set(Modalities) - set(calibrated):
                raise ValueError(f"{attribute} is not calibrated for {', '.join(sorted(missing))}")
        return given

    def thresholds(self, target_precision: float) -> Thresholds:
        """Returns the confidences from which on attributes are answered; inf means never."""
        return {
            attribute: {m: one.threshold(target_precision) for m, one in calibrated.items()}
            for attribute, calibrated in self.attributes.items()
        }
