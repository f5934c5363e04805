"""What stands in a tower's place where a classifier reads one modality only."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.tower_interface import Encoded, ImageTower, TextTower


class NoImageTower(ImageTower):
    """Stands where a classifier does not look at the image: one empty token, no weights."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        return pixels.new_zeros(len(pixels), 1, 1)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        return _empty(features, self.width)

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        return pixels.new_zeros(len(pixels), 1)

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        return lower.new_zeros(len(lower), 1, 1)

    def upper_parameters(self) -> list[nn.Parameter]:
        return []

    def pretrained(self) -> nn.Module:
        return self


class NoTextTower(TextTower):
    """Stands where a classifier does not read the text: one empty token, no weights."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        return _empty(token_ids, self.width)

    def pretrained(self) -> None:
        return None


def _empty(like: Tensor, width: int) -> Encoded:
    embeds = torch.zeros(len(like), 1, width, device=like.device)
    mask = torch.zeros(len(like), 1, dtype=torch.bool, device=like.device)
    return Encoded(embeds, mask, torch.zeros(len(like), dtype=torch.long, device=like.device))
