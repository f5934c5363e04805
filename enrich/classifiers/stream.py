"""MMBT and ImageBERT, one transformer over words and pieces of an image.

MMBT: Kiela et al., "Supervised Multimodal Bitransformers for Classifying Images and Text",
arXiv 1909.02950; written from the paper. Single stream: after ImageBERT (Qi et al., "ImageBERT:
Cross-modal Pre-training with Large-scale Weak-supervised Image-Text Data", arXiv 2001.07966), which
KaleidoBERT follows. Patches of the image tower stand where the paper has an object detector's
regions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, PairTowers
from enrich.classifiers.interface import (
    IMAGE,
    JOINT,
    TEXT,
    Classifier,
    ModelInputs,
    Tokens,
    Vectors,
)
from enrich.classifiers.towers import (
    Encoded,
    TextEncoder,
    build_transformer,
    end_of_text,
    padding_in,
)
from enrich.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the sequence; its positions are the same in every row."""

    embeds: Float[Tensor, "B N W"]
    mask: Bool[Tensor, "B N"]
    positions: Int[Tensor, " N"]


class StreamClassifier(Classifier):
    """A text encoder that reads pieces of an image between its words.

    Answers are read at [CLS]. Subclasses arrange the sequence. The text tower's own layers run over
    all of it. `joint_layers` new ones follow, except behind a published BERT, which is the whole
    encoder. A tower whose layers read only words, such as CLIP's causal one, gives its outputs as
    words, and all layers over the sequence are new.
    """

    contrasts_towers = False
    reads_text_features = False

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        width = self.text_tower.word_width
        self.from_image = nn.Linear(self.image_tower.width, width)
        # [CLS] and [SEP]: not the row's own tokens, because a row may lack its text.
        self.marks = nn.Parameter(torch.randn(2, width) * 0.02)
        # Zero, so that a published encoder starts from the words that it knows.
        self.segments = nn.Parameter(torch.zeros(2, width))
        self.joint: nn.Module | None = None
        if not isinstance(config.towers, PairTowers):
            self.joint = build_transformer(
                self.text_tower.width, config.joint_layers, config.joint_heads, config.dropout
            )

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        word = (self.text_tower.word_width,)
        return {JOINT: (self.text_tower.width,), IMAGE: word, TEXT: word}

    @torch.no_grad()
    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        # [CLS] and [SEP] start as the tokens that the tokenizer puts around every text.
        words = self.text_tower.words(*encode_texts([""]))[0]
        self.marks.copy_(words[[0, -1]])

    def towers(self, inputs: ModelInputs) -> Tokens:
        words = self.text_tower.words(inputs.token_ids, inputs.token_mask)
        text = Encoded(words, inputs.token_mask, end_of_text(inputs.token_mask))
        return Tokens(self.encode_image(inputs), text, inputs.token_mask)

    def mark(self, number: int, rows: int) -> Float[Tensor, "B 1 W"]:
        """Return [CLS] (0) or [SEP] (1) for every row."""
        return self.marks[number].expand(rows, 1, -1)

    def attend(self, first: Segment, second: Segment) -> Float[Tensor, "B D"]:
        """Return what stands at the sequence's first place, [CLS], after all layers."""
        embeds = [first.embeds + self.segments[0], second.embeds + self.segments[1]]
        mask = torch.cat([first.mask, second.mask], dim=1)
        positions = torch.cat([first.positions, second.positions])
        read = self.text_tower.attend(torch.cat(embeds, dim=1), mask, positions)
        if self.joint is not None:
            read = self.joint(read, src_key_padding_mask=padding_in(mask))
        return read[:, 0]

    def to_vectors(
        self,
        read: Float[Tensor, "B D"],
        pieces: Float[Tensor, "B N W"],
        tokens: Tokens,
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
    ) -> Vectors:
        """Return the token at [CLS], and the means of the image's pieces and of words."""
        words = mean_word(tokens.text.embeds, tokens.token_mask)
        named = {
            JOINT: read,
            IMAGE: pieces.mean(1).masked_fill(~has_image.unsqueeze(1), 0),
            TEXT: words.masked_fill(~has_text.unsqueeze(1), 0),
        }
        return Vectors(named, has_image, has_text)


def mean_word(words: Float[Tensor, "B L W"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B W"]:
    """Return the mean of a text's words, for contrast with the image's pieces.

    A stream has no text tower to pool, and a second pass for the text alone would double the cost
    of every answer.
    """
    weights = mask.unsqueeze(2).to(words.dtype)
    return (words * weights).sum(1) / weights.sum(1).clamp(min=1)


# The paper's N, from 1 to 9 and typically 3.
CELLS = 3


class Mmbt(StreamClassifier):
    """[CLS], three cells of the image, [SEP] and the text through a BERT.

    One linear map makes words of the image's cells. Positions count from 0 in either segment. The
    pooler is the first layer of the heads.

    The paper freezes both encoders for the first epochs, so that the map learns first. Here that is
    a first phase with `tower_learning_rate` 0.
    """

    paper = "MMBT: Kiela et al. 2019, arXiv 1909.02950"

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        if config.text_length < CELLS + 2:
            raise ConfigError(
                f"text_length does not fit mmbt: found {config.text_length}, expected "
                f"{CELLS + 2} or more"
            )
        super().build_encoder(config, vocabulary)

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        patches = tokens.image.embeds[:, 1:].transpose(1, 2)
        cells = self.from_image(F.adaptive_avg_pool1d(patches, CELLS).transpose(1, 2))
        words = tokens.text.embeds
        rows, length = tokens.token_mask.shape
        places = torch.arange(max(CELLS + 2, length), device=words.device)

        cls, sep = self.mark(0, rows), self.mark(1, rows)
        shown = has_image.unsqueeze(1)
        here = torch.ones_like(shown)
        image = Segment(
            torch.cat([cls, cells, sep], dim=1),
            torch.cat([here, shown.expand(-1, CELLS), here], dim=1),
            places[: CELLS + 2],
        )
        # The text's own first token would be a second [CLS].
        text = Segment(
            words[:, 1:],
            tokens.token_mask[:, 1:] & has_text.unsqueeze(1),
            places[: length - 1],
        )
        read = self.attend(image, text)
        return self.to_vectors(read, cells, tokens, has_image, has_text)


class SingleStream(StreamClassifier):
    """[CLS], the text, and every patch of the image through one transformer.

    All patches share one position, because their embeddings know their places. Type embeddings tell
    words and patches apart.
    """

    paper = "ImageBERT: Qi et al. 2020, arXiv 2001.07966"

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        patches = self.from_image(tokens.image.embeds[:, 1:])
        words = tokens.text.embeds
        rows, length = tokens.token_mask.shape

        shown = has_text.unsqueeze(1)
        text = Segment(
            torch.cat([self.mark(0, rows), words[:, 1:]], dim=1),
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
        read = self.attend(text, image)
        return self.to_vectors(read, patches, tokens, has_image, has_text)
