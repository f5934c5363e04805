"""Answers and adaptations made by hand."""

from collections.abc import Sequence

import torch

from enrich.adaptation.trial import Effect, Gain
from enrich.calibration import CalibratedSets
from enrich.records import Modalities
from enrich.training.answers import Answers, Figures


def make_effect(figures: Figures, gain: Gain, calibrated: CalibratedSets) -> Effect:
    """Return an adaptation of one attribute that changes no figure."""
    return Effect(
        before=figures,
        after=figures,
        gain=gain,
        gains={},
        bias_shift=0.0,
        correction=None,
        calibrated=calibrated,
        given=0.5,
    )


def make_answers(
    logits: torch.Tensor,
    targets: torch.Tensor,
    modalities: Modalities,
    product: Sequence[int] | None = None,
) -> Answers:
    """Return answers that were all read from `modalities`, each product a group of its own."""
    rows = torch.arange(len(logits)) if product is None else torch.tensor(product)
    embeds, unnamed = torch.ones(len(rows), 2), torch.zeros_like(logits, dtype=torch.bool)
    shown = [modalities] * len(rows)
    return Answers(rows, rows, shown, logits, embeds, targets, None, unnamed)
