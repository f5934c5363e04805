"""Logits to calibrated probabilities, for job, evaluation and adaptation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from enrich.calibration import CalibratedModalities, ScoreCorrection
from enrich.classifiers.interface import Vectors


@dataclass(frozen=True, slots=True)
class Layer:
    """A correction of one attribute's scores as tensors; see `ScoreCorrection`."""

    weight: Float[Tensor, "C C"]
    embeds_weight: Float[Tensor, "C E"] | None
    bias: Float[Tensor, " C"]
    named_weight: float = 0.0

    def __call__(
        self,
        logits: Float[Tensor, "B C"],
        embeds: Float[Tensor, "B E"],
        named: Bool[Tensor, "B C"],
    ) -> Float[Tensor, "B C"]:
        """Return the corrected logits of rows; see `join_embeds` for `embeds`."""
        corrected = logits @ self.weight.T
        if self.embeds_weight is not None:
            corrected = corrected + embeds @ self.embeds_weight.T
        if self.named_weight:
            corrected = corrected + self.named_weight * named
        return corrected + self.bias


def to_layer(correction: ScoreCorrection | None) -> Layer | None:
    """Return a checkpoint's correction as tensors; None if there is none."""
    if correction is None:
        return None
    weight, embeds_weight = correction.weight, correction.embeds_weight
    return Layer(
        weight=torch.eye(len(correction.bias)) if weight is None else torch.tensor(weight),
        embeds_weight=None if embeds_weight is None else torch.tensor(embeds_weight),
        bias=torch.tensor(correction.bias),
        named_weight=correction.named_weight,
    )


def apply_layer(
    logits: Float[Tensor, "B C"],
    embeds: Float[Tensor, "B E"],
    named: Bool[Tensor, "B C"],
    layer: Layer | None,
) -> Float[Tensor, "B C"]:
    """Return the corrected logits; None leaves them as they are."""
    return logits if layer is None else layer(logits, embeds, named)


def join_embeds(vectors: Vectors) -> Float[Tensor, "B E"]:
    """Return both towers' embeddings side by side on the CPU, each before a 1.

    The embedding of a missing modality and its 1 are zero. So a layer adds to the scores only for
    modalities that a row has, its constant included.
    """
    parts = []
    for embeds, has in ((vectors.image, vectors.has_image), (vectors.text, vectors.has_text)):
        has = has.unsqueeze(1).cpu()
        # Not times `has`: the embedding of what is missing may be NaN, which times 0 is NaN still.
        parts += [torch.where(has, embeds.float().cpu(), 0), has.float()]
    return torch.cat(parts, dim=1)


def at_temperatures(
    logits: Float[Tensor, "B C"],
    calibrated: Sequence[CalibratedModalities],
    image_weight: Float[Tensor, " B"] | None,
) -> Float[Tensor, "B C"]:
    """Return the probabilities of corrected logits, one calibration a row."""
    scales = log_temperatures(calibrated, image_weight).exp()
    return (logits / scales.unsqueeze(1)).softmax(1)


def log_temperatures(
    calibrated: Sequence[CalibratedModalities], image_weight: Float[Tensor, " B"] | None
) -> Float[Tensor, " B"]:
    """Return the logarithm of each row's temperature, one calibration a row.

    `image_weight` is the image's share in the attribute's answers, in [0, 1]; None for a classifier
    that does not weigh its modalities.
    """
    text_end = torch.tensor([one.temperature for one in calibrated]).log()
    if image_weight is None:
        return text_end
    image_end = torch.tensor([one.image_temperature or one.temperature for one in calibrated]).log()
    return torch.lerp(text_end, image_end, image_weight.float().cpu())
