"""Logits to calibrated probabilities, the same way in the job, in evaluation and in adaptation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.records import Modalities


def calibrated_probs(
    calibration: Calibration,
    attribute: str,
    logits: Float[Tensor, "B C"],
    modalities: Sequence[Modalities],
    image_weight: Float[Tensor, " B"] | None,
) -> Float[Tensor, "B C"]:
    """Returns one attribute's calibrated probabilities, on the CPU.

    `modalities` are what each row has, `image_weight` is the attribute's share of the image in
    [0, 1], None where the classifier does not weigh its modalities.
    """
    corrected = correct(logits.float().cpu(), calibration.corrections.get(attribute))
    calibrated = calibration.attributes[attribute]
    return at_temperatures(corrected, [calibrated[m] for m in modalities], image_weight)


def at_temperatures(
    logits: Float[Tensor, "B C"],
    calibrated: Sequence[CalibratedModalities],
    image_weight: Float[Tensor, " B"] | None,
) -> Float[Tensor, "B C"]:
    """Returns the probabilities of corrected logits, rows calibrated as given."""
    scales = log_temperatures(calibrated, image_weight).exp()
    return (logits / scales.unsqueeze(1)).softmax(1)


def correct(
    logits: Float[Tensor, "B C"], correction: ScoreCorrection | None
) -> Float[Tensor, "B C"]:
    """Returns the corrected logits; None leaves them as they are."""
    if correction is None:
        return logits
    bias = torch.tensor(correction.bias, dtype=logits.dtype)
    if correction.weight is None:
        return logits + bias
    return logits @ torch.tensor(correction.weight, dtype=logits.dtype).T + bias


def log_temperatures(
    calibrated: Sequence[CalibratedModalities], image_weight: Float[Tensor, " B"] | None
) -> Float[Tensor, " B"]:
    """Returns the logarithm of each row's temperature, rows calibrated as given."""
    text_end = torch.tensor([one.temperature for one in calibrated]).log()
    if image_weight is None:
        return text_end
    image_end = torch.tensor([one.image_temperature or one.temperature for one in calibrated]).log()
    return torch.lerp(text_end, image_end, image_weight.float().cpu())
