"""From an embedding to logits: the last layers, alike in all classifiers."""

from jaxtyping import Float
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig


class ByAttribute(nn.ModuleDict):
    """A module for each attribute, also for one called `type`, which nn.ModuleDict would refuse."""

    def __setitem__(self, attribute: str, module: nn.Module) -> None:
        self._modules[attribute] = module


class Heads(ByAttribute):
    """An MLP an attribute."""

    def forward(self, embeds: Float[Tensor, "B D"]) -> dict[str, Float[Tensor, "B _"]]:
        """Returns each attribute's logits in float32; all read the same embedding."""
        return {attribute: head(embeds).float() for attribute, head in self.items()}


def build_heads(width: int, config: ClassifierConfig) -> Heads:
    """Returns the heads for embeddings of `width`, with random weights."""
    return Heads(
        {
            attribute: nn.Sequential(
                nn.Linear(width, width),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Linear(width, len(labels)),
            )
            for attribute, labels in config.attributes.items()
        }
    )
