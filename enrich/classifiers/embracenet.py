"""EmbraceNet: each component of one vector is drawn from one of the modalities.

Choi and Lee, "EmbraceNet: A robust deep learning architecture for multimodal classification",
arXiv 1904.09078.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import IMAGE, TEXT, ModelOutput, Vectors
from enrich.classifiers.pooled import PooledPair

# The paper's c, the components that every modality is brought to.
COMPONENTS = 512


class EmbraceNet(PooledPair):
    """Image and text docked to one width, each component taken from one of them by lot.

    A docking layer is ReLU(Linear) over a tower's pooled embedding. The present modalities are
    drawn from by `selection_probabilities`, equal ones unless set. Nothing of that is learnt from a
    product, so no image weight is reported: it would be the same for every product that has both.
    """

    paper = "EmbraceNet: Choi and Lee 2019, arXiv 1904.09078"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.dock_image = _build_docking(config.width_of(IMAGE))
        self.dock_text = _build_docking(config.width_of(TEXT))
        self.heads = build_heads(COMPONENTS, config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        docked = torch.stack([self.dock_image(vectors.image), self.dock_text(vectors.text)], dim=1)
        available = torch.stack([vectors.has_image, vectors.has_text], dim=1)
        probabilities = self.config.selection_probabilities
        embraced = embrace(docked, available, probabilities, draw=self.training)
        return ModelOutput(self.heads(embraced), vectors)


def embrace(
    docked: Float[Tensor, "B M C"],
    available: Bool[Tensor, "B M"],
    probabilities: Sequence[float],
    *,
    draw: bool,
) -> Float[Tensor, "B C"]:
    """Returns for each row one vector of its available modalities, zero if it has none.

    Args:
        docked: The modalities' docked embeddings.
        available: Which of them a row has; the others are never drawn.
        probabilities: Of the modalities, relative to each other, above 0.
        draw: Take each component from one modality by lot. Otherwise take the expectation over
            the lots, so that the same product gets the same answer every time.
    """
    chances = available * torch.tensor(probabilities, device=available.device)
    # Of a row without any modality the shares are 0.
    shares = chances / chances.sum(1, keepdim=True).clamp(min=min(probabilities))
    docked = docked.masked_fill(~available.unsqueeze(2), 0)
    if not draw:
        return (shares.unsqueeze(2).to(docked.dtype) * docked).sum(1)
    # No lot can be drawn over zeros. A row without any modality holds only zeros to draw from.
    shares = shares.masked_fill(~available.any(1, keepdim=True), 1)
    drawn = torch.multinomial(shares, docked.shape[2], replacement=True)
    return docked.gather(1, drawn.unsqueeze(1)).squeeze(1)


def _build_docking(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, COMPONENTS), nn.ReLU())
