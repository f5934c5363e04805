"""The interface of all towers, the towers of a configuration, and their tokenizer.

The module knows no particular tower, and no classifier.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from enrich.classifiers.config import (
    ClassifierConfig,
    HuggingFaceTowers,
    OpenClipTowers,
    SmallTowers,
)
from enrich.errors import ConfigError

# Enough for all tokens that are kept in 99.5 % of myntra's texts, whose tokens are 48 of 8,192.
_CHARACTERS_A_TOKEN = 6


class TextEncoder:
    """Cut texts into tokens; every text keeps its end-of-text token as its last one."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.enable_truncation(length)
        # To the longest of the batch: nothing is computed for padding that no row needs.
        self.tokenizer.enable_padding(pad_id=0)
        self._length = length
        self._most_characters = _CHARACTERS_A_TOKEN * length
        self._reads_by_word = tokenizer.pre_tokenizer is not None

    def __call__(self, texts: list[str]) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Return token ids and mask, padded to the longest text; `texts` is not empty."""
        beginnings = [self._beginning(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(beginnings)
        for row, (beginning, text) in enumerate(zip(beginnings, texts, strict=True)):
            if beginning != text and sum(encoded[row].attention_mask) < self._length:
                encoded[row] = self.tokenizer.encode_batch_fast([text])[0]
        shape = len(encoded), max(len(one.ids) for one in encoded)
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
        for row, encoding in enumerate(encoded):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = encoding.attention_mask
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _beginning(self, text: str) -> str:
        """Return the first words, which nearly always hold all tokens that are kept.

        A tokenizer works through the whole text. If it reads word by word, text behind a blank does
        not change tokens before it.
        """
        if len(text) <= self._most_characters or not self._reads_by_word:
            return text
        end = text.rfind(" ", 0, self._most_characters)
        return text[:end] if end > 0 else text


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tower's output, one embedding a token, and the place of the pooled one.

    `pooled_at` is an image's CLS token. In a text it is the end (CLIP), the first token (BERT), or
    a class token behind the text (CoCa).
    """

    embeds: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    pooled_at: Int[Tensor, " B"]

    @classmethod
    def cls_first(cls, embeds: Float[Tensor, "B N D"]) -> "Encoded":
        """Return an image's tokens, of which the first stands for the whole."""
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
        """Return the pooled embedding, zero for the rows that lack this modality."""
        return self.pooled.masked_fill(~present.unsqueeze(1), 0)


