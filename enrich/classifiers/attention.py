"""The two attentions of CMA-CLIP (Liu et al., arXiv 2112.03562, figure 1)."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.transformer import build_transformer, padding_in


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
        padding = padding_in(mask)
        for layer in lower:
            embeds = layer(embeds, src_key_padding_mask=padding)
        rows = torch.arange(len(embeds), device=embeds.device).unsqueeze(1)
        read, normed = embeds[rows, read_at], last.norm1(embeds)
        attended, _ = last.self_attn(
            normed[rows, read_at], normed, normed, key_padding_mask=padding, need_weights=False
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
    reads the products that it was trained on too well, and an attention trained on the same ones
    would trust it too much. `doubt` is fitted then too: how much less sure an answer is that rests
    on a text which its picture contradicts.
    """

    trust: Tensor
    doubt: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.register_buffer("trust", torch.zeros(()))
        self.register_buffer("doubt", torch.zeros(()))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # Checkpoints from before these were fitted hold neither: they computed as with 0.
        for name in ("trust", "doubt"):
            state_dict.setdefault(f"{prefix}{name}", torch.zeros(()))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(
        self,
        image: Float[Tensor, "B D"],
        text: Float[Tensor, "B D"],
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
        shift: float = 0.0,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Returns the weighted sum and the image's weight, in [0, 1]; `shift` adds to the bias."""
        both = torch.stack([image, text], dim=1)
        scores = (both * self.score).sum(-1).float()
        scores = torch.stack([scores[:, 0] + self.trust + shift, scores[:, 1]], dim=1)
        available = torch.stack([has_image, has_text], dim=1)
        weights = scores.masked_fill(~available, float("-inf")).softmax(dim=1)
        return (weights.to(both.dtype).unsqueeze(-1) * both).sum(1), weights[:, 0]
