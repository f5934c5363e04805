"""Fits one attribute's correction layer: corrected = (I + D) logits + E embeds + w named + b.

Without E that is matrix scaling (Guo et al. 2017, arXiv 1706.04599): a shop's conventions, such as
where beige ends. E reads anew what the towers see, as a linear probe does (Alain and Bengio 2016,
arXiv 1610.01644): a shop's own goods. For seventeen labels and towers of width 192 these are 6,800
numbers, too many for a few hundred labelled products. So all are held towards 0 by a penalty, a
normal prior, whose strength is chosen by cross-validation: as in ODIR (Kull et al. 2019, arXiv
1910.12656), but with the diagonal of D too. The weight w of labels that the text names is one
number, with a prior of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from enrich.classifiers.calibrated import Layer

# From no correction at all to hardly any penalty: of equals the first, the strongest, is chosen.
_STRENGTHS = (math.inf, 100.0, 30.0, 10.0, 3.0)
# What b and E weigh in the penalty; D weighs 1.
_SHIFT_COST = 0.3
_EMBEDS_COST = 10.0
# The prior of the weight of named labels is wide, whatever the strength: one number is told by few
# labels. On six attributes of a shop of fashion it was 0.4 to 5.
_NAMED_SPREAD = 3.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """N rows that carry a label of one attribute.

    `embeds` are as `join_embeds` lays them out, `named` says which labels each text names.
    `log_temperature` is that of the checkpoint before any correction, for each row its own: so a
    row counts by how unsure the classifier is of it. `weight` is how much a row counts besides.
    """

    logits: Float[Tensor, "N C"]
    embeds: Float[Tensor, "N E"]
    named: Bool[Tensor, "N C"]
    targets: Int[Tensor, " N"]
    log_temperature: Float[Tensor, " N"]
    weight: Float[Tensor, " N"]

    def __getitem__(self, rows: Tensor) -> "Labelled":
        return Labelled(*(getattr(self, name)[rows] for name in self.__slots__))

    @staticmethod
    def join(parts: Sequence["Labelled"]) -> "Labelled":
        """Return the rows of all parts, in order."""
        names = Labelled.__slots__
        return Labelled(*(torch.cat([getattr(one, name) for one in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.targets)


def fit_layer(labelled: Labelled, strength: float) -> Layer:
    """Returns the layer of least penalised negative log-likelihood; the problem is convex.

    Args:
        labelled: The rows to fit to.
        strength: That of the prior, above 0; inf leaves the logits as they are.
    """
    labels = labelled.logits.shape[1]
    # A constant added to all logits means nothing, so the layer must not see it.
    centre = torch.eye(labels) - 1 / labels
    if len(labelled) == 0 or math.isinf(strength):
        return Layer(centre, None, torch.zeros(labels))
    standard = _standardise(labelled.embeds)
    logits, embeds = labelled.logits @ centre, labelled.embeds @ standard
    named = labelled.named.float()
    mixture, look, shift, of_named = fitted = [
        torch.zeros(shape, requires_grad=True)
        for shape in ((labels, labels), (labels, embeds.shape[1]), (labels,), ())
    ]
    spread = (logits / labelled.log_temperature.exp().unsqueeze(1)).square().mean().sqrt()
    optimiser = torch.optim.LBFGS(
        fitted, max_iter=100, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def penalised_loss() -> Tensor:
        optimiser.zero_grad()
        corrected = logits + logits @ mixture.T + embeds @ look.T + of_named * named + shift
        loss = _loss_of(corrected, labelled)
        penalty = (
            (spread * mixture).square().sum()
            + _EMBEDS_COST * look.square().sum()
            + _SHIFT_COST * shift.square().sum()
        )
        prior = (of_named / _NAMED_SPREAD).square() / 2
        total: Tensor = (loss + strength / 2 * penalty + prior) / len(labelled)
        total.backward()
        return total

    optimiser.step(penalised_loss)
    return Layer(
        weight=centre + mixture.detach() @ centre,
        embeds_weight=look.detach() @ standard.T,
        bias=shift.detach(),
        named_weight=of_named.item(),
    )


def _loss_of(logits: Float[Tensor, "N C"], labelled: Labelled) -> Float[Tensor, ""]:
    """Return the weighted negative log-likelihood of the labels, in nats, summed over the rows."""
    scaled = logits / labelled.log_temperature.exp().unsqueeze(1)
    losses = F.cross_entropy(scaled, labelled.targets, reduction="none")
    return (losses * labelled.weight).sum()


def _standardise(embeds: Float[Tensor, "N E"]) -> Float[Tensor, "E F"]:
    """Returns the map to embeddings of mean 0 and mean square 1 over the rows that have them.

    The mean is taken off through the column of ones of the modality: it is 0 in rows that lack it,
    so these stay 0.
    """
    blocks = []
    for of_modality in embeds.chunk(2, dim=1):
        values, has = of_modality[:, :-1], of_modality[:, -1:]
        rows, width = has.sum().clamp(min=1), values.shape[1]
        mean = values.sum(0) / rows
        spread = ((values - mean) * has).square().sum() / (rows * max(1, width))
        scale = spread.clamp(min=1e-12).rsqrt()
        blocks.append(torch.cat([torch.eye(width), -mean.unsqueeze(0)]) * scale)
    return torch.block_diag(*blocks)


def choose_strength(labelled: Labelled, folds: Int[Tensor, " N"]) -> float:
    """Returns the strength under which rows are best predicted from the other folds' rows.

    Args:
        labelled: The rows to fit to.
        folds: The fold of each row.
    """
    losses = {strength: _held_out_loss(labelled, folds, strength) for strength in _STRENGTHS}
    return min(losses, key=losses.__getitem__)


def _held_out_loss(labelled: Labelled, folds: Int[Tensor, " N"], strength: float) -> float:
    """Returns the mean negative log-likelihood of rows under a layer of the other folds."""
    total = 0.0
    for fold in folds.unique():
        here = labelled[folds == fold]
        corrected = fit_layer(labelled[folds != fold], strength)(
            here.logits, here.embeds, here.named
        )
        total += _loss_of(corrected, here).item()
    return total / max(1, len(labelled))
