"""Transformers as the classifiers use them, and the sequence that both modalities share."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enrich.classifiers.interface import Tokens
from enrich.errors import ConfigError


def build_transformer(width: int, layers: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """Returns a pre-norm transformer encoder over batch-first sequences.

    Raises:
        ConfigError: the width cannot be shared out among the heads.
    """
    require_divisor(width, heads)
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    # Nested tensors would drop the padding and with it the positions that callers index.
    return nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )


def padding_in(mask: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"] | None:
    """Returns the tokens that a transformer is to leave out, None if there are none.

    Given a mask, torch's fused layers compute the softmax number by number: an eighth of the small
    classifier's forward pass, and most batches have texts that fill all tokens and need no mask.
    On a GPU it is always given: the answer would have to be waited for.
    """
    return None if mask.device.type == "cpu" and bool(mask.all()) else ~mask


def require_divisor(width: int, heads: int) -> None:
    """Checks that attention heads can share out a width.

    Raises:
        ConfigError: they cannot.
    """
    if width % heads:
        raise ConfigError(
            f"{heads} attention heads cannot share a width of {width}: give a number that divides "
            "it (joint_heads; of the small text tower, small_towers.heads)"
        )


def joint_sequence(
    tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
    """Returns the tokens of both towers, text first, and which of them count in a row."""
    image, text = tokens.image, tokens.text
    mask = [text.mask & has_text.unsqueeze(1), image.mask & has_image.unsqueeze(1)]
    return torch.cat([text.embeds, image.embeds], dim=1), torch.cat(mask, dim=1)
