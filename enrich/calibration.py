"""Temperatures and abstention thresholds: the content of a checkpoint's `calibration.json`.

One temperature an attribute and set of modalities, because a row without a picture is unsure in
another way. How they are fitted is in `enrich.training.calibration`. Free of torch.
"""

import math

from pydantic import BaseModel, ConfigDict, Field, field_validator

from enrich.records import Modalities

TARGET_PRECISIONS = (0.90, 0.95)


class CalibratedModalities(BaseModel):
    """Temperature and thresholds of one attribute for one set of modalities.

    `thresholds` maps a target precision ("0.90") to a confidence in [0, 1], or to None where no
    threshold reaches it: then the classifier always abstains. Both rest on `rows` labelled rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0)
    thresholds: dict[str, float | None]
    rows: int = Field(ge=0)

    @field_validator("thresholds")
    @classmethod
    def _has_every_precision(cls, given: dict[str, float | None]) -> dict[str, float | None]:
        if missing := {f"{precision:.2f}" for precision in TARGET_PRECISIONS} - set(given):
            raise ValueError(f"no threshold for precision {', '.join(sorted(missing))}")
        return given


class Calibration(BaseModel):
    """The content of a checkpoint's `calibration.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: dict[str, dict[Modalities, CalibratedModalities]]

    @field_validator("attributes")
    @classmethod
    def _has_every_set_of_modalities(
        cls, given: dict[str, dict[Modalities, CalibratedModalities]]
    ) -> dict[str, dict[Modalities, CalibratedModalities]]:
        for attribute, calibrated in given.items():
            if missing := set(Modalities) - set(calibrated):
                raise ValueError(f"{attribute} is not calibrated for {', '.join(sorted(missing))}")
        return given

    def threshold(self, attribute: str, modalities: Modalities, target_precision: float) -> float:
        """Returns the confidence from which on the attribute is answered; inf means never."""
        found = self.attributes[attribute][modalities].thresholds[f"{target_precision:.2f}"]
        return math.inf if found is None else found
