"""What every tower takes and returns. Knows no particular tower, and no classifier."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tower's output: one embedding a token, and which one stands for the whole.

    `pooled_at` points at an image's CLS token. Where it points in a text is up to the tower: at the
    end of the text (CLIP), at the first token (BERT) or at a class token behind the text (CoCa).
    """

    embeds: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    pooled_at: Int[Tensor, " B"]

    @classmethod
    def cls_first(cls, embeds: Float[Tensor, "B N D"]) -> "Encoded":
        """Returns an image's tokens: the first stands for the whole, and none is padding."""
        mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        return cls(embeds, mask, torch.zeros(len(embeds), dtype=torch.long, device=embeds.device))

    @classmethod
    def class_token_last(
        cls,
        tokens: Float[Tensor, "B L D"],
        token_mask: Bool[Tensor, "B L"],
        pooled: Float[Tensor, "B D"],
    ) -> "Encoded":
        """Return a text's tokens, and behind them what stands for the whole."""
        return cls(
            torch.cat([tokens, pooled.unsqueeze(1)], dim=1),
            torch.cat([token_mask, torch.ones_like(token_mask[:, :1])], dim=1),
            torch.full((len(tokens),), tokens.shape[1], device=tokens.device),
        )

    @property
    def pooled(self) -> Float[Tensor, "B D"]:
        """The embedding that stands for the whole image or text."""
        return take(self.embeds, self.pooled_at)

    def pooled_where(self, present: Bool[Tensor, " B"]) -> Float[Tensor, "B D"]:
        """Returns the pooled embedding, zero for the rows that lack this modality."""
        return self.pooled.masked_fill(~present.unsqueeze(1), 0)


def take(embeds: Float[Tensor, "B N D"], at: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Returns for each row the embedding at its own position."""
    return embeds[torch.arange(embeds.shape[0], device=embeds.device), at]


class ImageTower(nn.Module):
    """Pixels to patch embeddings, in two steps so that frozen features can be cached.

    `grid` is above 0 if the embeddings are CLS, then `grid` x `grid` patches row by row, then
    anything else: the attention of such towers can be drawn over the picture. `absent` is True of
    what stands in for a tower where a classifier does not look at images.
    """

    absent: ClassVar[bool] = False
    width: int
    grid: int = 0

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        """Returns what the pre-trained part computes from normalised pixels."""
        raise NotImplementedError

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        """Returns the patch embeddings, CLS first, from the features."""
        raise NotImplementedError

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        """Returns what stays the same while only the upper stages are trained; may be cached."""
        raise NotImplementedError(f"{type(self).__name__} is trained as a whole or not at all")

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        """Returns the features from what `lower` returned."""
        raise NotImplementedError

    def upper_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters that `upper` trains."""
        raise NotImplementedError

    def pretrained(self) -> nn.Module:
        """Returns the part that starts from published weights (its own learning rate)."""
        raise NotImplementedError

    def quicken(self) -> None:
        """Merges layers that the device computes quicker in one step, if there are any.

        In place and for inference alone: afterwards only `features`, `lower` and `embed` may be
        called, and the tower must stay on that device.
        """


class TextTower(nn.Module):
    """Tokens to token embeddings of the image tower's width.

    `words` and `attend` are its two halves, for classifiers that put pieces of an image between the
    words. A tower whose layers can read only words keeps these defaults: its outputs are the words,
    and `attend` does nothing. `absent` is True of what stands in for a tower where a classifier
    does not read texts.
    """

    absent: ClassVar[bool] = False
    width: int

    @property
    def word_width(self) -> int:
        """The width of `words`."""
        return self.width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        """Returns the token embeddings, and which one stands for the whole text."""
        raise NotImplementedError

    def words(
        self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L W"]:
        """Returns what stands for each token in a sequence shared with an image."""
        # Without a class token behind them: it stands for the text alone.
        return self(token_ids, token_mask).embeds[:, : token_ids.shape[1]]

    def attend(
        self,
        embeds: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        positions: Int[Tensor, " N"],
    ) -> Float[Tensor, "B N D"]:
        """Returns the shared sequence after the tower's own layers."""
        return embeds

    def vocabulary(self) -> Float[Tensor, "V D"]:
        """Return the embedding of every token of the vocabulary, as wide as the outputs."""
        raise NotImplementedError

    def pretrained(self) -> nn.Module | None:
        """Returns the part that starts from published weights, None if there is none."""
        raise NotImplementedError


def fill_up(
    token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"], pad_id: int, length: int
) -> Int[Tensor, "B N"]:
    """Return texts filled up to a tower's full length by its own padding."""
    ids = token_ids.masked_fill(~token_mask, pad_id)
    return nn.functional.pad(ids, (0, length - ids.shape[1]), value=pad_id)


def end_of_text(token_mask: Bool[Tensor, "B L"]) -> Int[Tensor, " B"]:
    """Returns the position of each row's last token, the end-of-text token."""
    return token_mask.sum(dim=1).sub(1).clamp(min=0)
