"""A single stream: words and image patches in one transformer from the first layer on.

After ImageBERT (Qi et al., "ImageBERT: Cross-modal Pre-training with Large-scale Weak-supervised
Image-Text Data", arXiv 2001.07966), which KaleidoBERT follows. Patches of the image tower stand
where the paper has an object detector's regions.
"""

import torch

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.stream import Segment, Stream, mean_word
from enrich.classifiers.towers import build_towers
from enrich.tokenizer import TextEncoder


class SingleStream(Classifier):
    """[CLS], the text, and every patch of the image through one transformer, read at [CLS].

    All patches share one position, because where a patch lies is in its embedding already. Type
    embeddings tell words and patches apart.
    """

    paper = "ImageBERT: Qi et al. 2020, arXiv 2001.07966"
    contrasts_towers = False

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        self.stream = Stream(self.image_tower.width, self.text_tower, config)
        self.heads = build_heads(self.text_tower.width, config)

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        self.stream.start_marks(self.text_tower, encode_texts)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        patches = self.stream.from_image(self.encode_image(inputs).embeds[:, 1:])
        words = self.text_tower.words(inputs.token_ids, inputs.token_mask)
        rows, length = inputs.token_ids.shape

        has_text = inputs.has_text.unsqueeze(1)
        text = Segment(
            torch.cat([self.stream.mark(0, rows), words[:, 1:]], dim=1),
            torch.cat([torch.ones_like(has_text), inputs.token_mask[:, 1:] & has_text], dim=1),
            torch.arange(length, device=words.device),
        )
        # The last position that a text can have; the one behind this batch's texts would make a
        # row's answer depend on the others.
        last = self.config.text_length - 1
        image = Segment(
            patches,
            inputs.has_image.unsqueeze(1).expand(-1, patches.shape[1]),
            torch.full((patches.shape[1],), last, device=words.device),
        )
        read = self.stream(self.text_tower, text, image)
        return ModelOutput(self.heads(read), patches.mean(1), mean_word(words, inputs))
