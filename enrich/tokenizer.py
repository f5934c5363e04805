"""Texts to padded token ids, with the tokenizer that a checkpoint carries.

Knows nothing of how a tokenizer was trained.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer
from torch import Tensor


class TextEncoder:
    """Cuts texts into tokens; every text keeps its end-of-text token as its last one."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.enable_truncation(length)
        # To the longest of the batch: nothing is computed for padding that no row needs.
        self.tokenizer.enable_padding(pad_id=0)

    def __call__(self, texts: list[str]) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
        """Returns token ids and mask, padded to the longest text; `texts` is not empty."""
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=bool)
        return torch.from_numpy(ids), torch.from_numpy(mask)