def take(embeds: Float[Tensor, "B N D"], at: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Return for each row the embedding at its own position."""
    return embeds[torch.arange(embeds.shape[0], device=embeds.device), at]


class ImageTower(nn.Module):
    """Pixels to patch embeddings, in two steps so that frozen features can be cached.

    `absent` is True for the placeholder in a classifier that does not read images. `grid` is above
    0 if the embeddings are CLS, then `grid` x `grid` patches row by row, then anything else. The
    attention of such towers can be drawn over the picture.
    """

    absent: ClassVar[bool] = False
    width: int
    grid: int = 0

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        """Return what the pre-trained part computes from normalised pixels."""
        raise NotImplementedError

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        """Return the patch embeddings, CLS first, from the features."""
        return Encoded.cls_first(features)

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        """Return what is constant while the upper stages are trained; may be cached."""
        raise NotImplementedError(f"{type(self).__name__} is trained as a whole or not at all")

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        """Return the features from what `lower` returned."""
        raise NotImplementedError

    def upper_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that `upper` trains."""
        raise NotImplementedError

    def pretrained(self) -> nn.Module:
        """Return the part that starts from published weights (its own learning rate)."""
        return self

    def fuse(self) -> None:
        """Fuse layers in place for inference, if the device has faster ones.

        Afterwards only `features`, `lower` and `embed` may be called, and the tower must stay on
        that device.
        """


class TextTower(nn.Module):
    """Tokens to token embeddings of the image tower's width.

    `words` and `attend` are its two halves, for classifiers that put pieces of an image between the
    words. In a tower whose layers can read only words the outputs are the words, and `attend` does
    nothing. `absent` is True for the placeholder in a classifier that does not read texts.
    """

    absent: ClassVar[bool] = False
    width: int

    @property
    def word_width(self) -> int:
        """The width of `words`."""
        return self.width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        """Return the token embeddings, and which one stands for the whole text."""
        raise NotImplementedError

    def words(
        self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L W"]:
        """Return what stands for each token in a sequence shared with an image."""
        # Without a class token behind them: it stands for the text alone.
        return self(token_ids, token_mask).embeds[:, : token_ids.shape[1]]

    def attend(
        self,
        embeds: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        positions: Int[Tensor, " N"],
    ) -> Float[Tensor, "B N D"]:
        """Return the shared sequence after the tower's own layers."""
        return embeds

    def vocabulary(self) -> Float[Tensor, "V D"]:
        """Return the embedding of every token of the vocabulary, as wide as the outputs."""
        raise NotImplementedError

    def pretrained(self) -> nn.Module | None:
        """Return the part that starts from published weights, None if there is none."""
        return self


def fill_up(
    token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"], pad_id: int, length: int
) -> Int[Tensor, "B N"]:
    """Return texts filled up to a tower's full length by its own padding."""
    ids = token_ids.masked_fill(~token_mask, pad_id)
    return nn.functional.pad(ids, (0, length - ids.shape[1]), value=pad_id)


def end_of_text(token_mask: Bool[Tensor, "B L"]) -> Int[Tensor, " B"]:
    """Return the position of each row's last token, the end-of-text token."""
    return token_mask.sum(dim=1).sub(1).clamp(min=0)


def build_transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """Return a pre-norm transformer encoder over batch-first sequences."""
    require_divisor(width, heads)
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    # Nested tensors would drop the padding and with it the positions that callers index.
    return nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )


def padding_in(mask: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"] | None:
    """Return the tokens that a transformer leaves out, None if there are none.

    With a mask torch's fused layers compute the softmax number by number, an eighth of the small
    classifier's forward pass. Most batches have texts that fill all tokens. On a GPU the mask is
    always given, because the answer would have to be waited for.
    """
    return None if mask.device.type == "cpu" and bool(mask.all()) else ~mask


def require_divisor(width: int, heads: int) -> None:
    """Raise ConfigError unless the number of attention heads divides a width."""
    if width % heads:
        raise ConfigError(
            f"attention heads do not fit: found {heads} for a width of {width}, expected a "
            "divisor. Set joint_heads, or small_towers.heads"
        )


def require_length(found: int, longest: int) -> None:
    """Raise ValueError if a text encoder reads shorter texts."""
    if found > longest:
        raise ValueError(f"text_length does not fit: found {found}, expected at most {longest}")


def build_towers(config: ClassifierConfig, vocabulary: int) -> tuple[ImageTower, TextTower]:
    """Return both towers with random weights.

    Raises ValueError if the image size or the text length is not what the towers were made for, and
    ConfigError if the towers are open_clip's, which is not installed.
    """
    # Imported here: transformers takes seconds to load, and towers are subclasses of those above.
    towers, size_px, length = config.towers, config.image.size_px, config.text_length
    if isinstance(towers, SmallTowers):
        from enrich.classifiers.small_towers import EfficientNetTower, SmallTextTower

        return (
            EfficientNetTower(towers, size_px),
            SmallTextTower(towers, vocabulary, length, config.dropout),
        )
    if isinstance(towers, OpenClipTowers):
        from enrich.classifiers.open_clip_towers import build_open_clip

        return build_open_clip(towers, size_px, length)[:2]
    from enrich.classifiers import hugging_face_towers as hugging_face

    if isinstance(towers, HuggingFaceTowers):
        return hugging_face.build_halves(towers, size_px, length)
    return hugging_face.build_pair(towers, size_px, length)
