"""Fits one attribute's correction layer: corrected logits = (I + D) logits + b.

That is matrix scaling (Guo et al. 2017, arXiv 1706.04599). For seventeen labels D has 289 entries,
too many for a few hundred labelled products. So D and b are held towards 0 by a penalty, a normal
prior, whose strength is chosen by cross-validation: as in ODIR (Kull et al. 2019, arXiv
1910.12656), but with the diagonal of D too.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

# From no correction at all to hardly any penalty: of equals the first, the strongest, is chosen.
_STRENGTHS = (math.inf, 100.0, 30.0, 10.0, 3.0, 1.0)
# What a shift of all of a label's logits costs beside a change of its mixture.
_SHIFT_COST = 0.3


@dataclass(frozen=True, slots=True)
class Labelled:
    """N rows that carry a label of one attribute.

    `log_temperature` is that of the checkpoint before any correction, for each row its own: so a
    row counts by how unsure the classifier is of it.
    """

    logits: Float[Tensor, "N C"]
    targets: Int[Tensor, " N"]
    log_temperature: Float[Tensor, " N"]

    def __getitem__(self, rows: Tensor) -> "Labelled":
        return Labelled(self.logits[rows], self.targets[rows], self.log_temperature[rows])

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Layer:
    """A correction layer as tensors."""

    weight: Float[Tensor, "C C"]
    bias: Float[Tensor, " C"]

    def __call__(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return logits @ self.weight.T + self.bias


def fit_layer(labelled: Labelled, strength: float) -> Layer:
    """Returns the layer of least penalised negative log-likelihood; the problem is convex.

    Args:
        labelled: The rows to fit to.
        strength: That of the prior, above 0; inf leaves the logits as they are.
    """
    labels = labelled.logits.shape[1]
    # A constant added to all logits means nothing, so the layer must not see it.
    centre = torch.eye(labels) - 1 / labels
    mixture = torch.zeros(labels, labels, requires_grad=True)
    shift = torch.zeros(labels, requires_grad=True)
    if len(labelled) == 0 or math.isinf(strength):
        return Layer(centre, shift.detach())
    scale = labelled.log_temperature.exp().unsqueeze(1)
    logits = labelled.logits @ centre
    spread = (logits / scale).square().mean().sqrt()
    optimiser = torch.optim.LBFGS(
        [mixture, shift], max_iter=100, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        corrected = (logits + logits @ mixture.T + shift) / scale
        surprise = F.cross_entropy(corrected, labelled.targets, reduction="sum")
        penalty = (spread * mixture).square().sum() + _SHIFT_COST * shift.square().sum()
        total: Tensor = (surprise + strength / 2 * penalty) / len(labelled)
        total.backward()
        return total

    optimiser.step(loss)
    return Layer(centre + mixture.detach() @ centre, shift.detach())


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
        corrected = fit_layer(labelled[folds != fold], strength)(here.logits)
        scaled = corrected / here.log_temperature.exp().unsqueeze(1)
        total += F.cross_entropy(scaled, here.targets, reduction="sum").item()
    return total / max(1, len(labelled))
