"""Classifiers whose own layers read all tokens of both towers.

A transformer over CLIP's tokens. Perceiver IO: Jaegle et al., "Perceiver IO: A General Architecture
for Structured Inputs & Outputs", arXiv 2107.14795, with the blocks that transformers ships. CoCa,
whose text decoder has two halves; the second one looks at the image: Yu et al., "CoCa: Contrastive
Captioners are Image-Text Foundation Models", arXiv 2205.01917, with the modules of open_clip.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, OpenClipTowers
from enrich.classifiers.interface import (
    JOINT,
    ModelInputs,
    ModelOutput,
    Tokens,
    Vectors,
    build_heads,
    joint_sequence,
)
from enrich.classifiers.open_clip_towers import OpenClipModule, build_coca_parts, build_open_clip
from enrich.classifiers.pooled import PooledPair
from enrich.classifiers.towers import (
    build_transformer,
    end_of_text,
    padding_in,
    require_divisor,
    take,
)


class ClipTransformer(PooledPair):
    """Both towers' tokens and a CLS through a transformer, then MLPs on CLS.

    It is close to CMA-CLIP without modality-wise attention, which reads the towers' own pooled
    tokens instead. Tokens of a missing modality are masked.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.image_tower.width
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.transformer = build_transformer(
            width, config.joint_layers, config.joint_heads, config.dropout
        )

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {JOINT: (self.image_tower.width,), **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        embeds, mask = joint_sequence(tokens, has_image, has_text)
        embeds = torch.cat([self.cls.expand(len(embeds), 1, -1), embeds], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        read = self.transformer(embeds, src_key_padding_mask=padding_in(mask))[:, 0]
        return super().join(tokens, has_image, has_text).with_first(JOINT, read)


LATENTS = 32
# One vector an attribute: a classifier of other attributes is another encoder.
QUERIES = "queries"
# Channels that tell a token's modality; both towers have the same width, so only these differ.
MODALITY_CHANNELS = 16


class PerceiverIo(PooledPair):
    """Latents that attend to all tokens, then one output query an attribute.

    Tokens of each tower are padded with trainable channels of their modality, in one sequence. The
    cost grows with tokens times latents, not with the square of the tokens.

    It starts from published towers, but not from a published Perceiver. Those read pixels or bytes,
    and their layers belong to the cross-attention that fills the latents. Over the tokens of a
    tower that attention has to be new, and behind it their layers would be no better than random
    ones.
    """

    paper = "Perceiver IO: Jaegle et al. 2021, arXiv 2107.14795"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.image_tower.width
        self.image_channels = nn.Parameter(torch.randn(MODALITY_CHANNELS) * 0.02)
        self.text_channels = nn.Parameter(torch.randn(MODALITY_CHANNELS) * 0.02)
        self.perceiver = _build_perceiver(width, len(config.attributes), config)
        self.norm = nn.LayerNorm(width)

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(QUERIES), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        queries = (len(config.attributes), self.image_tower.width)
        return {QUERIES: queries, **super().vector_shapes(config)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        embeds, mask = joint_sequence(tokens, has_image, has_text)
        # One row of channels a token, text first as in the sequence.
        channels = torch.cat(
            [
                self.text_channels.expand(tokens.text.embeds.shape[1], -1),
                self.image_channels.expand(tokens.image.embeds.shape[1], -1),
            ]
        )
        padded = torch.cat([embeds, channels.expand(len(embeds), -1, -1)], dim=2)
        read = self.norm(self.perceiver(inputs=padded, attention_mask=mask.long()).logits)
        return super().join(tokens, has_image, has_text).with_first(QUERIES, read)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        read = vectors.named[QUERIES]
        logits = {a: head(read[:, at]).float() for at, (a, head) in enumerate(self.heads.items())}
        return ModelOutput(logits, vectors)


def _build_perceiver(width: int, queries: int, config: ClassifierConfig) -> nn.Module:
    """Return a Perceiver whose `logits` are embeddings, (B, queries, width)."""
    # Takes seconds to load, which workers with another classifier do without.
    from transformers import PerceiverConfig, PerceiverModel
    from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder

    require_divisor(width, config.joint_heads)
    sizes = PerceiverConfig(
        num_latents=LATENTS,
        d_latents=width,
        d_model=width + MODALITY_CHANNELS,
        num_blocks=1,
        num_self_attends_per_block=config.joint_layers,
        num_self_attention_heads=config.joint_heads,
        num_cross_attention_heads=config.joint_heads,
        # The heads divide the latents' width, but not that of the padded tokens.
        cross_attention_shape_for_attention="q",
        attention_probs_dropout_prob=config.dropout,
        # The default, 0.02, is for widths above 1,000; small latents would start all but silent.
        initializer_range=width**-0.5,
    )
    decoder = PerceiverBasicDecoder(
        sizes,
        output_num_channels=width,
        position_encoding_type="trainable",
        output_index_dims=queries,
        num_channels=width,
        num_heads=config.joint_heads,
        use_query_residual=True,
        final_project=False,
        trainable_position_encoding_kwargs={"num_channels": width, "index_dims": queries},
    )
    return PerceiverModel(sizes, decoder=decoder)


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
