"""CoCa, whose text decoder has two halves; the second one looks at the image.

Yu et al., "CoCa: Contrastive Captioners are Image-Text Foundation Models", arXiv 2205.01917, with
the modules of open_clip.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, OpenClipTowers
from enrich.classifiers.interface import (
    JOINT,
    ModelInputs,
    Tokens,
    Vectors,
)
from enrich.classifiers.open_clip_towers import OpenClipModule, build_coca_parts, build_open_clip
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.towers import end_of_text, take


class Coca(PooledPair):
    """The text decoded with the image in view, and read at its end.

    The unimodal half, the text tower, is contrasted with the image. The multimodal half reads the
    unimodal one's tokens and attends to the image's pooled tokens in every layer. An open_clip CoCa
    brings both halves, pooler and vision transformer. On other towers pooler and multimodal half
    are new.

    In the paper every row has both modalities. Here a learnt vector replaces each word of a missing
    text, and a missing image skips the layers that look at it.

    A contrastive phase trains contrast, and captions with twice its weight, as the paper's
    pre-training. A caption is the product's own text, whose next word is scored at each place. The
    scores are those of the published CoCa, else products with the text tower's own word embeddings.
    Checkpoints do not keep the scores, because answers do not need them.
    """

    paper = "CoCa: Yu et al. 2022, arXiv 2205.01917"
    decoder: OpenClipModule

    word_scores: Tensor | None

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.pooler: nn.Module = nn.Identity()
        if is_coca(config):
            assert isinstance(config.towers, OpenClipTowers)
            self.image_tower, self.text_tower, self.decoder = build_open_clip(
                config.towers, config.image.size_px, config.text_length
            )
        else:
            super().build_encoder(config, vocabulary)
            self.pooler, self.decoder = build_coca_parts(self.image_tower.width, config)
        width = self.text_tower.width
        self.no_text = nn.Parameter(torch.randn(width) * 0.02)
        # Of a published CoCa, (D, V), while it is trained.
        self.register_buffer("word_scores", None, persistent=False)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {JOINT: (self.text_tower.width,), **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        decoded = self._read(tokens, has_image, has_text)
        read = take(decoded, end_of_text(tokens.token_mask))
        return super().join(tokens, has_image, has_text).with_first(JOINT, read)

    def caption_loss(self, tokens: Tokens, inputs: ModelInputs) -> Float[Tensor, ""]:
        decoded = self._read(tokens, inputs.has_image, inputs.has_text)
        both = (inputs.has_image & inputs.has_text).unsqueeze(1)
        at = inputs.token_mask[:, 1:] & both
        words = self.text_tower.vocabulary().T if self.word_scores is None else self.word_scores
        scores = decoded[:, :-1][at] @ words.to(decoded.dtype)
        total = F.cross_entropy(scores.float(), inputs.token_ids[:, 1:][at], reduction="sum")
        return total / at.sum().clamp(min=1)

    def pretrained(self) -> list[nn.Module]:
        towers = super().pretrained()
        return [*towers, self.decoder] if is_coca(self.config) else towers

    def _read(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B L D"]:
        words = tokens.text.embeds[:, : tokens.token_mask.shape[1]]
        words = torch.where(has_text.view(-1, 1, 1), words, self.no_text)
        return self._decode(words, self.pooler(tokens.image.embeds[:, 1:]), has_image)

    def _decode(
        self,
        words: Float[Tensor, "B L D"],
        image: Float[Tensor, "B Q D"],
        has_image: Bool[Tensor, " B"],
    ) -> Float[Tensor, "B L D"]:
        """Return the decoder's hidden states; open_clip returns scores of next words."""
        length = words.shape[1]
        causal = self.decoder.attn_mask[:length, :length]
        has_image = has_image.view(-1, 1, 1)
        layers = zip(self.decoder.resblocks, self.decoder.cross_attn, strict=True)
        for read_text, look_at_image in layers:
            words = read_text(words, attn_mask=causal)
            words = torch.where(has_image, look_at_image(words, k_x=image, v_x=image), words)
        decoded: Tensor = self.decoder.ln_final(words)
        return decoded


def is_coca(config: ClassifierConfig) -> bool:
    """True if the towers are a published CoCa's, with a decoder of its own."""
    return isinstance(config.towers, OpenClipTowers) and config.towers.is_coca
