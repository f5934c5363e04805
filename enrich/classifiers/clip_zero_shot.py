"""CLIP without a head: the label whose prompt lies nearest to the product.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
arXiv 2103.00020, section 3.1. Nothing of it is trained on labels; a contrastive phase on the
shop's own images and texts is all that it can use.
"""

import itertools
from collections.abc import Hashable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.classifiers.towers import build_towers
from enrich.tokenizer import TextEncoder

# Where CLIP's own training begins. A scale that is too high or too low is put right by the
# calibration's temperature, so there is no need to learn it or to take that of published towers.
SCALE = 1 / 0.07


class ClipZeroShot(Classifier):
    """The cosine of a product with a prompt for each label; no heads, no labels needed.

    A product is its image's embedding, its text's, or the sum of both at unit length. The prompts'
    tokens travel with the weights.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"
    trained_by = frozenset({"contrastive"})
    prompt_ids: Tensor
    prompt_mask: Tensor

    def __init__(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().__init__(config, vocabulary)
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        prompts = sum(map(len, config.attributes.values()))
        mask = torch.zeros(prompts, config.text_length, dtype=torch.bool)
        # Until the tokenizer is known every prompt is one token: attention to none would be NaN.
        mask[:, 0] = True
        self.register_buffer("prompt_ids", torch.zeros(mask.shape, dtype=torch.long))
        self.register_buffer("prompt_mask", mask)
        # The prompts' embeddings of inference, and what they were made from.
        self._kept: tuple[Hashable, Tensor] | None = None

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        labels = (label for labels in self.config.attributes.values() for label in labels)
        ids, mask = encode_texts([self.config.prompt.replace("{label}", label) for label in labels])
        self.prompt_ids.zero_()[:, : ids.shape[1]] = ids
        self.prompt_mask.zero_()[:, : ids.shape[1]] = mask

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        image, text = self.encode(inputs)
        product = _unit(image.pooled).masked_fill(~inputs.has_image.unsqueeze(1), 0)
        product = product + _unit(text.pooled).masked_fill(~inputs.has_text.unsqueeze(1), 0)
        prompts = self._prompt_embeds()
        # The prompts of an attribute lie so close together that bfloat16 would confuse them.
        with torch.autocast(product.device.type, enabled=False):
            cosines = _unit(product) @ prompts.T
        sizes = [len(labels) for labels in self.config.attributes.values()]
        logits = (SCALE * cosines).split(sizes, dim=1)
        by_attribute = dict(zip(self.config.attributes, logits, strict=True))
        return ModelOutput(by_attribute, image.pooled, text.pooled)

    def _prompt_embeds(self) -> Float[Tensor, "P D"]:
        """Returns the prompts' embeddings at unit length; they follow the tower as it trains.

        Inference reads the prompts once, and again when weights, device or precision change.
        """
        if self.training or not torch.is_inference_mode_enabled():
            return self._read_prompts()
        made_from, kept = self._made_from(), self._kept
        if kept is None or kept[0] != made_from:
            kept = made_from, self._read_prompts()
            if kept[1].is_cuda:
                # Another thread may need them next, on a CUDA stream of its own.
                torch.cuda.current_stream(kept[1].device).synchronize()
            self._kept = kept
        return kept[1]

    def _made_from(self) -> Hashable:
        """Returns a key that changes whenever the prompts' embeddings may have changed."""
        tower, device = self.text_tower, self.device.type
        prompts = (self.prompt_ids, self.prompt_mask)
        tensors = itertools.chain(tower.parameters(), tower.buffers(), prompts)
        precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        return precision, *((one.data_ptr(), one._version) for one in tensors)

    def _read_prompts(self) -> Float[Tensor, "P D"]:
        used = self.prompt_mask.any(0)
        prompts = self.text_tower(self.prompt_ids[:, used], self.prompt_mask[:, used])
        return _unit(prompts.pooled)


def _unit(embeds: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return F.normalize(embeds.float(), dim=1)
