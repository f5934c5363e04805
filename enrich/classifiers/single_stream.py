"""A single stream: words and image patches in one transformer from the first layer on.

After ImageBERT (Qi et al., "ImageBERT: Cross-modal Pre-training with Large-scale Weak-supervised
Image-Text Data", arXiv 2001.07966), which KaleidoBERT follows. Patches of the image tower stand
where the paper has an object detector's regions.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from enrich.classifiers.interface import Tokens, Vectors
from enrich.classifiers.stream import Segment, StreamClassifier


class SingleStream(StreamClassifier):
    """[CLS], the text, and every patch of the image through one transformer, read at [CLS].

    All patches share one position, because where a patch lies is in its embedding already. Type
    embeddings tell words and patches apart.
    """

    paper = "ImageBERT: Qi et al. 2020, arXiv 2001.07966"

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        patches = self.stream.from_image(tokens.image.embeds[:, 1:])
        words = tokens.text.embeds
        rows, length = tokens.token_mask.shape

        shown = has_text.unsqueeze(1)
        text = Segment(
            torch.cat([self.stream.mark(0, rows), words[:, 1:]], dim=1),
            torch.cat([torch.ones_like(shown), tokens.token_mask[:, 1:] & shown], dim=1),
            torch.arange(length, device=words.device),
        )
        # The last position that a text can have; the one behind this batch's texts would make a
        # row's answer depend on the others.
        last = self.config.text_length - 1
        image = Segment(
            patches,
            has_image.unsqueeze(1).expand(-1, patches.shape[1]),
            torch.full((patches.shape[1],), last, device=words.device),
        )
        read = self.stream(self.text_tower, text, image)
        return self.to_vectors(read, patches, tokens, has_image, has_text)
