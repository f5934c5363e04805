"""The two attentions of CMA-CLIP (Liu et al., arXiv 2112.03562, figure 1)."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.tower_interface import Encoded
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


def require_divisor(width: int, heads: int) -> None:
    """Checks that attention heads can share out a width.

    Raises:
        ConfigError: they cannot.
    """
    if width % heads:
        raise ConfigError(
            f"{heads} attention heads cannot share a width of {width}: set joint_heads to a divisor"
        )


def joint_sequence(
    image: Encoded, text: Encoded, inputs: ModelInputs
) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"]]:
    """Returns the tokens of both, text first, and which of them a row really has."""
    mask = [text.mask & inputs.has_text.unsqueeze(1), image.mask & inputs.has_image.unsqueeze(1)]
    return torch.cat([text.embeds, image.embeds], dim=1), torch.cat(mask, dim=1)


class SequenceWiseAttention(nn.Module):
    """A transformer over the joint sequence of text tokens and image patches."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.transformer = build_transformer(width, layers, heads, dropout)

    def forward(
        self,
        embeds: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"],
        read_at: Int[Tensor, "B K"],
    ) -> Float[Tensor, "B K D"]:
        """Returns the tokens at `read_at` after attention; masked ones are attended to by none.

        The last layer is computed for these tokens alone: nothing reads what becomes of others.
        """
        layers: list[Any] = list(self.transformer.layers)
        *lower, last = layers
        for layer in lower:
            embeds = layer(embeds, src_key_padding_mask=~mask)
        rows = torch.arange(len(embeds), device=embeds.device).unsqueeze(1)
        read, normed = embeds[rows, read_at], last.norm1(embeds)
        attended, _ = last.self_attn(
            normed[rows, read_at], normed, normed, key_padding_mask=~mask, need_weights=False
        )
        read = read + last.dropout1(attended)
        hidden = last.dropout(last.activation(last.linear1(last.norm2(read))))
        read = read + last.dropout2(last.linear2(hidden))
        out: Tensor = self.transformer.get_submodule("norm")(read)
        return out


class ModalityWiseAttention(nn.Module):
    """Keyless attention over the two modalities, for one attribute.

    e_I = w_I . I' + trust, e_T = w_T . T', lambda = softmax(e_I, e_T), and the output is
    lambda I' + (1 - lambda) T'. The score of a missing modality is -inf, so that the weights of a
    row still sum to 1.

    `trust` is not trained but fitted afterwards, on products that training has not seen: a tower
    reads those that it was trained on too well, and is trusted too much for it.
    """

    trust: Tensor

    def __init__(self, width: int, *, shared: bool) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.randn(1 if shared else 2, width) * width**-0.5)
        self.register_buffer("trust", torch.zeros(()))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # Checkpoints written before there was one trust both modalities alike.
        state_dict.setdefault(f"{prefix}trust", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(
        self,
        image: Float[Tensor, "B D"],
        text: Float[Tensor, "B D"],
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Returns the weighted sum and the image's weight, in [0, 1]."""
        both = torch.stack([image, text], dim=1)
        scores = (both * self.score).sum(-1).float()
        scores = torch.stack([scores[:, 0] + self.trust, scores[:, 1]], dim=1)
        available = torch.stack([has_image, has_text], dim=1)
        weights = scores.masked_fill(~available, float("-inf")).softmax(dim=1)
        return (weights.to(both.dtype).unsqueeze(-1) * both).sum(1), weights[:, 0]
