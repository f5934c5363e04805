"""Towers small enough for two CPU cores.

The image tower is EfficientNet-Lite0: its feature maps at five depths, and the plain pixels,
pooled to one grid, become the patch tokens (CLIP itself had convolutional towers). The text tower
is a small transformer over a tokenizer trained on the catalog's own text.
"""

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.attention import build_transformer
from enrich.classifiers.config import SmallTowers
from enrich.classifiers.interface import Encoded, ImageTower, TextTower, end_of_text

BACKBONE = "tf_efficientnet_lite0"
STRIDE = 32


class EfficientNetTower(ImageTower):
    """A grid of multi-depth features, one token a cell, and their mean as CLS."""

    def __init__(self, towers: SmallTowers, size_px: int) -> None:
        super().__init__()
        self.width = towers.width
        self.grid = size_px // STRIDE
        self.backbone = timm.create_model(
            BACKBONE, pretrained=False, features_only=True, out_indices=(0, 1, 2, 3, 4)
        )
        channels = sum(self.backbone.feature_info.channels()) + 3
        # Depths differ in scale by orders of magnitude; the norm puts them on one footing.
        self.norm = nn.BatchNorm1d(channels)
        self.project = nn.Linear(channels, towers.width)
        self.positions = nn.Parameter(torch.randn(1 + self.grid**2, towers.width) * 0.02)

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        maps = [pixels, *self.backbone(pixels)]
        pooled = [F.adaptive_avg_pool2d(level, self.grid) for level in maps]
        return torch.cat(pooled, dim=1).flatten(2).transpose(1, 2)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        cells = self.project(self.norm(features.transpose(1, 2)).transpose(1, 2))
        embeds = torch.cat([cells.mean(1, keepdim=True), cells], dim=1) + self.positions
        batch, tokens = embeds.shape[:2]
        mask = torch.ones(batch, tokens, dtype=torch.bool, device=embeds.device)
        return Encoded(embeds, mask, torch.zeros(batch, dtype=torch.long, device=embeds.device))

    def pretrained(self) -> nn.Module:
        return self.backbone


class SmallTextTower(TextTower):
    """Token and position embeddings through a few transformer layers."""

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
        embeds = self.tokens(token_ids) + self.positions[: token_ids.shape[1]]
        embeds = self.transformer(embeds, src_key_padding_mask=~token_mask)
        return Encoded(embeds, token_mask, end_of_text(token_mask))

    def pretrained(self) -> None:
        return None
