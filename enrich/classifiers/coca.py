"""CoCa: a text decoder in two halves, of which only the second one looks at the image.

Yu et al., "CoCa: Contrastive Captioners are Image-Text Foundation Models", arXiv 2205.01917, with
the modules of open_clip.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enrich.classifiers.coca_towers import OpenClipModule, build_coca, build_coca_parts
from enrich.classifiers.config import ClassifierConfig, CocaTowers
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import JOINT, ModelOutput, Tokens, Vectors
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.tower_interface import end_of_text, take


class Coca(PooledPair):
    """The text decoded with the image in view, and read at its end, which has seen all of both.

    The unimodal half (the text tower) is contrasted with the image. The multimodal half reads what
    the unimodal one made of the text, and in every layer attends to the image's pooled tokens. On
    an open_clip CoCa both halves, the pooler and the vision transformer are its own. On other
    towers the pooler and the multimodal half are new.

    The paper lets nothing be missing. Here a learnt vector stands for each word of a missing text,
    and where the image is missing, the layers that would look at it are passed over.

    Of CoCa's pre-training only the contrast is offered. Captions cost a score for every word of the
    vocabulary at every place: 0.94 instead of 0.25 s a step on small towers (one core, cached
    features, 128 texts of 32 out of 8,192 words), and none of the others has such a budget.
    """

    paper = "CoCa: Yu et al. 2022, arXiv 2205.01917"
    decoder: OpenClipModule

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.pooler: nn.Module = nn.Identity()
        if isinstance(config.towers, CocaTowers):
            self.image_tower, self.text_tower, self.decoder = build_coca(
                config.towers, config.image.size_px, config.text_length
            )
        else:
            super().build_encoder(config, vocabulary)
            self.pooler, self.decoder = build_coca_parts(self.image_tower.width, config)
        width = self.text_tower.width
        self.no_text = nn.Parameter(torch.randn(width) * 0.02)

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(JOINT), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {JOINT: (self.text_tower.width,), **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        words = tokens.text.embeds[:, : tokens.token_mask.shape[1]]
        words = torch.where(has_text.view(-1, 1, 1), words, self.no_text)
        decoded = self._decode(words, self.pooler(tokens.image.embeds[:, 1:]), has_image)
        read = take(decoded, end_of_text(tokens.token_mask))
        return super().join(tokens, has_image, has_text).with_first(JOINT, read)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.named[JOINT]), vectors)

    def pretrained(self) -> list[nn.Module]:
        towers = super().pretrained()
        return [*towers, self.decoder] if isinstance(self.config.towers, CocaTowers) else towers

    def _decode(
        self,
        words: Float[Tensor, "B L D"],
        image: Float[Tensor, "B Q D"],
        has_image: Bool[Tensor, " B"],
    ) -> Float[Tensor, "B L D"]:
        """Returns the decoder's hidden states, where open_clip returns scores of next words."""
        length = words.shape[1]
        causal = self.decoder.attn_mask[:length, :length]
        has_image = has_image.view(-1, 1, 1)
        layers = zip(self.decoder.resblocks, self.decoder.cross_attn, strict=True)
        for read_text, look_at_image in layers:
            words = read_text(words, attn_mask=causal)
            words = torch.where(has_image, look_at_image(words, k_x=image, v_x=image), words)
        decoded: Tensor = self.decoder.ln_final(words)
        return decoded
