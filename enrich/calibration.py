"""Temperatures and abstention thresholds: from logits to a probability that means something.

Temperature scaling is Guo et al. 2017 (arXiv 1706.04599): one scalar an attribute, here also one
for each set of modalities, because a row without a picture is unsure in another way. A threshold
is the lowest confidence at which a lower bound on the precision still holds. Knows nothing of
classifiers.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from enrich.records import Modalities

TARGET_PRECISIONS = (0.90, 0.95)
# One-sided 90 %: thresholds rest on a few hundred to a few thousand validation rows.
_WILSON_Z = 1.2816


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


def fit(logits: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> CalibratedModalities:
    """Fits temperature and thresholds to labelled rows that training did not see."""
    temperature = fit_temperature(logits, targets)
    confidence, best = (logits / temperature).softmax(1).max(1)
    correct = best == targets
    thresholds = {
        f"{precision:.2f}": pick_threshold(confidence, correct, precision)
        for precision in TARGET_PRECISIONS
    }
    return CalibratedModalities(temperature=temperature, thresholds=thresholds, rows=len(targets))


def fit_temperature(logits: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> float:
    """Returns the temperature of least negative log-likelihood, in [0.05, 20].

    The likelihood is concave in 1/T, so bisection on the sign of its derivative is exact and
    deterministic. Without rows the temperature is 1.
    """
    if len(targets) == 0:
        return 1.0
    logits = logits.double()
    hit = logits.gather(1, targets.unsqueeze(1)).squeeze(1).mean()
    low, high = math.log(1 / 20), math.log(1 / 0.05)
    for _ in range(40):
        middle = (low + high) / 2
        expected = ((logits * math.exp(middle)).softmax(1) * logits).sum(1).mean()
        low, high = (low, middle) if expected > hit else (middle, high)
    return math.exp(-(low + high) / 2)


def pick_threshold(
    confidence: Float[Tensor, " N"], correct: Bool[Tensor, " N"], precision: float
) -> float | None:
    """Returns the lowest confidence at and above which precision is at least `precision`.

    Precision is taken by its lower Wilson bound, so that a lucky handful of rows sets nothing.
    """
    order = confidence.argsort(descending=True)
    sorted_confidence = confidence[order]
    hits = correct[order].double().cumsum(0)
    counts = torch.arange(1, len(order) + 1, dtype=torch.double)
    good = _wilson_lower_bound(hits, counts) >= precision
    # Rows of equal confidence are answered together or not at all.
    last_of_ties = torch.ones_like(good)
    last_of_ties[:-1] = sorted_confidence[:-1] != sorted_confidence[1:]
    found = (good & last_of_ties).nonzero()
    return float(sorted_confidence[found[-1]]) if len(found) else None


def _wilson_lower_bound(hits: Tensor, counts: Tensor) -> Tensor:
    share, z2 = hits / counts, _WILSON_Z**2
    spread = _WILSON_Z * (share * (1 - share) / counts + z2 / (4 * counts**2)).sqrt()
    return (share + z2 / (2 * counts) - spread) / (1 + z2 / counts)
