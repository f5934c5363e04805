"""Towers small enough for two CPU cores.

The image tower is EfficientNet-Lite0: its feature maps at five depths, and the plain pixels,
pooled to one grid, become the patch tokens (CLIP itself had convolutional towers). The text tower
is a small transformer over a tokenizer trained on the catalog's own text.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import SmallTowers
from enrich.classifiers.efficientnet import (
    CHANNELS,
    LOWER_CHANNELS,
    LOWER_STRIDE,
    EfficientNetLite0,
    fuse,
    lower_maps,
    upper_maps,
    upper_parameters,
)
from enrich.classifiers.towers import (
    Encoded,
    ImageTower,
    TextTower,
    build_transformer,
    end_of_text,
    padding_in,
)

STRIDE = 32


class EfficientNetTower(ImageTower):
    """A grid of multi-depth features, one token a cell, and their mean as CLS."""

    def __init__(self, towers: SmallTowers, size_px: int) -> None:
        super().__init__()
        self.width = towers.width
        self.grid = size_px // STRIDE
        self.backbone = EfficientNetLite0()
        channels = sum(CHANNELS) + 3
        # Depths differ in scale by orders of magnitude; the norm puts them on one footing.
        self.norm = nn.BatchNorm1d(channels)
        self.project = nn.Linear(channels, towers.width)
        self.positions = nn.Parameter(torch.randn(1 + self.grid**2, towers.width) * 0.02)

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        return self._pool([pixels, *self.backbone(pixels)])

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        maps = lower_maps(self.backbone, pixels)
        return torch.cat([self._pool([pixels, *maps]).flatten(1), maps[-1].flatten(1)], dim=1)

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        channels = 3 + sum(LOWER_CHANNELS)
        pooled, last = lower.tensor_split([self.grid**2 * channels], dim=1)
        side = self.grid * STRIDE // LOWER_STRIDE
        cells = last.unflatten(1, (LOWER_CHANNELS[-1], side, side)).permute(0, 2, 3, 1)
        maps = [level.permute(0, 3, 1, 2) for level in upper_maps(self.backbone, cells)]
        return torch.cat([pooled.unflatten(1, (self.grid**2, channels)), self._pool(maps)], dim=2)

    def upper_parameters(self) -> list[nn.Parameter]:
        return upper_parameters(self.backbone)

    def _pool(self, maps: list[Tensor]) -> Float[Tensor, "B M C"]:
        pooled = [F.adaptive_avg_pool2d(level, self.grid) for level in maps]
        return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        cells = self.project(self.norm(features.transpose(1, 2)).transpose(1, 2))
        embeds = torch.cat([cells.mean(1, keepdim=True), cells], dim=1)
        return Encoded.cls_first(embeds + self.positions)

    def pretrained(self) -> nn.Module:
        return self.backbone

    def fuse(self) -> None:
        fuse(self.backbone)


class SmallTextTower(TextTower):
    """Token and position embeddings through a few transformer layers.

    `is_trained` is True of the tower of a checkpoint, which then counts as pre-trained.
    """

    is_trained = False

    def __init__(self, towers: SmallTowers, vocabulary: int, length: int, dropout: float) -> None:
        super().__init__()
        self.width = towers.width
        self.tokens = nn.Embedding(vocabulary, towers.width)
        self.positions = nn.Parameter(torch.randn(length, towers.width) * 0.02)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.transformer = build_transformer(
            towers.width, towers.text_layers, towers.heads, dropout
        )

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        embeds = self.attend(self.words(token_ids, token_mask), token_mask, positions)
        return Encoded(embeds, token_mask, end_of_text(token_mask))

    def words(
        self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L W"]:
        embeds: Tensor = self.tokens(token_ids)
        return embeds

    def attend(
        self,
        embeds: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        positions: Int[Tensor, " N"],
    ) -> Float[Tensor, "B N W"]:
        read: Tensor = self.transformer(
            embeds + self.positions[positions], src_key_padding_mask=padding_in(mask)
        )
        return read

    def vocabulary(self) -> Float[Tensor, "V D"]:
        return self.tokens.weight

    def pretrained(self) -> nn.Module | None:
        return self if self.is_trained else None
