"""CLIP without a head: the label whose prompt lies nearest to the product.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
arXiv 2103.00020, section 3.1. Nothing of it is trained on labels; a contrastive phase on the
shop's own images and texts is all that it can use.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import TEXT, ModelOutput, Vectors
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.tokenizer import TextEncoder

# Where CLIP's own training begins. A scale that is too high or too low is put right by the
# calibration's temperature, so there is no need to learn it or to take that of published towers.
SCALE = 1 / 0.07


class ClipZeroShot(PooledPair):
    """The cosine of a product with a prompt for each label; no heads, no labels needed.

    A product is its image's embedding, its text's, or the sum of both at unit length. What the
    text tower makes of the prompts travels with the weights, as a head's would.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"
    trained_by = frozenset({"contrastive"})
    prompt_ids: Tensor
    prompt_mask: Tensor
    prompts: Tensor

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        prompts = sum(map(len, config.attributes.values()))
        mask = torch.zeros(prompts, config.text_length, dtype=torch.bool)
        # Until the tokenizer is known every prompt is one token: attention to none would be NaN.
        mask[:, 0] = True
        # Read again for every training; a checkpoint holds what the text tower makes of them.
        self.register_buffer("prompt_ids", torch.zeros(mask.shape, dtype=torch.long), False)
        self.register_buffer("prompt_mask", mask, False)

    def build_answering(self, config: ClassifierConfig) -> None:
        prompts = sum(map(len, config.attributes.values()))
        self.register_buffer("prompts", torch.zeros(prompts, config.width_of(TEXT)))

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        labels = (label for labels in self.config.attributes.values() for label in labels)
        ids, mask = encode_texts([self.config.prompt.replace("{label}", label) for label in labels])
        self.prompt_ids.zero_()[:, : ids.shape[1]] = ids
        self.prompt_mask.zero_()[:, : ids.shape[1]] = mask
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        is_training = self.training
        self.eval()
        used = self.prompt_mask.any(0)
        prompts = self.text_tower(self.prompt_ids[:, used], self.prompt_mask[:, used])
        self.prompts.copy_(_unit(prompts.pooled))
        self.train(is_training)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        product = _unit(vectors.image) + _unit(vectors.text)
        # Once more to unit length: they were rounded to be stored.
        cosines = _unit(product) @ _unit(self.prompts).T
        sizes = [len(labels) for labels in self.config.attributes.values()]
        logits = (SCALE * cosines).split(sizes, dim=1)
        return ModelOutput(dict(zip(self.config.attributes, logits, strict=True)), vectors)


def _unit(embeds: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return F.normalize(embeds.float(), dim=1)
