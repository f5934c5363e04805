"""What a transformer is told to leave out."""

import torch

from enrich.classifiers.attention import SequenceWiseAttention
from enrich.classifiers.transformer import padding_in


def test_where_nothing_is_padding_nothing_is_masked() -> None:
    full = torch.ones(3, 5, dtype=torch.bool)
    assert padding_in(full) is None
    part = full.clone()
    part[1, 3:] = False
    padding = padding_in(part)
    assert padding is not None and torch.equal(padding, ~part)


def test_a_row_is_answered_alike_beside_rows_with_padding_and_without() -> None:
    torch.manual_seed(0)
    attention = SequenceWiseAttention(width=16, layers=2, heads=2, dropout=0.0).eval()
    embeds, mask = torch.randn(2, 6, 16), torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    read_at = torch.zeros(2, 1, dtype=torch.long)
    with torch.inference_mode():
        beside = attention(embeds, mask, read_at)
        alone = attention(embeds[:1], mask[:1], read_at[:1])
        shorter = attention(embeds[1:, :4], mask[1:, :4], read_at[1:])
    torch.testing.assert_close(alone, beside[:1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shorter, beside[1:], rtol=1e-5, atol=1e-5)
